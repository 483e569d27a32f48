"""Exact vectors for the statistics of samples in order."""

import pytest
from scipy.special import bdtr

from cnnbench.stats import (
    FEWEST_FOR_P95,
    FEWEST_FOR_P99,
    Interval,
    is_quiet,
    median,
    median_rank,
    p95,
    p99,
    spread_of,
    wilson_interval,
)


@pytest.mark.parametrize(
    ("n", "rank"), [(5, None), (6, 1), (8, 1), (9, 2), (12, 3), (20, 6), (40, 14), (100, 40), (1000, 469)]
)
def test_rank_is_that_of_the_published_sign_test_tables(n: int, rank: int | None) -> None:
    assert median_rank(n) == rank


@pytest.mark.parametrize("n", [6, 7, 13, 50, 333, 3000])
def test_rank_is_the_largest_that_covers(n: int) -> None:
    rank = median_rank(n)
    assert rank is not None
    assert 1 - 2 * bdtr(rank - 1, n, 0.5) >= 0.95 > 1 - 2 * bdtr(rank, n, 0.5)


def test_median_of_six_has_the_whole_range_as_interval() -> None:
    assert median([6, 1, 5, 2, 4, 3]) == Interval(center=3.5, low=1, high=6)


def test_median_of_nine_leaves_the_extremes_out() -> None:
    assert median([90, 1, 5, 2, 4, 3, 7, 8, 6]) == Interval(center=5, low=2, high=8)


def test_median_of_five_has_no_interval() -> None:
    assert median([5, 1, 2, 4, 3]) == Interval(center=3)


def test_median_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^The median of no samples$"):
        median([])


@pytest.mark.parametrize(("fewest", "share"), [(FEWEST_FOR_P95, 0.05), (FEWEST_FOR_P99, 0.01)])
def test_percentile_limits_follow_from_the_rule(fewest: int, share: float) -> None:
    assert bdtr(1, fewest, share) <= 0.01 < bdtr(1, fewest - 1, share)


def test_p95_is_the_nearest_rank_with_its_bound() -> None:
    assert p95(range(1, 130)) is None
    assert p95(range(1, 131)) == Interval(center=124, high=129)
    assert p95(range(1, 1001)) == Interval(center=950, high=966)  # 34 above: bdtr(34, 1000, 0.05) = 0.0088


def test_p99_is_the_nearest_rank_with_its_bound() -> None:
    assert p99(range(1, 662)) is None
    assert p99(range(1, 663)) == Interval(center=656, high=661)


def test_bound_is_the_lowest_that_holds() -> None:
    for n in (130, 500, 5000):
        found = p95(range(1, n + 1))
        assert found is not None
        assert found.high is not None
        above = int(n - found.high)
        assert bdtr(above, n, 0.05) <= 0.01 < bdtr(above + 1, n, 0.05)


def test_wilson_matches_the_published_example() -> None:
    # Newcombe 1998, Table I: 81 of 263
    assert rounded(wilson_interval(81, 263)) == Interval(center=0.308, low=0.2553, high=0.3662)


def test_wilson_at_the_ends_stays_inside() -> None:
    assert rounded(wilson_interval(0, 10)) == Interval(center=0.0, low=0.0, high=0.2775)
    assert rounded(wilson_interval(10, 10)) == Interval(center=1.0, low=0.7225, high=1.0)


def rounded(found: Interval) -> Interval:
    assert found.low is not None
    assert found.high is not None
    return Interval(center=round(found.center, 4), low=round(found.low, 4), high=round(found.high, 4))


@pytest.mark.parametrize(("correct", "tested"), [(0, 0), (2, 1), (-1, 3)])
def test_wilson_refuses_contradicting_counts(correct: int, tested: int) -> None:
    with pytest.raises(ValueError, match=rf"^{correct} correct of {tested} tested$"):
        wilson_interval(correct, tested)


def test_the_spread_is_that_of_the_quartiles() -> None:
    assert spread_of([1.0, 2.0, 3.0, 4.0, 5.0]) is None
    assert spread_of([5.0, 1.0, 4.0, 2.0, 3.0, 3.0, 3.0]) == pytest.approx((3.5 - 2.5) / 3)


def test_a_machine_is_quiet_below_one_per_cent_of_spread() -> None:
    assert [is_quiet(spread) for spread in (None, 0.0, 0.0099, 0.01)] == [False, True, True, False]
