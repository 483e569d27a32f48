"""One-sided bounds of a slowdown: by hand, against the two-sided interval, and how often they are wrong."""

import math

import numpy as np
import pytest

from cnnbench.stats import Slowdown, above, compare_paired, slowdown_of
from cnnbench.stats.clusters import t_quantile

SETS = ([-0.08, -0.10, -0.12], [-0.09, -0.11, -0.13], [-0.07, -0.09, -0.11], [-0.10, -0.12, -0.14])
"""d = ln(base / variant) of the blocks of four sets: their centres are -0.10, -0.11, -0.09 and -0.12."""


def seen(sets: object = SETS, threshold: float = 0.05) -> Slowdown:
    effect = compare_paired([sets])  # type: ignore[list-item]  # lists of lists of numbers
    assert effect is not None
    return slowdown_of(effect, threshold)


def test_bounds_by_hand() -> None:
    # all sets tell their centre equally well (s = 0.02, n = 3: error 0.0115), and differ by less than that (s = 0.0129)
    error = math.sqrt(max(0.02**2 / 3, 0.0129099**2) / 4)
    assert t_quantile(3, 0.99) == pytest.approx(4.540703)
    found = seen()
    assert found.center == pytest.approx(math.expm1(0.105))
    assert found.low == pytest.approx(math.expm1(0.105 - 4.540703 * error), rel=1e-4)
    assert found.high == pytest.approx(math.expm1(0.105 + 4.540703 * error), rel=1e-4)


@pytest.mark.parametrize("nudge", [-1e-9, 1e-9])
def test_the_p_value_is_one_per_cent_where_the_lower_bound_is_the_threshold(nudge: float) -> None:
    low = seen().low
    assert low is not None
    found = seen(threshold=low + nudge)
    assert found.p_above == pytest.approx(0.01, rel=1e-6)
    assert above([found]) == (nudge < 0,)


def test_one_set_tells_nothing_of_equal_processes() -> None:
    found = seen([[-0.10] * 20])
    assert found == Slowdown(center=math.expm1(0.10), low=None, high=None, p_above=1.0)
    assert above([found]) == (False,)


def test_a_network_that_is_faster_has_a_slowdown_below_none() -> None:
    found = seen([[0.1, 0.11], [0.1, 0.12], [0.1, 0.13]])
    assert found.center < 0
    assert found.high is not None
    assert found.high < 0.0
    assert found.p_above == 0.5  # it is told no higher


def test_holm_corrects_over_those_that_have_bounds() -> None:
    one = Slowdown(center=0.1, low=0.06, high=0.2, p_above=0.004)
    other = Slowdown(center=0.1, low=0.06, high=0.2, p_above=0.009)
    unknown = Slowdown(center=0.1, low=None, high=None, p_above=1.0)
    fine = Slowdown(center=0.0, low=-0.01, high=0.01, p_above=0.999)
    assert above([]) == ()
    assert above([None, unknown]) == (False, False)
    assert above([one, None, other, unknown]) == (True, False, True, False)
    assert above([other, fine]) == (False, False)  # 2 x 0.009 is above 1 %
    assert above([one, fine, fine]) == (False, False, False)  # 3 x 0.004
    assert above([one, fine]) == (True, False)


@pytest.mark.parametrize("sets", [4, 8])
@pytest.mark.parametrize("differ", [0.003, 0.03])
def test_bounds_are_wrong_once_in_a_hundred_at_most(sets: int, differ: float) -> None:
    """Sets differ by `differ` beside what their blocks tell; 2000 times, so 20 are expected to each side, or fewer.

    The interval is never narrower than the blocks allow: with few sets that differ by little, it is wrong less often.
    """
    source, runs = np.random.default_rng(1), 2000
    too_high = too_low = 0
    for _ in range(runs):
        starts = source.normal(-math.log1p(0.05), differ, sets)
        found = seen([list(source.normal(start, 0.02, 12)) for start in starts])
        assert found.low is not None
        assert found.high is not None
        too_high += found.low > 0.05
        too_low += found.high < 0.05
    least = 5 if differ > 0.02 else 0
    assert least <= too_high <= 40  # Binomial(2000, 0.01) is beyond 5 to 40 in fewer than one case of 5,000
    assert least <= too_low <= 40
