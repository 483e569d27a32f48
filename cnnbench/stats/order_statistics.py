"""Compute medians and percentiles with exact bounds from ordered samples, outliers, and Wilson's interval."""

from __future__ import annotations

import math
import statistics
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeVar

import numpy as np

K = TypeVar("K", bound=Hashable)

# Coverage of every interval in a report, which is the usual convention that readers expect.
CONFIDENCE = 0.95

# Fewest samples whose whole range covers the median with 95 %: 1 - 2/2**5 = 0.9375, 1 - 2/2**6 = 0.96875.
FEWEST_FOR_INTERVAL = 6

# Confidence of LoadGen's early stopping, by which MLPerf Inference decides when a percentile may be reported.
PERCENTILE_CONFIDENCE = 0.99

# Smallest n with P(Binomial(n, 0.05) <= 1) <= 1 %: LoadGen's rule at 99 % confidence with one sample to spare.
FEWEST_FOR_P95 = 130

# Smallest n with P(Binomial(n, 0.01) <= 1) <= 1 %: LoadGen's rule at 99 % confidence with one sample to spare.
FEWEST_FOR_P99 = 662

# Distance of Tukey's fences from the quartiles, in quartile ranges (Exploratory Data Analysis, 1977, 2D).
TUKEY_FENCE = 1.5

# The 0.975 quantile of the standard normal distribution.
Z_95 = 1.959963984540054


# Quartile distance over median of the times of the control workload, below which a machine counts as quiet. A
# processor left to itself stays well below it; a shared one is always above.
QUIET_SPREAD = 0.01

# Relative half-width of the intervals of a group at which the group gets no more rounds. A run may stop because of
# width, but never because of significance.
WIDTH_CPU = 0.01
WIDTH_CUDA = 0.005


@dataclass(frozen=True, kw_only=True, slots=True)
class Interval:
    """An estimate and its interval, in the unit of the samples; `low` and `high` are None if samples are too few."""

    center: float
    low: float | None = None
    high: float | None = None


@lru_cache(maxsize=4096)
def median_rank(n: int) -> int | None:
    """Return the largest rank k for which (x(k), x(n+1-k)) covers the median of `n` samples with at least 95 %.

    The coverage is 1 - 2 P(Binomial(n, 1/2) <= k-1) for every distribution (David and Nagaraja, Order Statistics,
    3rd edition, 7.1). It is computed in whole numbers, so without rounding. Return None below six samples.
    """
    if n < FEWEST_FOR_INTERVAL:
        return None
    # `tail` is P(X < rank) and `term` is P(X = rank), both times 2**n.
    tail, term, rank = 0, 1, 0
    while 40 * (tail + term) <= 2**n:  # P(X <= rank) <= 1/40 = 2.5 %
        tail += term
        rank += 1
        term = term * (n - rank + 1) // rank
    return rank


def median(samples: Sequence[float]) -> Interval:
    """Return the median with its exact 95 % order-statistic interval; there is no interval below six samples.

    Raises:
        ValueError: there are no samples.
    """
    ordered = sorted(samples)
    if not ordered:
        raise ValueError("The median of no samples")
    center = statistics.median(ordered)
    rank = median_rank(len(ordered))
    if rank is None:
        return Interval(center=center)
    return Interval(center=center, low=ordered[rank - 1], high=ordered[-rank])


def p95(samples: Sequence[float]) -> Interval | None:
    """Return the 95th percentile with its upper bound; None below `FEWEST_FOR_P95` samples."""
    return _percentile(samples, 95) if len(samples) >= FEWEST_FOR_P95 else None


def p99(samples: Sequence[float]) -> Interval | None:
    """Return the 99th percentile with its upper bound; None below `FEWEST_FOR_P99` samples."""
    return _percentile(samples, 99) if len(samples) >= FEWEST_FOR_P99 else None


def _percentile(samples: Sequence[float], percent: int) -> Interval:
    """Return the nearest-rank percentile; `high` is the sample that lies above the true one with 99 % confidence."""
    ordered = sorted(samples)
    rank = -(-len(ordered) * percent // 100)  # the smallest rank with at least `percent` % at or below it
    spare = _spare_count(len(ordered), 1 - percent / 100)
    return Interval(center=ordered[rank - 1], high=ordered[-1 - spare])


@lru_cache(maxsize=4096)
def _spare_count(n: int, share: float) -> int:
    """Return how many samples may lie above the bound: the largest t with P(Binomial(n, share) <= t) <= 1 %.

    The bound x(n-t) is below the percentile only if at most t of n samples are above the percentile. LoadGen's early
    stopping discards the same number of queries (MLPerf Inference rules, early stopping).
    """
    tail, t = 0.0, -1
    while True:
        # The probability of t + 1, by logarithms: binomial coefficients of many samples overflow.
        log_term = math.lgamma(n + 1) - math.lgamma(t + 2) - math.lgamma(n - t)
        tail += math.exp(log_term + (t + 1) * math.log(share) + (n - t - 1) * math.log1p(-share))
        if tail > 1 - PERCENTILE_CONFIDENCE:
            return max(t, 0)
        t += 1


def tukey_outliers(samples: Sequence[float]) -> int:
    """Return how many samples lie beyond Tukey's fences, 1.5 quartile ranges outside the quartiles.

    No sample is removed. Quartiles are interpolated between neighbours (definition 7 of Hyndman and Fan 1996, the
    default of numpy and R).
    """
    if len(samples) == 0:
        return 0
    values = np.asarray(samples, dtype=np.float64)
    lower, upper = np.quantile(values, (0.25, 0.75))
    reach = TUKEY_FENCE * (upper - lower)
    return int(np.count_nonzero((values < lower - reach) | (values > upper + reach)))


def wilson_interval(correct: int, tested: int) -> Interval:
    """Return the share `correct / tested` with the 95 % Wilson score interval.

    With p = correct/n and z = 1.96 it is (p + z^2/2n +- z sqrt(p (1-p)/n + z^2/4n^2)) / (1 + z^2/n) (Wilson 1927).
    Unlike the textbook interval, it stays inside [0, 1] and keeps its coverage near 0 and 1.

    Raises:
        ValueError: nothing was tested, or more images are correct than were tested, or fewer than 0.
    """
    if tested <= 0 or not 0 <= correct <= tested:
        raise ValueError(f"{correct} correct of {tested} tested")
    share, z2 = correct / tested, Z_95**2
    middle = (share + z2 / (2 * tested)) / (1 + z2 / tested)
    half = Z_95 * math.sqrt(share * (1 - share) / tested + z2 / (4 * tested**2)) / (1 + z2 / tested)
    # At the ends the bounds are exactly 0 and 1, which rounding could miss.
    low = 0.0 if correct == 0 else middle - half
    high = 1.0 if correct == tested else middle + half
    return Interval(center=share, low=low, high=high)


def quantiles(samples: Sequence[float], shares: Sequence[float]) -> tuple[float, ...]:
    """Return the quantiles of `samples` at `shares`, interpolated between neighbours (Hyndman and Fan 1996, type 7)."""
    return tuple(float(value) for value in np.quantile(samples, shares))


def spread_of(samples: Sequence[float]) -> float | None:
    """Return the distance of the quartiles over the median; None below `FEWEST_FOR_INTERVAL` samples."""
    if len(samples) < FEWEST_FOR_INTERVAL:
        return None
    low, middle, high = np.quantile(samples, (0.25, 0.5, 0.75)).tolist()
    return float((high - low) / middle)


def is_quiet(spread: float | None) -> bool:
    """Return whether the `spread` of a control workload is that of a quiet machine; False if there is no spread."""
    return spread is not None and spread < QUIET_SPREAD
