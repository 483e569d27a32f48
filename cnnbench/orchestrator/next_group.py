"""Choose the group that is measured next, and the precision at which a group is finished."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from cnnbench import stats
from cnnbench.orchestrator.group import GroupRounds
from cnnbench.spec import Device

# Rounds that the line-up gets for each round of another group that costs as much. Ratios between models scatter two to
# three times as much over rounds as those between variants, and the line-up holds every model.
LINEUP_WEIGHT = 2.0


def target_of(device: Device) -> float:
    """Return the relative half-width of intervals at which a group on `device` leaves the rounds."""
    return stats.WIDTH_CUDA if device == "cuda" else stats.WIDTH_CPU


def next_group(groups: Sequence[GroupRounds]) -> GroupRounds | None:
    """Return the group whose turn it is, or None if there is none.

    First each group gets the rounds that an interval needs. Further rounds go by the inverse square root of a round's
    cost, which makes the sum of all groups' variances smallest for the time (Neyman 1934, optimum allocation).
    """

    def turn(group: GroupRounds) -> tuple[bool, float]:
        weight = LINEUP_WEIGHT if group.is_lineup else 1.0
        return group.fewest_rounds >= stats.FEWEST_ROUNDS, group.rounds * math.sqrt(group.last_s) / weight

    return min(groups, key=turn, default=None)


def priors_of(groups: Sequence[GroupRounds]) -> Mapping[Device, stats.Prior]:
    """Return, by device, how much rounds scatter in all comparisons of a run together.

    Line-ups are left out, because ratios between models scatter more over rounds than those between variants.
    """
    own = [group for group in groups if not group.is_lineup]
    known = stats.priors_by_kind((group.device, variance) for group in own for variance in group.variances())
    return {group.device: known.get(group.device, stats.NO_PRIOR) for group in groups}
