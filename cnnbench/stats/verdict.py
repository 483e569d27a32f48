"""Verdicts: from effects and the difference that matters, with Holm's correction over all comparisons of a report."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from cnnbench.stats.clusters import t_quantile
from cnnbench.stats.paired import Effect
from cnnbench.stats.signed_rank import signed_rank_tail, walsh_averages

Verdict = Literal["FASTER", "SLOWER", "SAME", "NOT DISTINGUISHABLE"]

LEVEL = 0.05
"""Share of reports that may hold a wrong verdict: what 95 % intervals leave, over all comparisons of the report."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PValues:
    """For each claim twice the one-sided p-value: at most 0.05 exactly where the 95 % interval makes the claim."""

    faster: float
    slower: float
    same: float


def p_values(effect: Effect, delta: float) -> PValues:
    """Return the p-values of d > ln(1 + `delta`), of d < -ln(1 + `delta`), and of d between the two.

    The last is that of both one-sided tests, so the larger (Schuirmann 1987). Basis "blocks": the signed-rank test
    with W counted as the number of Walsh averages that speak against the claim. Averages on the limit itself (zeros)
    count against it and ties need no ranks, so both can only raise p. Clusters: Student's t.
    """
    limit = math.log1p(delta)
    against = _by_blocks if effect.basis == "blocks" else _by_clusters
    above, not_above = against(effect, limit)
    not_below, below = against(effect, -limit)
    return PValues(faster=above, slower=below, same=max(not_above, not_below))


def _by_blocks(effect: Effect, limit: float) -> tuple[float, float]:
    """Return the p-values of d > `limit` and of d < `limit`."""
    averages, n = walsh_averages(effect.values), len(effect.values)
    at_most, at_least = np.count_nonzero(averages <= limit), np.count_nonzero(averages >= limit)
    return min(1.0, 2 * signed_rank_tail(n, int(at_most))), min(1.0, 2 * signed_rank_tail(n, int(at_least)))


def _by_clusters(effect: Effect, limit: float) -> tuple[float, float]:
    """Return the p-values of d > `limit` and of d < `limit`."""
    from scipy.special import stdtr  # here: a report of single launches need not wait for it

    degrees = effect.clusters - 1
    assert effect.half_width is not None
    error = effect.half_width / t_quantile(degrees)
    beyond = effect.center - limit
    if error == 0:
        return (0.0 if beyond > 0 else 1.0), (0.0 if beyond < 0 else 1.0)
    return min(1.0, 2 * float(stdtr(degrees, -beyond / error))), min(1.0, 2 * float(stdtr(degrees, beyond / error)))


def holm(ps: Sequence[float]) -> tuple[float, ...]:
    """Return the p-values adjusted for their number, in the same order.

    The i-th smallest of m becomes max over j <= i of (m - j + 1) p(j), at most 1: whatever the dependence, claims with
    an adjusted p <= 0.05 are all right with at least 95 % (Holm 1979).
    """
    adjusted = [0.0] * len(ps)
    largest = 0.0
    for done, at in enumerate(sorted(range(len(ps)), key=lambda i: ps[i])):
        largest = max(largest, min(1.0, (len(ps) - done) * ps[at]))
        adjusted[at] = largest
    return tuple(adjusted)


def verdicts(
    effects: Sequence[Effect | None], deltas: Sequence[float], same: Sequence[float] | None = None
) -> tuple[Verdict, ...]:
    """Return the verdict of each comparison, given the relative difference `deltas` that matters in it.

    FASTER or SLOWER: the 95 % interval lies wholly beyond +-ln(1 + delta); SAME: wholly inside +-ln(1 + `same`), which
    is delta unless given; and the p-value of that survives Holm's correction over all comparisons that have an
    interval. All else is NOT DISTINGUISHABLE.
    """
    candidates = [
        _candidate(effect, delta, inside) for effect, delta, inside in zip(effects, deltas, same or deltas, strict=True)
    ]
    family = [at for at, effect in enumerate(effects) if effect is not None and effect.low is not None]
    found: list[Verdict] = ["NOT DISTINGUISHABLE"] * len(candidates)
    for at, p in zip(family, holm([candidates[at][1] for at in family]), strict=True):
        if p <= LEVEL:
            found[at] = candidates[at][0]
    return tuple(found)


def _candidate(effect: Effect | None, delta: float, same: float) -> tuple[Verdict, float]:
    """Return what the interval says by itself, and the p-value of that; of nothing, 1."""
    if effect is None or effect.low is None or effect.high is None:
        return "NOT DISTINGUISHABLE", 1.0
    limit, inside = math.log1p(delta), math.log1p(same)
    if effect.low > limit:
        return "FASTER", p_values(effect, delta).faster
    if effect.high < -limit:
        return "SLOWER", p_values(effect, delta).slower
    if -inside < effect.low and effect.high < inside:
        return "SAME", p_values(effect, same).same
    return "NOT DISTINGUISHABLE", 1.0
