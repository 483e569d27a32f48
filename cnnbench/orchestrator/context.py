"""Context of a run: its host, plan and environment, and helpers for the jobs between its rounds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from cnnbench.orchestrator.plan import Plan
from cnnbench.orchestrator.start_round import EMULATED_TIMEOUT_S
from cnnbench.record import Environment
from cnnbench.spec import Case
from cnnbench.workers.client import Host
from cnnbench.workers.messages import Done

# Longest wait in seconds for one model's counts, memory or error: torchvision's largest model takes ten.
WHOLE_S = 60.0


@dataclass(frozen=True, kw_only=True, slots=True)
class RunContext:
    """What all parts of a run share: the host of its workers, its plan, its environment, and the scratch folder."""

    host: Host
    plan: Plan
    environment: Environment
    scratch: str


def timeout_of(context: RunContext, case: Case) -> float:
    """Return the seconds to wait for a piece of work; emulated work gets fewer."""
    emulated = replace(case, role="timed") in context.plan.emulated
    return min(EMULATED_TIMEOUT_S if emulated else WHOLE_S, case.budget.timeout_s)


def drop_quantities(reply: Done, without: Sequence[str]) -> Done:
    """Return `reply` without the quantities `without`."""
    kept = tuple(m for m in reply.outcome.measurements if m.quantity not in without)
    return Done(outcome=replace(reply.outcome, measurements=kept))


def conditions_of(case: Case) -> tuple[object, ...]:
    """Return the conditions that a cell has in common with the jobs for it."""
    return case.model, case.variant, case.device, case.batch_size


def resize_case(case: Case, input_size: tuple[int, ...]) -> Case:
    """Return `case` at (height, width) or (channels, height, width) `input_size`."""
    channels = case.input_shape[: 3 - len(input_size)]
    return replace(case, input_shape=(*channels, *input_size))
