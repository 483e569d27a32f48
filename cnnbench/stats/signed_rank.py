"""The centre of paired differences: the Hodges-Lehmann estimate, its signed-rank interval and that test's tail."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from cnnbench.stats.order import FEWEST_FOR_INTERVAL, Z_95, Interval

LARGEST_EXACT = 60
"""Values up to which the signed-rank distribution is counted out: its 2**60 cases still fit a 64-bit whole number, and
from 40 on the normal approximation gives the same rank or the next wider one."""


def walsh_averages(values: Sequence[float]) -> npt.NDArray[np.float64]:
    """Return the n(n+1)/2 averages (x_i + x_j) / 2 with i <= j, unsorted; for n = 3000 they take 36 MB."""
    x = np.asarray(values, dtype=np.float64)
    upper = ~np.tri(x.size, k=-1, dtype=bool)
    averages: npt.NDArray[np.float64] = np.add.outer(x, x)[upper] / 2
    return averages


@lru_cache(maxsize=4096)
def walsh_rank(n: int) -> int | None:
    """Return the k for which (w(k+1), w(M-k)) covers the centre of `n` values with at least 95 %, None below six.

    w are the M = n(n+1)/2 sorted Walsh averages. Coverage is 1 - 2 P(W <= k), W being the signed-rank statistic, for
    any symmetric distribution (Hollander, Wolfe and Chicken, Nonparametric Statistical Methods, 3rd edition, 3.3); k is
    the largest rank that reaches it, in whole numbers up to `LARGEST_EXACT`, above that by the normal approximation.
    """
    if n < FEWEST_FOR_INTERVAL:
        return None
    if n <= LARGEST_EXACT:
        return int(np.searchsorted(_cumulative(n), 2**n // 40, side="right")) - 1  # P(W <= k) <= 1/40 = 2.5 %
    mean, deviation = _moments(n)
    return math.floor(mean - Z_95 * deviation - 0.5)


def signed_rank_tail(n: int, w: int) -> float:
    """Return P(W <= `w`) for the signed-rank statistic W of `n` values: exact up to `LARGEST_EXACT`, then normal.

    The normal approximation has mean n(n+1)/4, variance n(n+1)(2n+1)/24 and a continuity correction of 1/2.
    """
    if w < 0:
        return 0.0
    if n <= LARGEST_EXACT:
        counts = _cumulative(n)
        return math.ldexp(int(counts[min(w, counts.size - 1)]), -n)
    mean, deviation = _moments(n)
    return NormalDist().cdf((w + 0.5 - mean) / deviation)


def hodges_lehmann(values: Sequence[float]) -> Interval:
    """Return the median of the Walsh averages with its 95 % signed-rank interval (no interval below six values).

    Hodges and Lehmann 1963; almost as narrow as a t-interval where values are normal, and held by single spikes as
    little as a median. Swapping the sign of all values swaps that of the result.

    Raises:
        ValueError: no values.
    """
    if len(values) == 0:
        raise ValueError("The Hodges-Lehmann estimate of no values")
    averages = walsh_averages(values)
    total, k = averages.size, walsh_rank(len(values))
    middle = ((total - 1) // 2, total // 2)
    averages.partition(middle if k is None else (k, *middle, total - 1 - k))
    center = (float(averages[middle[0]]) + float(averages[middle[1]])) / 2
    if k is None:
        return Interval(center=center)
    return Interval(center=center, low=float(averages[k]), high=float(averages[total - 1 - k]))


@lru_cache(maxsize=LARGEST_EXACT + 1)
def _cumulative(n: int) -> npt.NDArray[np.int64]:
    """Return in how many of the 2**n sign patterns the sum of the positive ranks is at most 0, 1, 2 ... n(n+1)/2."""
    counts = np.zeros(n * (n + 1) // 2 + 1, dtype=np.int64)
    counts[0] = 1
    for rank in range(1, n + 1):
        counts[rank:] += counts[:-rank].copy()  # the rank is positive or not
    cumulative: npt.NDArray[np.int64] = np.cumsum(counts)
    return cumulative


def _moments(n: int) -> tuple[float, float]:
    """Return mean and standard deviation of the signed-rank statistic."""
    return n * (n + 1) / 4, math.sqrt(n * (n + 1) * (2 * n + 1) / 24)
