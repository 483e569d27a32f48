"""Estimate the difference of two cells from rounds: each round gives a centre, and the centres give an interval."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from cnnbench.stats.order_statistics import Interval
from cnnbench.stats.student_t import t_quantile
from cnnbench.stats.variance_prior import NO_PRIOR, Prior, Variance, moderated_variance

# Risk that any interval of a group misses the truth, which is what 95 % intervals leave.
LEVEL = 0.05

# Fewest rounds for an interval. With two and a prior, a group that scatters six times as far as the others of its run
# was covered in 88 % of the cases, with three in 91 %; and intervals over two were half as wide again (simulated).
FEWEST_ROUNDS = 3

# From four rounds on, the mean leaves out centres further than 3.5 robust standard deviations from their median. In the
# variance they count as if they were at that distance. If one round of ten is off by 5 to 60 %, intervals over 12
# rounds are less than half as wide as those of the plain mean (2.3 instead of 5.2 %) and cover 98 %. They also do so if
# all bad rounds are off to one side. Mean and winsorised mean fail there: over 40 rounds they cover 62 and 80 %.
# Without bad rounds, the intervals are as wide as those of the mean and cover 95 %. If REACH rises from 3 to 4,
# coverage rises by 0.8 %, and the width with bad rounds by a sixth.
KEPT_FROM = 4
REACH = 3.5

# Standard deviation of a normal distribution over its median distance from the median.
MAD_TO_DEVIATION = 1.4826

# Smallest effect that is detected four times in five, in half-widths: (1.960 + 0.842) / 1.960, from the normal
# quantiles of a 95 % interval and of a power of 80 %.
DETECTABLE = 1.43


@dataclass(frozen=True, kw_only=True, slots=True)
class Effect:
    """The difference of two cells, d = ln(base time / variant time); above 0 the variant is faster.

    `low` and `high` are None if there are too few rounds. `values` are the centres of the rounds in time order. `error`
    is the standard error of `center`, with its `degrees` of freedom.
    """

    center: float
    low: float | None
    high: float | None
    rounds: int
    blocks: int
    values: tuple[float, ...]
    error: float | None
    degrees: float

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
        """Half the width of the interval of d, which is nearly the relative half-width of the ratio."""
        return None if self.low is None or self.high is None else (self.high - self.low) / 2

    @property
    def minimum_detectable(self) -> float | None:
        """Return the smallest relative difference that a run of this precision detects four times in five."""
        return None if self.half_width is None else math.expm1(DETECTABLE * self.half_width)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Summary:
    """The mean of the centres that are not far off, and the variance of one round that belongs to this mean."""

    center: float
    variance: Variance


def variance_between_rounds(rounds: Sequence[Sequence[float]]) -> Variance | None:
    """Return how the centres of `rounds` scatter; None if fewer than two rounds have blocks."""
    centers = _centers(rounds)
    return _summary(centers).variance if len(centers) > 1 else None


def compare_rounds(
    rounds: Sequence[Sequence[float]], prior: Prior = NO_PRIOR, *, comparisons: int = 1, apart: float = 0.0
) -> Effect | None:
    """Return the effect from the d of each block, given by round in time order; None if there are no blocks.

    What is fixed when processes start shifts a whole round, and drift over minutes is between rounds. So the interval
    rests on the medians of rounds: the mean of those that are not far off +- t s / sqrt(n). The `prior` of the whole
    run moderates s^2. With m `comparisons` in a group, the level is 1 - 0.05 / m, so that all intervals of the group
    hold at once with 95 % (Bonferroni). `apart` is added to both sides.
    """
    centers = _centers(rounds)
    if not centers:
        return None

    # Below three rounds there is a centre, but no interval.
    summary = _summary(centers)
    low = high = error = None
    degrees = 0.0

    if len(centers) >= FEWEST_ROUNDS:
        variance = moderated_variance(summary.variance, prior)
        degrees, error = variance.degrees, math.sqrt(variance.value / len(centers))
        # Two-sided, so half of the group's risk is on each side.
        reach = t_quantile(degrees, 1 - LEVEL / (2 * comparisons)) * error + apart
        low, high = summary.center - reach, summary.center + reach

    return Effect(
        center=summary.center,
        low=low,
        high=high,
        rounds=len(centers),
        blocks=sum(len(blocks) for blocks in rounds),
        values=centers,
        error=error,
        degrees=degrees,
    )


def _centers(rounds: Sequence[Sequence[float]]) -> tuple[float, ...]:
    """Return the median of each round that has blocks, since only the median withstands one spike among three blocks.

    If one block of twelve has a spike, medians are nearer the truth than Hodges-Lehmann estimates, at any number of
    blocks from 3 to 12. The root of the mean square error is 6.5 instead of 10.3 % with 3 blocks, 2.6 instead of 5.4 %
    with 5, and 1.1 instead of 1.5 % with 12.
    """
    return tuple(statistics.median(blocks) for blocks in rounds if len(blocks))


def _summary(centers: Sequence[float]) -> _Summary:
    """Return the mean of the centres that lie within `REACH`, and the variance of one round.

    With h of n centres within, the variance is s_w^2 (n - 1) n / (h (h - 1)) with h - 1 degrees of freedom. Here s_w^2
    is the variance of all centres, after those beyond are moved to where `REACH` ends (Tukey and McLaughlin 1963, for
    trimmed means).
    """
    count = len(centers)
    # A single centre tells nothing about scatter, so its variance has no degrees of freedom.
    if count == 1:
        return _Summary(center=centers[0], variance=Variance(value=0.0, degrees=0.0))

    # The mean uses the near centres alone; the variance counts the others at the bounds.
    low, high = _near_bounds(centers)
    near = [center for center in centers if low <= center <= high]
    moved = [min(max(center, low), high) for center in centers]
    kept = len(near)
    value = statistics.variance(moved) * (count - 1) * count / (kept * (kept - 1))
    return _Summary(center=statistics.fmean(near), variance=Variance(value=value, degrees=kept - 1.0))


def _near_bounds(centers: Sequence[float]) -> tuple[float, float]:
    """Return the bounds between which centres are not far off; infinite if there are too few to tell."""
    if len(centers) < KEPT_FROM:
        return -math.inf, math.inf
    middle = statistics.median(centers)
    distance = statistics.median(abs(center - middle) for center in centers)
    if distance == 0:  # more than half of them are equal, which says nothing about the rest
        return -math.inf, math.inf
    reach = REACH * MAD_TO_DEVIATION * _small_sample_factor(len(centers)) * distance
    return middle - reach, middle + reach


def _small_sample_factor(count: int) -> float:
    """Return the factor by which the median distance of few values is too small (roughly Croux and Rousseeuw 1992)."""
    return 1 + (1.2 if count < 10 else 0.8) / count  # noqa: PLR2004


def excludes_zero(effect: Effect) -> bool:
    """Return whether the interval of `effect` lies wholly above 0 or wholly below it."""
    return effect.low is not None and effect.high is not None and (effect.low > 0 or effect.high < 0)


def aa_difference_of(aa_control: Effect | None) -> float:
    """Return by how much two equal cells surely differ, in ln: the distance of their interval from 0.

    Return 0 if the interval contains 0, or if there is none.
    """
    if aa_control is None or aa_control.low is None or aa_control.high is None or not excludes_zero(aa_control):
        return 0.0
    return min(abs(aa_control.low), abs(aa_control.high))


def calls_to_break_even(compile_s: float, saved_s: Interval) -> Interval:
    """Return after how many calls a compilation has paid for itself: N* = compile_s / saved_s, `inf` for never.

    `saved_s` is the time that a call saves, in seconds: eager minus compiled. `low` follows from the largest saving and
    `high` from the smallest. Each is None if the bound of the saving is None.
    """

    def calls(saving_s: float) -> float:
        return compile_s / saving_s if saving_s > 0 else math.inf

    return Interval(
        center=calls(saved_s.center),
        low=None if saved_s.high is None else calls(saved_s.high),
        high=None if saved_s.low is None else calls(saved_s.low),
    )
