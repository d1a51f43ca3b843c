"""Times calls in turns, so that a change in the machine's speed meets all of them."""

from __future__ import annotations

import dataclasses
import gc
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

import numpy as np

Key = TypeVar("Key")


@dataclasses.dataclass(frozen=True)
class Quantiles:
    """Times in milliseconds."""

    median: float
    p20: float
    p80: float


def summarize(seconds: Sequence[float], steps: int) -> Quantiles:
    """Median, 20th and 80th percentile of one of the `steps` of every call, linear between samples."""
    p20, median, p80 = (float(value) for value in np.percentile(np.asarray(seconds) / steps * 1e3, [20, 50, 80]))
    return Quantiles(median=median, p20=p20, p80=p80)


def time_in_turns(
    calls: Mapping[Key, Callable[[], object]],
    *,
    repetitions: int,
    seed: int,
    after_call: Callable[[], None] = lambda: None,
    measure: Callable[[Callable[[], object]], float] | None = None,
) -> dict[Key, list[float]]:
    """Seconds of every call, once per round in an order that is drawn anew for every round.

    Args:
      calls: what to time.
      repetitions: rounds.
      seed: of the order.
      after_call: called between two timed calls.
      measure: gives the seconds of a call; by default those until it returns.
    """
    measure = measure or _seconds
    rng = np.random.default_rng(seed)
    keys = list(calls)
    seconds: dict[Key, list[float]] = {key: [] for key in keys}
    collecting = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        order = np.concatenate([rng.permutation(len(keys)) for _ in range(repetitions)])
        for position in order:
            key = keys[position]
            seconds[key].append(measure(calls[key]))
            after_call()
    finally:
        if collecting:
            gc.enable()
    return seconds


def _seconds(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    result = call()
    elapsed = time.perf_counter() - start
    # The next call must find this result's memory free, and nobody's time includes freeing it.
    del result
    return elapsed
