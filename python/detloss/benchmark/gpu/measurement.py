"""Times, memory and launches of a step on a GPU."""

from __future__ import annotations

import gc
import re
from collections.abc import Callable, Sequence
from typing import Any

import torch

from detloss.benchmark.gpu.cases import DeviceBatch, Step

# A timed call takes at least so long, to leave the events' resolution and the gap between two calls behind.
_CALL_MS = 4.0
_MOST_ROUNDS = 1000
# In a CUDA graph: the gap between two of them is that of a launch, a microsecond or two.
_FEWEST_STEPS = 24
_MIB = 2.0**20


class Steps:
    """Steps over several batches in turn, as a call to be timed; keeps what the last round made.

    Outputs of every batch stay where they are until its next step, so that gradients do not share memory, which the
    cache could serve.
    """

    def __init__(self, step: Step, batches: Sequence[DeviceBatch]):
        self._step, self._batches = step, batches
        self._kept: list[Any] = [None] * len(batches)
        self._graph: Any = None
        self._rounds_of_graph = 1

    def round(self) -> None:
        """A step over each of the batches, called from Python."""
        for index, batch in enumerate(self._batches):
            self._kept[index] = None
            self._kept[index] = self._step(batch)

    def capture(self) -> None:
        """Makes a CUDA graph of some rounds.

        Raises:
          RuntimeError: PyTorch cannot capture the step.
        """
        self._rounds_of_graph = -(-_FEWEST_STEPS // len(self._batches))
        torch.cuda.synchronize()
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            self.round()
        torch.cuda.current_stream().wait_stream(stream)
        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            for _ in range(self._rounds_of_graph):
                self.round()
        graph.replay()
        torch.cuda.synchronize()
        self._graph = graph

    def replayed(self) -> TimedCall:
        """Replays of the graph."""
        return TimedCall(self._graph.replay, self._rounds_of_graph * len(self._batches))

    def called(self) -> TimedCall:
        """Rounds called from Python."""
        return TimedCall(self.round, len(self._batches))


class TimedCall:
    """As many calls in a row as a timer can tell."""

    def __init__(self, call: Callable[[], object], steps_per_call: int):
        self._call = call
        call()
        once = elapsed_ms(call)
        self._calls = max(1, min(_MOST_ROUNDS, round(_CALL_MS / max(once, 1e-3))))
        self.steps = self._calls * steps_per_call

    def __call__(self) -> None:
        """Calls without waiting for the GPU."""
        for _ in range(self._calls):
            self._call()


def elapsed_ms(call: Callable[[], object]) -> float:
    """Time between two events around the call, which the GPU begins with nothing else to do."""
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.cuda.synchronize()
    start.record()
    call()
    end.record()
    end.synchronize()
    return float(start.elapsed_time(end))


def seconds(call: Callable[[], object]) -> float:
    """The same, for `time_in_turns`."""
    return elapsed_ms(call) / 1e3


def peak_mib(step: Step, batch: DeviceBatch) -> float:
    """Peak of PyTorch's allocator in a step beyond what is held before it, with the outputs."""
    step(batch)
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    result = step(batch)
    torch.cuda.synchronize()
    peak = torch.cuda.max_memory_allocated() - before
    del result
    return float(peak) / _MIB


def recorded_kernels(steps: Steps, count: int) -> tuple[dict[str, Any], ...]:
    """What a round of `count` steps puts on the stream, per step; nothing where the profiler records nothing."""
    from torch.profiler import ProfilerActivity, profile

    steps.round()
    torch.cuda.synchronize()
    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as recorded:
        steps.round()
        torch.cuda.synchronize()
    kernels: dict[str, dict[str, Any]] = {}
    for event in recorded.events():
        if event.device_type != torch.autograd.DeviceType.CUDA or getattr(event, "is_user_annotation", False):
            continue
        name = short_name(event.name)
        entry = kernels.setdefault(name, {"name": name, "launches": 0.0, "us": 0.0})
        entry["launches"] += 1 / count
        entry["us"] += event.time_range.elapsed_us() / count
    return tuple({**entry, "launches": round(entry["launches"], 3)} for entry in kernels.values())


def short_name(kernel: str) -> str:
    """A kernel's name without what it returns, its namespaces and its arguments."""
    plain = kernel.replace("(anonymous namespace)", "")
    depth, kept = 0, []
    for character in plain:
        depth += character in "<(["
        if depth == 0:
            kept.append(character)
        depth -= character in ">)]"
    name = "".join(kept).strip()
    # "Memset (Device)" and "Memcpy DtoD" are no functions.
    return name if name.startswith("Mem") else re.split(r"::|\s", name)[-1] or plain


def free_memory() -> None:
    """Gives back what nobody holds any more, of graphs too."""
    gc.collect()
    torch.cuda.synchronize()
    torch.cuda.empty_cache()


def copy_gb_per_s() -> float:
    """What a copy inside the GPU's memory moves, read and written, in GB/s: the ceiling of every number here."""
    source = torch.ones(2**30, dtype=torch.uint8, device="cuda")
    target = torch.empty_like(source)
    target.copy_(source)
    best = min(elapsed_ms(lambda: target.copy_(source)) for _ in range(10))
    return 2 * source.nbytes / best / 1e6
