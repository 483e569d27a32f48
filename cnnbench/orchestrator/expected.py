"""How long things may take: the expected seconds of cells, groups and plans, and a group's share of what is left."""

from __future__ import annotations

import math
from collections.abc import Sequence

from cnnbench.models import MODELS
from cnnbench.orchestrator.planning import Group, Plan
from cnnbench.spec import Case

SETUP_S = 0.9
"""Expected seconds to fork, build and warm up a cell of a small network: 0.7 to 0.9 were seen on two cores."""

CANARY_S = 0.5
"""Expected seconds to start the canary; seen on two cores. For the ETA only."""

EXTRA_S = 1.0
"""Expected seconds for the peak memory or the numerical error of a cell, two side by side. For the ETA only."""

LAYERS_S = 1.5
"""Expected seconds to time the layers of a network. For the ETA only."""

COMPILE_S = 35.0
COMPILE_AUTOTUNE_S = 150.0
"""Expected seconds of a cold torch.compile of a mid-sized network; seen on two cores. For the ETA only."""

CHECK_COMPILED_S = 15.0
"""Seconds set aside for the numerical error and the memory of a compiled cell, which come after its group; with warm
caches each took 5 to 8 s on two cores."""

SAMPLING_S = 6.0
"""Expected seconds of blocks for a cell until the width of its interval stops it. For the ETA only."""

MACS_PER_S = 60e9
"""Expected multiply-adds a second, to guess the time of a pass where a network declares its MACs. For the ETA only."""

PASSES = 60
"""Passes that a cell makes at least, warm-up and blocks together. For the ETA only."""

WARM_PASSES = 17
"""Passes before the first sample: two single ones and three windows of five."""

TRAINING_COST = 3
"""A training step does about three times the work of a forward pass."""

ACCURACY_SHARE = 0.3
"""Share of a run's budget that trainings may take where accuracy is asked for. Our choice."""

COMPLEXITY_S = 0.7
START_S = 5.0
"""Expected seconds to count one network, and to start the fork server. For the ETA only."""


def fixed_s(case: Case) -> float:
    """Return the expected seconds of a cell beside its blocks."""
    return start_s(case) + (CHECK_COMPILED_S if case.variant.compile_mode and case.role == "timed" else 0.0)


def start_s(case: Case) -> float:
    """Return the expected seconds before a cell's first sample."""
    if case.role == "canary":
        return CANARY_S
    compiling = {None: 0.0, "max-autotune": COMPILE_AUTOTUNE_S}.get(case.variant.compile_mode, COMPILE_S)
    return SETUP_S + compiling + WARM_PASSES * _pass_s(case)


def _pass_s(case: Case) -> float:
    work = work_of(case)
    return work / MACS_PER_S if math.isfinite(work) else 0.0


def work_of(case: Case) -> float:
    """Return the multiply-adds of one pass, by what the model declares; infinite where it declares nothing."""
    spec = MODELS.get(case.model)
    macs = math.inf if spec is None or spec.macs is None else spec.macs
    return macs * case.batch_size * (TRAINING_COST if case.task == "train" else 1)


def sampling_s(case: Case) -> float:
    """Return the expected seconds of a cell's passes, from its declared multiply-adds where there are any."""
    if case.role == "canary":
        return SAMPLING_S
    return max(SAMPLING_S, PASSES * _pass_s(case))


def expected_s(plan: Plan) -> float:
    """Return the seconds that a run of `plan` is expected to take if no budget cuts it.

    Trainings add what makes their share of the whole, because that is what they are given.
    """
    launches = plan.request.budget.launches
    cells = sum(fixed_s(c) + sampling_s(c) for group in plan.groups for c in group.members)
    once = COMPLEXITY_S * len(plan.complexity) + EXTRA_S * (len(plan.memory) + len(plan.numerics))
    once += LAYERS_S * len(plan.layers)
    measuring = once + (START_S + cells) * launches
    return measuring / (1 - ACCURACY_SHARE) if plan.accuracy else measuring


def share_s(group: Group, ahead: Sequence[Group], left_s: float) -> float:
    """Return the seconds of `left_s` that the blocks of `group` get when the groups `ahead`, itself first, follow.

    What comes before the first sample is set aside for all of them; the rest goes by the cost of their passes.
    """
    fixed = sum(fixed_s(case) for g in ahead for case in g.members)
    weight = sum(sampling_s(case) for case in group.members) / sum(sampling_s(c) for g in ahead for c in g.members)
    return weight * max(0.0, left_s - fixed)


def group_s(group: Group) -> float:
    """Return the expected seconds of a group in one launch."""
    return sum(fixed_s(case) + sampling_s(case) for case in group.members)
