"""What the command reports as one line instead of a traceback."""

from __future__ import annotations


class BenchmarkError(Exception):
    """The measurement that was asked for cannot be made here."""


class DisagreementError(BenchmarkError):
    """Two implementations give different losses or gradients, so their times must not be compared."""
