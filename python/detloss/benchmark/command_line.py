"""What the commands share: types of their arguments, and their exit status.

What cannot be measured or written is refused before anything is measured, as far as that can be known.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from detloss.benchmark.errors import BenchmarkError, DisagreementError

EXIT_DISAGREEMENT = 1
EXIT_UNAVAILABLE = 2

_PLOT_SUFFIXES = (".png", ".pdf", ".svg")


def integer(least: int, most: int) -> Callable[[str], int]:
    """The type of an integer within bounds."""

    def parse(text: str) -> int:
        # In decimal digits alone, and never so many that Python refuses to convert them.
        value = int(text) if text.isdecimal() and len(text) <= len(str(most)) else -1
        if not least <= value <= most:
            raise argparse.ArgumentTypeError(f"expected an integer from {least} to {most}, got {text!r}")
        return value

    return parse


# Beyond these only a mistake asks, and within them the size of no tensor overflows.
images = integer(1, 100_000)
boxes = integer(1, 10_000_000)
classes = integer(1, 100_000)
pixels = integer(1, 16_384)
objects = integer(1, 10_000)
threads = integer(1, 1024)
calls = integer(1, 1_000_000)
seed = integer(0, 2**63 - 1)


def json_file(text: str) -> Path:
    """A file that can be written."""
    return _output_file(text)


def plot_file(text: str) -> Path:
    """The same, of a format that its name tells."""
    path = _output_file(text)
    if path.suffix.lower() not in _PLOT_SUFFIXES:
        suffixes = " or ".join(_PLOT_SUFFIXES)
        raise argparse.ArgumentTypeError(f"expected a file name that ends in {suffixes}, got {text!r}")
    return path


def check_output_files(parser: argparse.ArgumentParser, options: argparse.Namespace) -> None:
    """Ends with the parser's error if `--json` and `--plot` are one file."""
    if options.json and options.plot and options.json.resolve() == options.plot.resolve():
        parser.error(f"--json, --plot: expected two files, got {options.json} for both")


def _output_file(text: str) -> Path:
    path = Path(text)
    try:
        target = path.resolve()
        if not target.parent.is_dir():
            raise argparse.ArgumentTypeError(f"expected a file in an existing folder, got {text!r}")
        if target.is_dir():
            raise argparse.ArgumentTypeError(f"expected a file, got the folder {text!r}")
        if target.is_file():
            target.open("ab").close()  # which tells more than the file's mode: its owner may be root
        elif not os.access(target if target.exists() else target.parent, os.W_OK):
            raise argparse.ArgumentTypeError(f"expected a file that may be written, got {text!r}")
    except (OSError, RuntimeError) as error:  # no permission, a name that is too long, links in a circle
        raise argparse.ArgumentTypeError(f"expected a file that may be written, got {text!r}: {error}") from error
    return path


def run_command(program: str, run: Callable[[], None]) -> int:
    """Calls `run`; returns the exit status, after one line for what the command reports.

    0: measured; 1: the implementations disagree; 2: what was asked for cannot be measured here, or not be written.
    """
    try:
        run()
    except BenchmarkError as error:
        print(f"{program}: {error}", file=sys.stderr)
        return EXIT_DISAGREEMENT if isinstance(error, DisagreementError) else EXIT_UNAVAILABLE
    except MemoryError as error:
        print(f"{program}: expected a case that fits into memory, got {error!r}", file=sys.stderr)
        return EXIT_UNAVAILABLE
    return 0


@contextlib.contextmanager
def writing(option: str) -> Iterator[None]:
    """For the time in which the file of an option is written.

    Raises:
      BenchmarkError: the file cannot be written: a disk may be full.
    """
    try:
        yield
    except OSError as error:
        raise BenchmarkError(f"{option}: expected a file that can be written, got {error}") from error
