"""The difference of two cells, from the differences of their blocks: correlation guard, clusters, interval."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from cnnbench.stats.clusters import FEWEST_CLUSTERS, random_effects, t_interval
from cnnbench.stats.order import FEWEST_FOR_INTERVAL, Interval
from cnnbench.stats.signed_rank import hodges_lehmann

MOST_CORRELATED = 1.645
"""Standard errors of lag-1 correlation up to which blocks count as independent: exceeded by chance in one series of
twenty (one-sided). The usual 2 / sqrt(n) without correcting r for its bias finds half as many series of 12 that are
correlated, and by chance one in two hundred (simulated)."""

DOUBTFUL = 1.0
"""Standard errors from which a correlation is doubted: too few blocks to stop at, not enough to merge. Our choice: one
series of six by chance."""

Basis = Literal["blocks", "sets", "launches"]
"""What an interval rests on: blocks within one set of workers or two, or the centres of three or more clusters."""

DETECTABLE = 1.43
"""Smallest effect that is told from none four times in five, in half-widths: (1.960 + 0.842) / 1.960, the normal
quantiles of a 95 % interval and of a power of 80 %."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Merged:
    """Values in time order after neighbours were merged: `merged` blocks each (1: none were)."""

    values: tuple[float, ...]
    merged: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Effect:
    """The difference of two cells, d = ln(base time / variant time); above 0 the variant is faster.

    `low` and `high` are None where there is too little. `values` are what the interval rests on: the d's of the blocks,
    `merged` of them averaged into each, or the centres of the `clusters` (1 for basis "blocks"). `blocks` counts all.
    """

    center: float
    low: float | None
    high: float | None
    basis: Basis
    clusters: int
    blocks: int
    merged: int
    values: tuple[float, ...]

    @property
    def ratio(self) -> Interval:
        """Base time over variant time, with its interval."""
        return Interval(
            center=math.exp(self.center),
            low=None if self.low is None else math.exp(self.low),
            high=None if self.high is None else math.exp(self.high),
        )

    @property
    def half_width(self) -> float | None:
        """Half the width of the interval of d: nearly the relative half-width of the ratio."""
        return None if self.low is None or self.high is None else (self.high - self.low) / 2

    @property
    def doubtful(self) -> bool:
        """Whether the blocks may be correlated, though not so clearly that they are merged; more of them will tell."""
        return self.basis == "blocks" and _correlation(np.asarray(self.values, dtype=np.float64)) > DOUBTFUL

    @property
    def smallest_detectable(self) -> float | None:
        """The smallest relative difference that a run of this precision tells from none four times in five."""
        return None if self.half_width is None else math.expm1(DETECTABLE * self.half_width)


def lag1(values: Sequence[float]) -> float:
    """Return the correlation of each value with the next, 0 where all are alike.

    r = sum (x(t) - m)(x(t+1) - m) / sum (x(t) - m)^2 (Box, Jenkins, Reinsel and Ljung, Time Series Analysis, 2.1).
    """
    return _lag1(np.asarray(values, dtype=np.float64))


def _lag1(x: npt.NDArray[np.float64]) -> float:
    if x.size == 0:
        return 0.0
    from_first = x - x[0]  # so that the mean of equal values is exact, and they differ from it by nothing
    from_mean = from_first - from_first.mean()
    spread = float(from_mean @ from_mean)
    return float(from_mean[:-1] @ from_mean[1:]) / spread if spread > 0 else 0.0


def _correlation(x: npt.NDArray[np.float64]) -> float:
    """Return the lag-1 correlation in its standard errors, 1 / sqrt(n) (Bartlett 1946), without its bias.

    From few values r comes out too small by (1 + 4 r) / n (Kendall 1954, Marriott and Pope 1954).
    """
    r, n = _lag1(x), x.size
    return (r + (1 + 4 * r) / n) * math.sqrt(n) if n else 0.0


def merge_correlated(values: Sequence[float]) -> Merged:
    """Merge neighbours by their mean, 2, 4, 8 ... at a time, until their correlation is at most `MOST_CORRELATED`.

    Batch means of a correlated series are nearly independent once batches outlast the correlation (Law, Simulation
    Modeling and Analysis, 9.5.3). No value is dropped: where the number does not divide, the first batches hold one or
    more extra.
    """
    all_values = np.asarray(values, dtype=np.float64)
    left, merged = all_values, 1
    while left.size >= FEWEST_FOR_INTERVAL and _correlation(left) > MOST_CORRELATED:
        merged *= 2
        left = np.array([batch.mean() for batch in np.array_split(all_values, max(1, all_values.size // merged))])
    return Merged(values=tuple(left.tolist()), merged=merged)


def compare_paired(launches: Sequence[Sequence[Sequence[float]]]) -> Effect | None:
    """Return the effect from the d's of each set of workers of each launch, in time order; None where there are none.

    d = ln(base time / variant time) of one block. What is fixed when processes start (memory placement, the choice of
    an algorithm) is alike in all blocks of a set, so blocks of one set cannot tell it from a difference: three or more
    launches are compared by their Hodges-Lehmann centres with a t-interval, else three or more sets by theirs, each
    weighed by how well its blocks tell it, and only else the blocks themselves, merged where correlated, with the
    signed-rank interval.
    """
    by_launch = [[d for worker_set in launch for d in worker_set] for launch in launches]
    by_set = [worker_set for launch in launches for worker_set in launch]
    pooled = [d for launch in by_launch for d in launch]
    if not pooled:
        return None
    clustered: tuple[tuple[Basis, Sequence[Sequence[float]]], ...] = (("launches", by_launch), ("sets", by_set))
    for basis, clusters in clustered:
        filled = [cluster for cluster in clusters if len(cluster)]
        if len(filled) >= FEWEST_CLUSTERS:
            return _between(basis, filled)
    kept = merge_correlated(pooled)
    found = hodges_lehmann(kept.values)
    return Effect(
        center=found.center,
        low=found.low,
        high=found.high,
        basis="blocks",
        clusters=1,
        blocks=len(pooled),
        merged=kept.merged,
        values=kept.values,
    )


def _between(basis: Basis, clusters: Sequence[Sequence[float]]) -> Effect:
    centers = tuple(hodges_lehmann(cluster).center for cluster in clusters)
    variances = _variances(clusters) if basis == "sets" else None
    found = t_interval(centers) if variances is None else random_effects(centers, variances)
    return Effect(
        center=found.center,
        low=found.low,
        high=found.high,
        basis=basis,
        clusters=len(clusters),
        blocks=sum(len(cluster) for cluster in clusters),
        merged=1,
        values=centers,
    )


def _variances(sets: Sequence[Sequence[float]]) -> list[float] | None:
    """Return the variance of each set's centre as its blocks tell it, s^2 / n; None where blocks do not vary.

    That is the mean's: the Hodges-Lehmann estimate's is at most 1.05 times that for normal noise, and smaller for noise
    with heavier tails. No set counts as varying less than the median set: by chance a few blocks may vary far too
    little, and a set that happened to be quiet must not speak for those that were not. What is left is that sets that
    were disturbed count less.
    """
    varied = [float(np.var(blocks, ddof=1)) if len(blocks) > 1 else 0.0 for blocks in sets]
    usual = statistics.median(varied)
    return [max(v, usual) / len(blocks) for v, blocks in zip(varied, sets, strict=True)] if usual > 0 else None


def break_even(compile_s: float, saved_s: Interval) -> Interval:
    """Return after how many calls a compilation has paid for itself: N* = compile_s / saved_s, `inf` for never.

    `saved_s` is the time that a call saves, in seconds: eager minus compiled. `low` follows from the largest saving,
    `high` from the smallest; each is None where the saving's own bound is.
    """

    def calls(saving_s: float) -> float:
        return compile_s / saving_s if saving_s > 0 else math.inf

    return Interval(
        center=calls(saved_s.center),
        low=None if saved_s.high is None else calls(saved_s.high),
        high=None if saved_s.low is None else calls(saved_s.low),
    )
