"""Compute Student's intervals: of the mean of a few centres, and of one more value."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from functools import lru_cache

from cnnbench.stats.order_statistics import Interval

# Fewest clusters for a t-interval: two leave one degree of freedom, with an interval of 12.7 standard errors each side.
FEWEST_CLUSTERS = 3


@lru_cache(maxsize=4096)
def t_quantile(degrees: float, share: float = 0.975) -> float:
    """Return the quantile of Student's t with `degrees` degrees of freedom at `share`."""
    from scipy.special import stdtrit  # a report on fewer rounds need not load scipy

    return float(stdtrit(degrees, share))


def t_interval(centers: Sequence[float]) -> Interval:
    """Return the mean of the centres of L clusters, with its 95 % interval (Student 1908).

    The interval is the mean +- t(0.975, L-1) s / sqrt(L). There is none below three clusters.

    Raises:
        ValueError: there are no centres.
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

    The values must be normally distributed, and at least two (Hahn and Meeker, Statistical Intervals, 4.8).
    """
    count = len(values)
    half = t_quantile(count - 1) * statistics.stdev(values) * math.sqrt(1 + 1 / count)
    center = statistics.fmean(values)
    return center - half, center + half
