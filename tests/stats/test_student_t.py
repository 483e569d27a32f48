"""Student's intervals: of the mean of a few centres, and of one more value."""

import math

import pytest

from cnnbench.stats import Interval, prediction_interval, t_interval


def test_mean_of_three_centres() -> None:
    found = t_interval([1.0, 2.0, 4.0])
    half = 4.302653 * math.sqrt(7 / 9)
    assert (found.center, found.low, found.high) == pytest.approx((7 / 3, 7 / 3 - half, 7 / 3 + half))


def test_two_centres_have_no_interval() -> None:
    assert t_interval([1.0, 2.0]) == Interval(center=1.5)
    with pytest.raises(ValueError, match="no centres"):
        t_interval([])


def test_one_more_value_lies_further_than_the_mean() -> None:
    low, high = prediction_interval([1.0, 2.0, 3.0])
    assert (low, high) == pytest.approx((2 - 4.302653 * math.sqrt(4 / 3), 2 + 4.302653 * math.sqrt(4 / 3)), rel=1e-6)
