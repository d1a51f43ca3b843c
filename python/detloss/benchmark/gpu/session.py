"""Measures cases on a GPU: agreement first, then memory and launches, then time."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch

from detloss import _core
from detloss.benchmark import machine
from detloss.benchmark.errors import BenchmarkError, DisagreementError
from detloss.benchmark.gpu import agreement
from detloss.benchmark.gpu.cases import DeviceBatch, DeviceCase
from detloss.benchmark.gpu.measurement import (
    Steps,
    TimedCall,
    copy_gb_per_s,
    free_memory,
    peak_mib,
    recorded_kernels,
    seconds,
)
from detloss.benchmark.gpu.results import DeviceRow
from detloss.benchmark.results import Results, Skipped
from detloss.benchmark.timing import Quantiles, summarize, time_in_turns

# All batches of a case together are so many times the cache, whose contents the last of them replace.
_CACHES = 4
_FEWEST_BATCHES, _MOST_BATCHES = 3, 64
_WARM_UP_ROUNDS = 3
_CALLED_REPETITIONS = 9


@dataclasses.dataclass(frozen=True)
class Settings:
    """What to measure of every case.

    Attributes:
      implementations: some of `DEVICE_IMPLEMENTATIONS`.
      passes: some of `PASSES`.
      repetitions: timed calls.
      seed: of the data and of the order.
      profile: whether to record launches.
    """

    implementations: tuple[str, ...]
    passes: tuple[str, ...]
    repetitions: int
    seed: int
    profile: bool


class Measured:
    """One implementation and pass: what was found before the timing."""

    def __init__(self, implementation: str, what: str, steps: Steps):
        self.implementation, self.what, self.steps = implementation, what, steps
        self.mode = "called"
        self.first_ms = self.peak = 0.0
        self.kernels: tuple[dict[str, Any], ...] = ()
        self.called_ms = 0.0


def check_available() -> None:
    """Raises `BenchmarkError` where there is nothing to measure, or nothing to measure with."""
    if not hasattr(_core, "device"):
        raise BenchmarkError(
            "expected a build of detloss with CUDA kernels, got a CPU-only build; build with DETLOSS_CUDA=ON, where "
            "nvcc is"
        )
    if not torch.cuda.is_available():
        raise BenchmarkError(f"expected a GPU that PyTorch {torch.__version__} can use, found none")


def describe(settings: Settings) -> dict[str, Any]:
    """The header of the results."""
    properties = torch.cuda.get_device_properties(0)
    header = machine.describe({"torch": torch.__version__, "cuda of torch": str(torch.version.cuda)}, [properties.name])
    header["machine"] |= {
        "gpu_memory_gib": round(properties.total_memory / 2**30, 1),
        "gpu_multiprocessors": properties.multi_processor_count,
        "gpu_cache_mib": _cache_bytes() / 2**20,
        "gpu_copy_gb_per_s": round(copy_gb_per_s(), 1),
        "driver": _driver_version(),
    }
    return {**header, "settings": dataclasses.asdict(settings)}


def measure(cases: Sequence[DeviceCase], settings: Settings, say: Callable[[str], None]) -> Iterator[Results]:
    """Measures every case; yields the results so far after each, so that no later one can lose them.

    Raises:
      DisagreementError: an implementation does not compute what the CPU computes.
      BenchmarkError: there is nothing to measure.
    """
    check_available()
    results = Results(describe(settings))
    if not settings.profile:
        results.notes.append("launches: not recorded, as asked")
    for case in cases:
        say(f"{case.preset}, batch {case.batch}")
        _measure_case(case, settings, results, say)
        free_memory()
        torch._dynamo.reset()
        yield results


def _measure_case(case: DeviceCase, settings: Settings, results: Results, say: Callable[[str], None]) -> None:
    batches = case.make_batches(settings.seed, _batches_beyond_the_cache)
    expected = _check_fused(case, batches[0])
    measured = []
    for implementation in settings.implementations:
        reason = case.why_not(implementation)
        if reason is None:
            say(f"{case.preset}, batch {case.batch}: {implementation}")
            try:
                measured += [
                    _prepare(case, implementation, what, batches, expected, settings, results)
                    for what in settings.passes
                ]
            except DisagreementError as error:
                reason = f"disagrees: {error}"
            except Exception as error:  # PyTorch's compiler, and memory, fail in many ways
                reason = f"failed: {type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
        if reason is not None:
            measured = [one for one in measured if one.implementation != implementation]
            results.skipped.append(Skipped(case.describe(), implementation, ("replayed",), reason))
            free_memory()
    del expected
    say(f"{case.preset}, batch {case.batch}: times")
    results.rows += _time(case, measured, batches, settings)


def _check_fused(case: DeviceCase, batch: DeviceBatch) -> Any:
    result = case.step("fused", "forward_backward")(batch)
    agreement.check_fused(case, batch, result)
    return result


def _prepare(
    case: DeviceCase,
    implementation: str,
    what: str,
    batches: Sequence[DeviceBatch],
    expected: Any,
    settings: Settings,
    results: Results,
) -> Measured:
    step = case.step(implementation, what)
    found = Measured(implementation, what, Steps(step, batches))
    first = []
    found.first_ms = seconds(lambda: first.append(step(batches[0]))) * 1e3
    if implementation != "fused" and what == "forward_backward":
        agreement.check_torch(implementation, case, first[0], expected)
    first.clear()
    found.peak = peak_mib(step, batches[0])
    found.steps.round()
    if settings.profile:
        try:
            found.kernels = recorded_kernels(found.steps, len(batches))
        except Exception as error:  # the profiler needs rights that a container may not have
            _note_once(results, f"launches: torch.profiler failed with {type(error).__name__}")
        if not found.kernels:
            _note_once(results, "launches: torch.profiler recorded nothing, so that they are not known")
    calls = found.steps.called()
    found.called_ms = summarize([seconds(calls) for _ in range(_CALLED_REPETITIONS)], calls.steps).median
    free_memory()  # which the graph will need
    if implementation == "torch-topk":  # the host waits for k, which no graph can
        return found
    try:
        found.steps.capture()
        found.mode = "replayed"
    except RuntimeError as error:
        torch.cuda.synchronize()
        _note_once(results, f"{implementation}: no CUDA graph could be made ({str(error).splitlines()[0]})")
    return found


def _time(
    case: DeviceCase, measured: Sequence[Measured], batches: Sequence[DeviceBatch], settings: Settings
) -> list[DeviceRow]:
    floors = {what: Steps(case.floor(what), batches) for what in settings.passes}
    calls: dict[Any, TimedCall] = {}
    for what, steps in floors.items():
        steps.round()
        steps.capture()
        calls[what] = steps.replayed()
    for one in measured:
        calls[one] = one.steps.replayed() if one.mode == "replayed" else one.steps.called()
    found = _quantiles(calls, settings.repetitions, settings.seed)
    gradient = sum(tensor.nbytes for tensor in batches[0].predictions) / 2**20
    return [
        _row(case, one, settings, len(batches), found, _fused(measured, one, found), gradient)
        for what in settings.passes
        for one in measured
        if one.what == what
    ]


def _fused(measured: Sequence[Measured], one: Measured, times: dict[Any, Quantiles]) -> float | None:
    """The fused kernels' median in the pass and mode of `one`."""
    for other in measured:
        if (other.implementation, other.what) == ("fused", one.what):
            return other.called_ms if one.mode == "called" else times[other].median
    return None


def _quantiles(calls: dict[Any, TimedCall], repetitions: int, seed: int) -> dict[Any, Quantiles]:
    for rounds in (_WARM_UP_ROUNDS, repetitions):
        times = time_in_turns(calls, repetitions=rounds, seed=seed, measure=seconds)
    return {key: summarize(times[key], calls[key].steps) for key in calls}


def _row(
    case: DeviceCase,
    one: Measured,
    settings: Settings,
    input_sets: int,
    times: dict[Any, Quantiles],
    fused_ms: float | None,
    gradient_mib: float,
) -> DeviceRow:
    step, floor = times[one], times[one.what]
    gradient = gradient_mib if one.what == "forward_backward" else 0.0
    return DeviceRow(
        case=case.describe(),
        device="gpu",
        threads=0,
        implementation=one.implementation,
        mode=one.mode,
        what=one.what,
        batches=input_sets,
        repetitions=settings.repetitions,
        median_ms=step.median,
        p20_ms=step.p20,
        p80_ms=step.p80,
        first_call_ms=one.first_ms,
        compiles_every_batch=False,
        floor_ms=floor.median,
        floor_p20_ms=floor.p20,
        floor_p80_ms=floor.p80,
        ratio_to_fused=step.median / fused_ms if fused_ms else None,
        ratio_to_floor=step.median / floor.median,
        peak_mib=one.peak,
        gradient_peak_mib=gradient,
        bytes_per_cell=(one.peak - gradient) * 2**20 / case.cells,
        called_ms=one.called_ms,
        launches=sum(kernel["launches"] for kernel in one.kernels) if one.kernels else None,
        kernels=one.kernels,
        input_sets=input_sets,
    )


def _batches_beyond_the_cache(batch: DeviceBatch) -> int:
    needed = -(-_CACHES * _cache_bytes() // max(1, batch.bytes))
    return min(_MOST_BATCHES, max(_FEWEST_BATCHES, needed))


def _cache_bytes() -> int:
    """Of the second level; 64 MiB where PyTorch does not know it."""
    return int(getattr(torch.cuda.get_device_properties(0), "L2_cache_size", 0)) or 64 * 2**20


def _driver_version() -> str | None:
    try:
        asked = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
        return subprocess.run(asked, capture_output=True, text=True, check=True, timeout=60).stdout.splitlines()[0]
    except (OSError, subprocess.SubprocessError, IndexError):
        return None


def _note_once(results: Results, note: str) -> None:
    if note not in results.notes:
        results.notes.append(note)
        print(note, file=sys.stderr)
