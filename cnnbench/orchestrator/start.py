"""Start the workers of a round: build the networks side by side, then warm them up one after the other."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from cnnbench.models import MODELS
from cnnbench.orchestrator.blocks import Tell
from cnnbench.orchestrator.cell import Cell
from cnnbench.orchestrator.failures import with_option
from cnnbench.orchestrator.messages import Built, Failure, Job, Ready, Warm
from cnnbench.record import Caution
from cnnbench.runners.sampling import SampleShape
from cnnbench.runners.warming import WARM_CAP_S
from cnnbench.spec import Case

COMPILE_TIMEOUT_S = 600.0
"""Longest wait for a first call that compiles, where --timeout is shorter: max-autotune takes minutes."""

EMULATED_TIMEOUT_S = 5.0
EMULATED_WARM_S = 2.5
"""Seconds until an emulated variant must have warmed up, compiling apart, and when its warm-up ends at the latest; one
that takes longer is given up, because it would eat the budget."""

STOPS_ITS_MODEL = ("timeout", "failed")
"""What a model's first cell met that its other variants would meet as well. Memory is not among it: another variant may
need less."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """What a worker may take: bytes of memory (None: no limit) and seconds of warm-up; `scratch` is for its caches.

    `emulated` gives the reason for cases that run, but not natively.
    """

    scratch: str
    memory_bytes: int | None
    emulated: Mapping[Case, str]
    warm_cap_s: float = WARM_CAP_S


def start(cells: Sequence[Cell], shapes: Mapping[Case, SampleShape], limits: Limits, tell: Tell) -> None:
    """Start workers for `cells` and warm them up; `shapes` are those of the samples of earlier rounds.

    In the first round the first cell of each model from outside goes ahead: what stops it would stop the others too,
    and a network that hangs costs one timeout and not one a variant.
    """
    firsts = {cell.case.model: cell for cell in reversed(cells)}
    new = [cell for cell in cells if cell.case.model not in MODELS and cell.case not in shapes]
    ahead = [cell for cell in new if cell is firsts[cell.case.model]]
    if len(ahead) < len(cells):
        _start_all(ahead, shapes, limits, tell)
    for cell in cells:
        stopped = firsts[cell.case.model].failure
        if stopped is not None and (cell.case.role == "twin" or stopped.status in STOPS_ITS_MODEL):
            cell.failure = cell.failure or stopped
    _start_all([c for c in cells if c.alive and c.worker is None], shapes, limits, tell)


def _start_all(cells: Sequence[Cell], shapes: Mapping[Case, SampleShape], limits: Limits, tell: Tell) -> None:
    """Build the networks of `cells` at once: nothing is timed yet, so they may share the cores. Then warm each up."""
    for cell in cells:
        cell.start()
        cell.at_work().send(
            Job(
                case=cell.case,
                scratch=limits.scratch,
                memory_limit_bytes=limits.memory_bytes if cell.case.device == "cpu" else None,
                warm_cap_s=min(limits.warm_cap_s, EMULATED_WARM_S if _emulated(cell, limits) else WARM_CAP_S),
            )
        )

    until = time.monotonic() + max((cell.case.budget.timeout_s for cell in cells), default=0.0)
    for cell in cells:
        reply = cell.receive(max(0.0, until - time.monotonic()))
        if isinstance(reply, Failure):
            cell.failure = with_option(reply, cell.case.budget.timeout_s)
        else:
            assert isinstance(reply, Built)
            cell.cautions += reply.cautions
            cell.notes += reply.notes

    for cell in cells:
        if cell.alive:
            _warm(cell, shapes.get(cell.case), limits, tell)


def _warm(cell: Cell, shape: SampleShape | None, limits: Limits, tell: Tell) -> None:
    case, emulated = cell.case, _emulated(cell, limits)
    compiles = bool(case.variant.compile_mode) and case.role != "canary"
    if compiles and cell.first:
        tell(f"{case.label()}: compiling (a minute or so)")
    patience = EMULATED_TIMEOUT_S if emulated is not None else case.budget.timeout_s
    if compiles:
        patience = max(patience, COMPILE_TIMEOUT_S)

    cell.at_work().send(Warm(shape=shape))
    reply = cell.receive(patience)
    if isinstance(reply, Ready):
        cell.ready = reply
        cell.cautions += reply.cautions
        if emulated is not None:
            advice = "Its time says nothing about a machine that has bf16 instructions."
            cell.cautions.append(Caution(code="emulated", fact=emulated, advice=advice))
        return

    assert isinstance(reply, Failure)
    if emulated is not None and reply.status == "timeout":
        cell.failure = Failure(status="unsupported", error=f"{emulated}; given up after {patience:.0f} s of warm-up")
    else:
        cell.failure = with_option(reply, patience)


def _emulated(cell: Cell, limits: Limits) -> str | None:
    """Return why the cell runs, but not natively; what stands beside a timed cell is as that one."""
    return limits.emulated.get(replace(cell.case, role="timed"))
