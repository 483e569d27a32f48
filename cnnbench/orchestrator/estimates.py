"""Estimate how long cells and plans take, and the smallest budget that is enough."""

from __future__ import annotations

import math

from cnnbench.machine import threads_of
from cnnbench.models import MODELS
from cnnbench.orchestrator.plan import Plan
from cnnbench.spec import Case, Request, UsageError
from cnnbench.variants import REFERENCE

# Expected seconds to fork, build and warm up a cell of a small model: 0.7 to 0.9 were measured on two cores.
SETUP_S = 0.9

# Expected seconds to start the control workload; measured on two cores. For the ETA only.
CONTROL_WORKLOAD_S = 0.5

# Expected seconds of a job for a cell, and the seconds that each multiply-add of a pass adds. The error takes longer
# than memory or layers, because it needs passes in fp64. On two cores VGG16 took 5 to 8 s for the error and 1.5 to 3 s
# for the others; LeNet took 0.4 and 0.1 s.
EXTRA_S = 0.3
ERROR_S_PER_MAC = 0.4e-9
MEMORY_S_PER_MAC = 0.1e-9

# Expected seconds of a cold torch.compile of a mid-sized model; measured on two cores. For the ETA only.
COMPILE_S = 35.0
COMPILE_AUTOTUNE_S = 150.0

# Expected seconds for the error or the memory of a compiled cell, and the seconds set aside for both. With warm caches
# each took 5 to 8 s on two cores.
COMPILED_EXTRA_S = 6.0
CHECK_COMPILED_S = 15.0

# Expected seconds of blocks for a cell until its interval is narrow enough. For the ETA only.
SAMPLING_S = 6.0

# Expected multiply-adds per second, to estimate a pass of a model that declares its MACs. For the ETA and `least_s`.
MACS_PER_S = 60e9

# Fewest passes of a cell, warm-up and blocks together. For the ETA only.
PASSES = 60

# Passes of a worker before its first sample.
WARM_PASSES = 4

# A training step does about three times the work of a forward pass.
TRAINING_COST = 3

# Share of a run's budget that trainings may take if an accuracy is asked for.
TRAINING_SHARE = 0.3

# Expected seconds to count one model, and to start the fork server. For the ETA only.
COMPLEXITY_S = 0.7
START_S = 5.0


def fixed_s(case: Case) -> float:
    """Return the expected seconds of a cell without its blocks."""
    return start_s(case) + (CHECK_COMPILED_S if case.variant.compile_mode and case.role == "timed" else 0.0)


def start_s(case: Case) -> float:
    """Return the expected seconds before a cell's first sample."""
    if case.role == "control_workload":
        return CONTROL_WORKLOAD_S
    compiling = {None: 0.0, "max-autotune": COMPILE_AUTOTUNE_S}.get(case.variant.compile_mode, COMPILE_S)
    return SETUP_S + compiling + WARM_PASSES * _pass_s(case)


def _pass_s(case: Case) -> float:
    work = work_of(case)
    return work / MACS_PER_S if math.isfinite(work) else 0.0


def work_of(case: Case) -> float:
    """Return the multiply-adds of one pass as the model declares them, or infinity if it declares none."""
    spec = MODELS.get(case.model)
    macs = math.inf if spec is None or spec.macs is None else spec.macs
    return macs * case.batch_size * (TRAINING_COST if case.task == "train" else 1)


def extra_s(case: Case) -> float:
    """Return the expected seconds of a job for a cell: its error, its memory, or its layers."""
    work = work_of(case)
    each_s = ERROR_S_PER_MAC if case.role == "numerics" else MEMORY_S_PER_MAC
    return EXTRA_S + (each_s * work if math.isfinite(work) else 0.0)


def sampling_s(case: Case) -> float:
    """Return the expected seconds of a cell's passes, from its declared multiply-adds if there are any."""
    if case.role == "control_workload":
        return SAMPLING_S
    return max(SAMPLING_S, PASSES * _pass_s(case))


def expected_s(plan: Plan) -> float:
    """Return the seconds that a run of `plan` is expected to take if no budget cuts it.

    Trainings add so much that they take their share of the whole, because a run gives them that share.
    """
    cells = sum(fixed_s(c) + sampling_s(c) for group in plan.groups for c in group.members)
    once = COMPLEXITY_S * len(plan.complexity) + sum(map(extra_s, (*plan.memory, *plan.numerics, *plan.layers)))
    measuring = once + START_S + cells
    return measuring / (1 - TRAINING_SHARE) if plan.accuracy else measuring


# Seconds to start the fork server and a cell, and passes of a cell, in the first round; a budget must cover them. All
# values are low, because a budget that would just be enough must not be refused.
FIRST_START_S = 3.0
FIRST_CELL_S = 0.15
FIRST_PASSES = 6


def least_s(request: Request) -> float:
    """Return the fewest seconds that the first round of `request` takes, by what its models declare."""
    total = FIRST_START_S

    # The rate was measured on two cores. A CUDA device is so much faster that its passes do not count.
    pass_s_per_mac = 0.0 if request.device != "cpu" else 1 / (MACS_PER_S * max(1.0, threads_of(request) / 2))

    for section in request.sections:
        # Compiled variants join later, and `all` depends on the machine, so neither counts here.
        plain = [v for v in section.variants if "compile" not in v and v not in (REFERENCE, "all")]
        cells = len(plain) + 3  # the reference, its A/A control, and the reference once more in the line-up
        for model in section.models:
            # A model that declares nothing counts as no work: the result must stay a lower bound.
            spec = MODELS.get(model)
            macs = 0 if spec is None or spec.macs is None else spec.macs
            for task in section.tasks:
                work = sum(section.batch_sizes) * macs * (TRAINING_COST if task == "train" else 1)
                total += cells * (FIRST_CELL_S * len(section.batch_sizes) + FIRST_PASSES * work * pass_s_per_mac)

    return total


def check_budget(request: Request) -> None:
    """Refuse a budget that is too short for the first round.

    Raises:
        UsageError: the budget is too short; the message says what is needed.
    """
    needed = least_s(request)
    if request.budget.total_s < needed:
        raise UsageError(
            f"A budget of {request.budget.total_s:g} s is too short: measuring each cell once takes about "
            f"{math.ceil(needed)} s here. Give --budget {math.ceil(needed)}s or more, or fewer models or variants."
        )
