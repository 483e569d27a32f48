"""What a run works with, and what is known of the pieces of work beside its groups."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from cnnbench.orchestrator.plan import Plan
from cnnbench.orchestrator.start_round import EMULATED_TIMEOUT_S
from cnnbench.record import Environment
from cnnbench.spec import Case
from cnnbench.workers.client import Host
from cnnbench.workers.messages import Done

# Longest wait for one model's counts, memory or error: torchvision's largest takes ten seconds.
WHOLE_S = 60.0


@dataclass(frozen=True, kw_only=True, slots=True)
class RunContext:
    """What all parts of a run share: its workers' host, its plan, and where they write."""

    host: Host
    plan: Plan
    environment: Environment
    scratch: str


def timeout_of(context: RunContext, case: Case) -> float:
    """Return how long to wait for a piece of work: not long where it is emulated."""
    emulated = replace(case, role="timed") in context.plan.emulated
    return min(EMULATED_TIMEOUT_S if emulated else WHOLE_S, case.budget.timeout_s)


def left_of(reply: Done, without: Sequence[str]) -> Done:
    """Return `reply` without the quantities `without`."""
    kept = tuple(m for m in reply.outcome.measurements if m.quantity not in without)
    return Done(outcome=replace(reply.outcome, measurements=kept))


def conditions_of(case: Case) -> tuple[object, ...]:
    """Return what a cell and what is measured beside it have in common."""
    return case.model, case.variant, case.device, case.batch_size


def resized(case: Case, input_size: tuple[int, int]) -> Case:
    """Return `case` at (height, width) `input_size`."""
    return replace(case, input_shape=(case.input_shape[0], *input_size))
