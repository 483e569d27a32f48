"""Exact vectors for the signed-rank interval, and its distribution against counting every case."""

import itertools
import math
import time

import numpy as np
import pytest

from cnnbench.stats import LARGEST_EXACT, Z_95, Interval, hodges_lehmann, signed_rank_tail, walsh_averages, walsh_rank


@pytest.mark.parametrize(
    ("n", "low", "high"), [(6, 1, 21), (8, 4, 33), (12, 14, 65), (20, 53, 158), (40, 265, 556), (60, 649, 1182)]
)
def test_ranks_are_those_of_the_published_signed_rank_tables(n: int, low: int, high: int) -> None:
    k = walsh_rank(n)
    assert k is not None
    assert (k + 1, n * (n + 1) // 2 - k) == (low, high)


def test_below_six_there_is_no_rank() -> None:
    assert [walsh_rank(n) for n in range(6)] == [None] * 6


@pytest.mark.parametrize("n", [1, 2, 6, 9, 12])
def test_tail_is_that_of_every_pattern_of_signs(n: int) -> None:
    sums = [sum(itertools.compress(range(1, n + 1), signs)) for signs in itertools.product((0, 1), repeat=n)]
    total = n * (n + 1) // 2
    for w in range(-1, total + 2):
        assert signed_rank_tail(n, w) == sum(found <= w for found in sums) / 2**n


@pytest.mark.parametrize("n", [6, 11, 30, 59, 60, 61, 333, 3000])
def test_rank_is_the_largest_whose_tail_is_small_enough(n: int) -> None:
    k = walsh_rank(n)
    assert k is not None
    assert signed_rank_tail(n, k) <= 0.025 < signed_rank_tail(n, k + 1)


def test_exact_and_approximate_agree_where_they_meet() -> None:
    for n in range(40, LARGEST_EXACT + 1):
        approximate = math.floor(n * (n + 1) / 4 - Z_95 * math.sqrt(n * (n + 1) * (2 * n + 1) / 24) - 0.5)
        exact = walsh_rank(n)
        assert exact is not None
        assert exact - approximate in (0, 1)


def test_walsh_averages_are_those_of_all_pairs_and_of_each_with_itself() -> None:
    assert sorted(walsh_averages([4.0, 1.0, 2.0])) == [1.0, 1.5, 2.0, 2.5, 3.0, 4.0]


def test_estimate_of_six_has_all_walsh_averages_as_interval() -> None:
    assert hodges_lehmann([1, 2, 4, 8, 16, 32]) == Interval(center=8.5, low=1.0, high=32.0)


def test_estimate_of_eight_by_hand() -> None:
    # the three smallest and largest Walsh averages of 0, 10, 20 ... 70 are left out: 0, 5, 10 and 60, 65, 70
    assert hodges_lehmann(range(0, 80, 10)) == Interval(center=35.0, low=10.0, high=60.0)


def test_few_values_have_no_interval() -> None:
    assert hodges_lehmann([3.0]) == Interval(center=3.0)
    assert hodges_lehmann([1.0, 2.0, 9.0, 4.0, 4.0]) == Interval(center=4.0)


def test_estimate_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^The Hodges-Lehmann estimate of no values$"):
        hodges_lehmann([])


@pytest.mark.parametrize("n", [13, 60, 61, 200])
def test_estimate_is_what_sorting_everything_gives(n: int) -> None:
    values = np.random.default_rng(n).normal(size=n).tolist()
    averages = sorted((values[i] + values[j]) / 2 for i in range(n) for j in range(i, n))
    k = walsh_rank(n)
    assert k is not None
    middle = (averages[(len(averages) - 1) // 2] + averages[len(averages) // 2]) / 2
    assert hodges_lehmann(values) == Interval(center=middle, low=averages[k], high=averages[-1 - k])


def test_swapped_signs_swap_the_interval() -> None:
    values = np.random.default_rng(3).normal(size=25)
    there, back = hodges_lehmann(values.tolist()), hodges_lehmann((-values).tolist())
    assert there.low is not None
    assert there.high is not None
    assert back == Interval(center=-there.center, low=-there.high, high=-there.low)


def test_three_thousand_values_take_no_time_to_speak_of() -> None:
    values = np.random.default_rng(4).normal(size=3000).tolist()
    start = time.perf_counter()
    found = hodges_lehmann(values)
    assert time.perf_counter() - start < 3  # a tenth of that where nothing else runs
    assert found.low is not None
    assert found.high is not None
    assert found.high - found.low == pytest.approx(2 * Z_95 * math.sqrt(math.pi / 3 / 3000), rel=0.1)
