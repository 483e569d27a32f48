"""Schedule the rounds of groups within a deadline: whose turn it is, until when, and when a group is finished."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cnnbench import stats
from cnnbench.orchestrator.events import Progress
from cnnbench.orchestrator.group import GroupRounds
from cnnbench.spec import Device

# Rounds that the line-up gets for each round of another group that costs as much. Ratios between models scatter two to
# three times as much over rounds as those between variants, and the line-up holds every model.
LINEUP_WEIGHT = 2.0

# Multiple of the budget after which the first round begins no more groups. A row is worth more than punctuality, but a
# budget is a promise: it may be exceeded by a tenth, and by the group that is being measured.
FIRST_ROUND_MOST = 1.1

# Smallest share of its budget that a resumed run gets for what it lacks; any run may exceed its budget by as much.
RESUMED_LEAST = 0.1


@dataclass(frozen=True, kw_only=True, slots=True)
class Turn:
    """The next round: of `group`, whose blocks end at `end` (monotonic); `rounds_left` are likely to follow."""

    group: GroupRounds
    end: float
    rounds_left: float


class Schedule:
    """The time of a run: `begin` and `deadline` in monotonic seconds; failures and compiling move the deadline."""

    def __init__(self, *, begin: float, total_s: float, spent_s: float = 0.0) -> None:
        """Plan `total_s` seconds from `begin` on, of which earlier parts of the run took `spent_s`."""
        self.begin = begin
        self.deadline = begin + max(total_s - spent_s, RESUMED_LEAST * total_s)
        self._latest_first = begin + FIRST_ROUND_MOST * total_s

    def progress(self, text: str) -> Progress:
        """Return `text` with the time that has passed and that is left."""
        now = time.monotonic()
        return Progress(text=text, elapsed_s=now - self.begin, remaining_s=max(0.0, self.deadline - now))

    def is_too_late(self, group: GroupRounds) -> bool:
        """Return whether the first round of `group` may not begin any more."""
        # Only the line-up keeps to the deadline itself, because no row is made from it.
        latest = self.deadline if group.is_lineup else max(self._latest_first, self.deadline)
        return time.monotonic() >= latest

    def next_turn(self, active: Sequence[GroupRounds], *, reserve_s: float = 0.0) -> Turn | None:
        """Return the next round of the `active` groups, or None if none fits; `reserve_s` are left for other work."""
        end = self.deadline - reserve_s
        left_s = end - time.monotonic()
        group = next_group([one for one in active if one.last_s <= left_s])
        if group is None:
            return None
        return Turn(group=group, end=end, rounds_left=left_s / sum(one.last_s for one in active))


def unfinished_groups(groups: Sequence[GroupRounds]) -> list[GroupRounds]:
    """Return the groups with an interval that is still too wide; all groups together show how rounds scatter."""
    priors = priors_of(groups)
    return [group for group in groups if not group.is_finished(priors[group.device])]


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
