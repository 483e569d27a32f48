"""Compute the intervals of a run as its report does: all comparisons together say how rounds scatter."""

from __future__ import annotations

from collections.abc import Sequence

from cnnbench.stats import Effect, Prior, compare_rounds, prior_of, variance_between_rounds

# A comparison: d = ln(base time / variant time) of each block, by round.
Rounds = Sequence[Sequence[float]]


def prior_of_run(comparisons: Sequence[Rounds]) -> Prior:
    """Return what the comparisons of a run say together about how rounds scatter."""
    found = (variance_between_rounds(rounds) for rounds in comparisons)
    return prior_of(variance for variance in found if variance is not None)


def effects_of_run(comparisons: Sequence[Rounds], *, together: int = 1) -> list[Effect | None]:
    """Return the effect of each comparison of a run, None if it has no block; a group has `together` comparisons."""
    prior = prior_of_run(comparisons)
    return [compare_rounds(rounds, prior, comparisons=together) for rounds in comparisons]


def covers(effect: Effect | None, truth: float) -> bool:
    """Return whether `effect` has an interval and it contains `truth`, in ln."""
    return (
        effect is not None and effect.low is not None and effect.high is not None and effect.low <= truth <= effect.high
    )
