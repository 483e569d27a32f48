"""Student's intervals: of the mean of a few centres, and of one more value."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from functools import lru_cache

from cnnbench.stats.order import Interval

# Clusters for a t-interval: two leave one degree of freedom, whose interval is 12.7 standard errors wide each side.
FEWEST_CLUSTERS = 3


@lru_cache(maxsize=4096)
def t_quantile(degrees: float, share: float = 0.975) -> float:
    """Return the quantile of Student's t at `share`."""
    from scipy.special import stdtrit  # here: a report of single launches need not wait for it

    return float(stdtrit(degrees, share))


def t_interval(centers: Sequence[float]) -> Interval:
    """Return the mean of the clusters' centres +- t(0.975, L-1) s / sqrt(L); no interval below three (Student 1908).

    Raises:
        ValueError: no centres.
    """
    count = len(centers)
    if count == 0:
        raise ValueError("The mean of no centres")
    center = statistics.fmean(centers)
    if count < FEWEST_CLUSTERS:
        return Interval(center=center)
    half = t_quantile(count - 1) * statistics.stdev(centers) / math.sqrt(count)
    return Interval(center=center, low=center - half, high=center + half)


def prediction_interval(values: Sequence[float]) -> tuple[float, float]:
    """Return the interval in which one more value lies with 95 %: mean +- t(0.975, n-1) s sqrt(1 + 1/n).

    For normally distributed values; n at least two (Hahn and Meeker, Statistical Intervals, 4.8).
    """
    count = len(values)
    half = t_quantile(count - 1) * statistics.stdev(values) * math.sqrt(1 + 1 / count)
    center = statistics.fmean(values)
    return center - half, center + half
