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


def summarize(seconds: Sequence[float]) -> Quantiles:
    """Median, 20th and 80th percentile, linear between samples."""
    p20, median, p80 = (float(value) for value in np.percentile(np.asarray(seconds) * 1e3, [20, 50, 80]))
    return Quantiles(median=median, p20=p20, p80=p80)


def time_in_turns(
    calls: Mapping[Key, Callable[[int], object]],
    *,
    repetitions: int,
    inputs: int,
    seed: int,
    after_call: Callable[[], None] = lambda: None,
) -> dict[Key, list[float]]:
    """Seconds of every call, once per round in an order that is drawn anew for every round.

    Args:
      calls: what to time; each is called with the index of an input.
      repetitions: rounds.
      inputs: number of inputs to rotate through: with two or more, no call finds its data in the cache of the last one.
      seed: of the order.
      after_call: called between two timed calls.
    """
    rng = np.random.default_rng(seed)
    keys = list(calls)
    seconds: dict[Key, list[float]] = {key: [] for key in keys}
    collecting = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        order = np.concatenate([rng.permutation(len(keys)) for _ in range(repetitions)])
        for turn, position in enumerate(order):
            key = keys[position]
            seconds[key].append(_seconds(calls[key], turn % inputs))
            after_call()
    finally:
        if collecting:
            gc.enable()
    return seconds


def _seconds(call: Callable[[int], object], index: int) -> float:
    start = time.perf_counter()
    result = call(index)
    elapsed = time.perf_counter() - start
    # The next call must find this result's memory free, and nobody's time includes freeing it.
    del result
    return elapsed
