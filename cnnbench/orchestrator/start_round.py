"""Start the workers of a round: build the models side by side, then warm them up one after the other."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from cnnbench.jobs import Job
from cnnbench.models import MODELS
from cnnbench.orchestrator.blocks import OnProgress
from cnnbench.orchestrator.running_cell import RunningCell
from cnnbench.record import RecordedWarning
from cnnbench.spec import Case
from cnnbench.timing.loop import SampleShape
from cnnbench.timing.warmup import WARM_CAP_S
from cnnbench.workers.failures import mention_option
from cnnbench.workers.messages import Built, Failure, Ready, Warm

# Longest wait in seconds for a first call that compiles, if --timeout is shorter: max-autotune takes minutes.
COMPILE_TIMEOUT_S = 600.0

# Seconds within which an emulated variant must have warmed up (compiling excluded), and the longest warm-up. A variant
# that takes longer is given up, because it would use up the budget.
EMULATED_TIMEOUT_S = 2.0
EMULATED_WARM_S = 1.0

# Failures of a model's first cell that its other variants would have as well. Running out of memory is not one of them,
# because another variant may need less.
STOPS_ITS_MODEL = ("timeout", "failed")


@dataclass(frozen=True, kw_only=True, slots=True)
class WorkerLimits:
    """Limits of a worker: bytes of memory (None: no limit) and seconds of warm-up; `scratch` is for its caches.

    `emulated` gives the reason for cases that run, but not natively.
    """

    scratch: str
    memory_bytes: int | None
    emulated: Mapping[Case, str]
    warm_cap_s: float = WARM_CAP_S


def start(
    cells: Sequence[RunningCell], shapes: Mapping[Case, SampleShape], limits: WorkerLimits, on_progress: OnProgress
) -> None:
    """Start workers for `cells` and warm them up; `shapes` are the shapes of samples in earlier rounds.

    In the first round the first cell of each outside model goes ahead. What stops it would stop the others too, so a
    model that hangs costs one timeout instead of one for each variant.
    """
    # Reversed, so that the first of several cells of a model stays in the mapping.
    firsts = {cell.case.model: cell for cell in reversed(cells)}
    new = [cell for cell in cells if cell.case.model not in MODELS and cell.case not in shapes]

    ahead = [cell for cell in new if cell is firsts[cell.case.model]]
    if len(ahead) < len(cells):
        _start_all(ahead, shapes, limits, on_progress)

    # The A/A control is the reference once more, so every failure of the reference would be its own too.
    for cell in cells:
        stopped = firsts[cell.case.model].failure
        if stopped is not None and (cell.case.role == "aa_control" or stopped.status in STOPS_ITS_MODEL):
            cell.failure = cell.failure or stopped

    # Those that went ahead have their workers already.
    _start_all([c for c in cells if c.alive and c.worker is None], shapes, limits, on_progress)


def _start_all(
    cells: Sequence[RunningCell], shapes: Mapping[Case, SampleShape], limits: WorkerLimits, on_progress: OnProgress
) -> None:
    """Build the models of `cells` at once, because nothing is timed yet; then warm up one after the other."""
    for cell in cells:
        cell.start()
        cell.current_worker().send(
            Job(
                case=cell.case,
                scratch=limits.scratch,
                memory_limit_bytes=limits.memory_bytes if cell.case.device == "cpu" else None,
                warm_cap_s=min(limits.warm_cap_s, EMULATED_WARM_S if _emulation_reason(cell, limits) else WARM_CAP_S),
            )
        )

    # All builds began together, so they share one deadline.
    until = time.monotonic() + max((cell.case.budget.timeout_s for cell in cells), default=0.0)
    for cell in cells:
        reply = cell.receive(max(0.0, until - time.monotonic()))
        if isinstance(reply, Failure):
            cell.failure = mention_option(reply, cell.case.budget.timeout_s)
        else:
            assert isinstance(reply, Built)
            cell.warnings += reply.warnings
            cell.notes += reply.notes

    # A warm-up times passes to shape the samples, so no other cell may be at work.
    for cell in cells:
        if cell.alive:
            _warm(cell, shapes.get(cell.case), limits, on_progress)


def _warm(cell: RunningCell, shape: SampleShape | None, limits: WorkerLimits, on_progress: OnProgress) -> None:
    case, emulated = cell.case, _emulation_reason(cell, limits)
    compiles = bool(case.variant.compile_mode) and case.role != "control_workload"
    if compiles and cell.first:
        on_progress(f"{case.label()}: compiling (a minute or so)")

    # Compiling comes first: an emulated variant that is compiled needs the longer time as well.
    timeout_s = EMULATED_TIMEOUT_S if emulated is not None else case.budget.timeout_s
    if compiles:
        timeout_s = max(timeout_s, COMPILE_TIMEOUT_S)

    cell.current_worker().send(Warm(shape=shape))
    reply = cell.receive(timeout_s)
    if isinstance(reply, Ready):
        cell.ready = reply
        cell.warnings += reply.warnings
        cell.notes += reply.notes
        if emulated is not None:
            advice = "Its time says nothing about a machine that has bf16 instructions."
            cell.warnings.append(RecordedWarning(code="emulated", fact=emulated, advice=advice))
        return

    # Being too slow is no failure of the model, so an emulated variant counts as unsupported.
    assert isinstance(reply, Failure)
    if emulated is not None and reply.status == "timeout":
        cell.failure = Failure(status="unsupported", error=f"{emulated}; given up after {timeout_s:.0f} s of warm-up")
    else:
        cell.failure = mention_option(reply, timeout_s)


def _emulation_reason(cell: RunningCell, limits: WorkerLimits) -> str | None:
    """Return why the cell is emulated, or None; a cell of another role is emulated if its timed cell is."""
    return limits.emulated.get(replace(cell.case, role="timed"))
