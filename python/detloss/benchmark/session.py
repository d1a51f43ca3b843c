"""Measures cases: agreement first, then time, then memory."""

from __future__ import annotations

import dataclasses
import functools
import os
import time
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import keras
import tensorflow as tf
from rich.progress import Progress

from detloss.benchmark import agreement, devices, machine
from detloss.benchmark.case import Batch, Case
from detloss.benchmark.choices import PEER_MODE
from detloss.benchmark.errors import BenchmarkError
from detloss.benchmark.memory import GRADIENT_ONLY, MemoryRequest, peak_mib
from detloss.benchmark.peer import Peer
from detloss.benchmark.results import Results, Row, Skipped
from detloss.benchmark.steps import Steps, make_steps, run
from detloss.benchmark.timing import Quantiles, summarize, time_in_turns

_WARM_UP_ROUNDS = 2


@dataclasses.dataclass(frozen=True)
class Settings:
    """What to measure of every case.

    Attributes:
      implementations: some of `IMPLEMENTATIONS`.
      modes: some of `MODES`.
      passes: some of `PASSES`.
      device: one of `DEVICES`.
      threads: TensorFlow's intra-op threads.
      batches: batches of data; a timed call takes a step over each of them.
      repetitions: timed calls.
      seed: of the data and of the order.
      memory: whether to measure peak memory.
      peers: some of `PEERS`; they are measured beside the eager mode.
    """

    implementations: tuple[str, ...]
    modes: tuple[str, ...]
    passes: tuple[str, ...]
    device: str
    threads: int
    batches: int
    repetitions: int
    seed: int
    memory: bool
    peers: tuple[str, ...] = ()


class StepKey(NamedTuple):
    """Names one measured step."""

    what: str
    mode: str
    implementation: str

    def __str__(self) -> str:
        return f"{self.implementation}, {self.mode}, {self.what}"


class Times(NamedTuple):
    """Times of a case: of every step and of the first call, and the floor of every pass (none on a GPU)."""

    steps: dict[StepKey, Quantiles]
    first_ms: dict[StepKey, float]
    floors: dict[str, Quantiles]


def measure(cases: Sequence[Case], settings: Settings, progress: Progress) -> Results:
    """Measures every case.

    Raises:
      DisagreementError: an implementation does not compute what the reference computes.
      BenchmarkError: something that was asked for does not exist here.
      MemoryError: a case does not fit.
    """
    _check_fused_is_fused(settings.implementations)
    devices.configure(settings.device, settings.threads)
    devices.check(settings.device, settings.implementations)
    frameworks = {"tensorflow": tf.__version__, "keras": keras.__version__}
    header = machine.describe(frameworks, devices.gpu_names())
    results = Results({**header, "settings": dataclasses.asdict(settings)})
    peers = [{name: case.peer(name) for name in settings.peers} for case in cases]
    for case, peers_of_case in zip(cases, peers, strict=True):
        keys, skipped = _choose_steps(case, settings)
        results.skipped += skipped
        if keys:
            try:
                results.rows += _measure_case(case, keys, peers_of_case, settings, progress)
            except tf.errors.ResourceExhaustedError as error:
                raise MemoryError(error.message) from error
    if not results.rows:
        reasons = "; ".join(f"{skipped.implementation} {skipped.reason}" for skipped in results.skipped)
        raise BenchmarkError(f"--implementation: expected one that computes the case, got none: {reasons}")
    for name, peer in peers[0].items():
        if any(row.implementation == name for row in results.rows):
            results.header["versions"][name] = peer.version
            results.notes.append(peer.note)
    return results


def _check_fused_is_fused(implementations: Sequence[str]) -> None:
    chosen = os.environ.get("DETLOSS_IMPL", "fused")
    if "fused" in implementations and chosen != "fused":
        raise BenchmarkError(
            f"DETLOSS_IMPL: expected it unset while the fused op is measured, got {chosen!r}, which replaces the op"
        )


def _choose_steps(case: Case, settings: Settings) -> tuple[list[StepKey], list[Skipped]]:
    """The steps that can be measured, and what was asked for beside them."""
    asked = [(implementation, mode) for implementation in settings.implementations for mode in settings.modes]
    asked += [(peer, PEER_MODE) for peer in settings.peers]
    reasons = {subject: case.why_not(*subject) for subject in asked}
    keys = [
        StepKey(what, mode, implementation)
        for what in settings.passes
        for mode in settings.modes
        for implementation in (*settings.implementations, *settings.peers)
        if reasons.get((implementation, mode), "not asked for") is None
    ]
    modes: dict[tuple[str, str], list[str]] = {}
    for (implementation, mode), reason in reasons.items():
        if reason is not None:
            modes.setdefault((implementation, reason), []).append(mode)
    skipped = [
        Skipped(case.describe(), implementation, tuple(of_reason), reason)
        for (implementation, reason), of_reason in modes.items()
    ]
    return keys, skipped


def _measure_case(
    case: Case, keys: Sequence[StepKey], peers: Mapping[str, Peer], settings: Settings, progress: Progress
) -> list[Row]:
    times = _time_steps(case, keys, peers, settings, progress)
    own = [key for key in keys if key.implementation not in peers]
    peaks = _peaks(case, own, settings, progress) if settings.memory else {}
    return [_row(case, key, settings, times, peaks) for key in keys]


def _time_steps(
    case: Case, keys: Sequence[StepKey], peers: Mapping[str, Peer], settings: Settings, progress: Progress
) -> Times:
    with tf.device(devices.name(settings.device)):
        making = progress.add_task(f"{case.preset}: data", total=settings.batches)
        batches = []
        for index in range(settings.batches):
            batches.append(case.make_batch([settings.seed, index]))
            progress.advance(making)
        batches_of = {key: _batches_of(case, key, batches) for key in keys}
        steps = {
            key: make_steps(case.loss(key.implementation), key.mode, key.what, batches_of[key])
            for key in keys
            if key.implementation not in peers
        }
        first_ms = _check_agreement(case, steps, batches_of, batches, progress)
        calls: dict[StepKey | str, Callable[[], object]] = {
            key: functools.partial(run, steps[key], batches_of[key]) for key in steps
        }
        of_peers = _peer_calls(keys, peers, batches)
        first_ms |= {key: _milliseconds(call) for key, call in of_peers.items()}
        calls.update(of_peers.items())
        if settings.device == "cpu":
            floors = case.floor(batches, settings.threads)
            calls |= {what: floors[what] for what in settings.passes}
        timing = progress.add_task(f"{case.preset}: time", total=len(calls) * (_WARM_UP_ROUNDS + settings.repetitions))
        for repetitions in (_WARM_UP_ROUNDS, settings.repetitions):
            seconds = time_in_turns(
                calls, repetitions=repetitions, seed=settings.seed, after_call=lambda: progress.advance(timing)
            )
    return Times(
        {key: summarize(seconds[key], len(batches_of[key])) for key in keys},
        first_ms,
        {what: summarize(seconds[what], len(batches)) for what in settings.passes if what in seconds},
    )


def _batches_of(case: Case, key: StepKey, batches: Sequence[Batch]) -> Sequence[Batch]:
    """What a call steps over: one batch where every batch costs a compilation."""
    return batches[:1] if case.compiles_every_batch(key.implementation, key.mode) else batches


def _check_agreement(
    case: Case,
    steps: Mapping[StepKey, Steps],
    batches_of: Mapping[StepKey, Sequence[Batch]],
    batches: Sequence[Batch],
    progress: Progress,
) -> dict[StepKey, float]:
    """Compares what every first call gives with the reference; returns the times of these calls in ms."""
    checking = progress.add_task(f"{case.preset}: agreement", total=len(steps))
    expected = run(make_steps(case.loss("reference"), "graph", "forward_backward", batches), batches)
    first_ms = {}
    for key in steps:
        start = time.perf_counter()
        outputs = run(steps[key], batches_of[key])
        first_ms[key] = (time.perf_counter() - start) * 1e3
        for output, wanted in zip(outputs, expected, strict=False):
            agreement.check(f"{case.preset}, {key}", output, wanted, case.dtype)
        del outputs  # gradients of the next step may need the memory
        progress.advance(checking)
    return first_ms


def _peer_calls(
    keys: Sequence[StepKey], peers: Mapping[str, Peer], batches: Sequence[Batch]
) -> dict[StepKey, Callable[[], object]]:
    chosen = {key.implementation for key in keys}
    calls = {name: peer.calls(batches) for name, peer in peers.items() if name in chosen}
    return {key: calls[key.implementation][key.what] for key in keys if key.implementation in calls}


def _milliseconds(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return (time.perf_counter() - start) * 1e3


def _peaks(case: Case, keys: Sequence[StepKey], settings: Settings, progress: Progress) -> dict[StepKey, float]:
    """Peak memory of every step in MiB; under `GRADIENT_ONLY` that of the gradient alone."""
    subjects = [*dict.fromkeys((key.mode, key.implementation) for key in keys), ("eager", GRADIENT_ONLY)]
    peaks = {}
    for mode, implementation in progress.track(subjects, description=f"{case.preset}: memory"):
        request = MemoryRequest(
            case, implementation, mode, settings.passes, settings.device, settings.threads, settings.seed
        )
        for what, peak in peak_mib(request).items():
            peaks[StepKey(what, mode, implementation)] = peak
    return peaks


def _row(
    case: Case,
    key: StepKey,
    settings: Settings,
    times: Times,
    peaks: Mapping[StepKey, float],
) -> Row:
    step, floor = times.steps[key], times.floors.get(key.what)
    fused = times.steps.get(key._replace(implementation="fused"))
    recompiles = case.compiles_every_batch(key.implementation, key.mode)
    peak = peaks.get(key)
    gradient = peaks.get(StepKey(key.what, "eager", GRADIENT_ONLY)) if key.what == "forward_backward" else 0.0
    return Row(
        case=case.describe(),
        device=settings.device,
        threads=settings.threads,
        implementation=key.implementation,
        mode=key.mode,
        what=key.what,
        batches=1 if recompiles else settings.batches,
        repetitions=settings.repetitions,
        median_ms=step.median,
        p20_ms=step.p20,
        p80_ms=step.p80,
        first_call_ms=times.first_ms[key],
        compiles_every_batch=recompiles,
        floor_ms=floor.median if floor else None,
        floor_p20_ms=floor.p20 if floor else None,
        floor_p80_ms=floor.p80 if floor else None,
        ratio_to_fused=step.median / fused.median if fused else None,
        ratio_to_floor=step.median / floor.median if floor else None,
        peak_mib=peak,
        gradient_peak_mib=gradient if peak is not None else None,
        bytes_per_cell=None if peak is None or gradient is None else (peak - gradient) * 2**20 / case.cells,
    )
