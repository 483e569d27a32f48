"""The effect of one cell against another: correlation guard, clusters, and what is derived from them."""

import math
import time

import numpy as np
import pytest

from cnnbench.stats import (
    DETECTABLE,
    Effect,
    Interval,
    Merged,
    break_even,
    compare_paired,
    hodges_lehmann,
    lag1,
    merge_correlated,
    t_interval,
)


def test_correlation_with_the_next_by_hand() -> None:
    # mean 3, from it -2, -1, 0, 1, 2: (2 + 0 + 0 + 2) / 10
    assert lag1([1, 2, 3, 4, 5]) == 0.4
    assert lag1([1, -1, 1, -1]) == -0.75


def test_correlation_of_what_does_not_vary_is_nought() -> None:
    assert [lag1(values) for values in ([], [7.0], [2.0, 2.0, 2.0])] == [0.0, 0.0, 0.0]
    assert {lag1([value / 10] * n) for value in range(1, 40) for n in range(2, 40)} == {0.0}


def test_uncorrelated_values_stay_as_they_are() -> None:
    values = [1.0, -1.0, 2.0, -2.0, 1.5, -1.5, 3.0]
    assert merge_correlated(values) == Merged(values=tuple(values), merged=1)


def test_correlated_neighbours_are_merged_in_twos() -> None:
    pairs = [1.0, 2.0, -1.0, -2.0, 1.0, 2.0, -1.0, -2.0]
    values = [value for value in pairs for _ in range(2)]
    assert merge_correlated(values) == Merged(values=tuple(pairs), merged=2)


def test_correlated_neighbours_are_merged_in_fours_if_twos_are_still_correlated() -> None:
    eights = [2.0, -1.0, 0.5, -2.0, 1.0, -0.5]
    values = [value for value in eights for _ in range(8)]
    assert merge_correlated(values).merged == 4


def test_values_that_do_not_divide_are_all_kept() -> None:
    values = [2.0, 2.0, 2.0, 2.0, -1.0, -1.0, -2.0, -2.0, 2.0, 2.0, -1.0, -1.0, 2.0]
    assert merge_correlated(values) == Merged(values=(2.0, 0.5, -1.5, 0.0, 0.5, 0.5), merged=2)


def test_a_correlation_that_may_be_chance_is_doubted_and_not_merged() -> None:
    doubted = compare_paired([[[2.0, 2.0, 2.0, 2.0, -2.0, -2.0, 1.5, 1.5, -2.0, -2.0, 0.0, 0.0, 3.0]]])
    turning = compare_paired([[[1.0, 2.0, 3.0, 2.0, 1.0, 3.0, 2.0, 1.0, 1.0, 2.0, 2.0, 3.0]]])
    assert doubted is not None
    assert turning is not None
    assert [(e.merged, e.doubtful) for e in (doubted, turning)] == [(1, True), (1, False)]


def test_a_drift_throughout_leaves_too_few() -> None:
    expected = Merged(values=(1.5, 5.5, 9.5, 13.5, 17.5), merged=4)
    assert merge_correlated(range(20)) == expected


def test_fewer_than_six_are_not_looked_at() -> None:
    assert merge_correlated([1, 2, 3, 4, 5]) == Merged(values=(1, 2, 3, 4, 5), merged=1)


def test_interval_of_means_is_the_textbook_one() -> None:
    found = t_interval([1.0, 2.0, 3.0])
    assert found.low is not None
    assert found.high is not None
    assert (found.center, round(found.low, 4), round(found.high, 4)) == (2.0, -0.4841, 4.4841)  # 4.3027 / sqrt(3)


def test_two_centres_have_no_interval_and_none_is_refused() -> None:
    assert t_interval([1.0, 2.0]) == Interval(center=1.5)
    with pytest.raises(ValueError, match=r"^The mean of no centres$"):
        t_interval([])


def test_nothing_paired_is_no_effect() -> None:
    assert compare_paired([]) is None
    assert compare_paired([[], [[], []]]) is None


def test_blocks_of_one_set_have_the_signed_rank_interval() -> None:
    assert compare_paired([[[1, -2, 4, -8, 16, 32]]]) == Effect(
        center=4.0,
        low=-8.0,
        high=32.0,
        basis="blocks",
        clusters=1,
        blocks=6,
        merged=1,
        values=(1.0, -2.0, 4.0, -8.0, 16.0, 32.0),
    )


def test_two_sets_or_two_launches_are_pooled() -> None:
    one_set = compare_paired([[[1, -2, 4, -8, 16, 32]]])
    assert compare_paired([[[1, -2, 4], [-8, 16, 32]]]) == one_set
    assert compare_paired([[[1, -2, 4]], [[], [-8, 16, 32]]]) == one_set


def test_three_sets_are_compared_by_their_centres() -> None:
    found = compare_paired([[[1.0, 1.0], [2.0]], [[3.0]]])
    assert found is not None
    interval = t_interval([1.0, 2.0, 3.0])
    assert found == Effect(
        center=2.0,
        low=interval.low,
        high=interval.high,
        basis="sets",
        clusters=3,
        blocks=4,
        merged=1,
        values=(1.0, 2.0, 3.0),
    )


def test_three_launches_come_before_their_sets() -> None:
    found = compare_paired([[[1.0], [1.0]], [[2.0], []], [], [[3.0], [5.0, 3.0]]])
    assert found is not None
    assert (found.basis, found.clusters, found.blocks) == ("launches", 3, 6)
    assert found.values == (1.0, 2.0, 3.5)  # the Walsh averages of 3, 5, 3 are 3, 3, 3, 4, 4, 5
    assert found.center == t_interval(found.values).center


def test_too_much_correlation_leaves_an_effect_without_interval() -> None:
    found = compare_paired([[range(20)]])
    assert found is not None
    assert (found.center, found.low, found.high, found.merged, found.blocks) == (9.5, None, None, 4, 20)
    assert (found.ratio, found.half_width, found.smallest_detectable) == (Interval(center=math.exp(9.5)), None, None)


def test_ratio_and_smallest_detectable_follow_from_the_logarithms() -> None:
    effect = Effect(center=0.0, low=-0.02, high=0.04, basis="blocks", clusters=1, blocks=9, merged=1, values=(0.0,) * 9)
    assert effect.ratio == Interval(center=1.0, low=math.exp(-0.02), high=math.exp(0.04))
    assert effect.half_width == 0.03
    assert effect.smallest_detectable == pytest.approx(math.exp(1.43 * 0.03) - 1)


def test_factor_of_the_smallest_detectable_is_that_of_a_power_of_four_fifths() -> None:
    assert pytest.approx((1.959964 + 0.841621) / 1.959964, abs=0.001) == DETECTABLE


def test_break_even_takes_its_low_end_from_the_largest_saving() -> None:
    assert break_even(10.0, Interval(center=0.5, low=0.25, high=1.0)) == Interval(center=20.0, low=10.0, high=40.0)
    assert break_even(10.0, Interval(center=0.5)) == Interval(center=20.0)


def test_what_saves_nothing_never_breaks_even() -> None:
    never = math.inf
    assert break_even(10.0, Interval(center=0.5, low=-0.5, high=1.0)) == Interval(center=20.0, low=10.0, high=never)
    assert break_even(10.0, Interval(center=-1.0, low=-2.0, high=0.0)) == Interval(center=never, low=never, high=never)


def test_a_thousand_comparisons_take_seconds_at_most() -> None:
    rng = np.random.default_rng(5)
    data = [rng.normal(size=int(rng.integers(12, 61))).tolist() for _ in range(1000)]
    start = time.perf_counter()
    found = [compare_paired([[values]]) for values in data]
    assert time.perf_counter() - start < 5
    assert all(
        effect is not None and (effect.merged > 1 or effect.center == hodges_lehmann(values).center)
        for effect, values in zip(found, data, strict=True)
    )
