"""One-sided bounds of a slowdown: by hand, over several cells, and how often they are wrong."""

import math

import numpy as np
import pytest

from cnnbench.stats import Slowdown, compare_rounds, is_above, slowdown_of, t_quantile

ROUNDS = ([-0.10], [-0.11], [-0.09], [-0.12])
"""d = ln(base / variant) of four rounds of one block."""

ERROR = 0.0129099445 / 2
"""Standard error of their mean, -0.105."""


def seen(rounds: object = ROUNDS, comparisons: int = 1) -> Slowdown:
    effect = compare_rounds(rounds)  # type: ignore[arg-type]  # lists of lists of numbers
    assert effect is not None
    return slowdown_of(effect, comparisons=comparisons)


def test_bounds_by_hand() -> None:
    assert t_quantile(3, 0.99) == pytest.approx(4.540703)
    found = seen()
    assert found.center == pytest.approx(math.expm1(0.105))
    assert found.low == pytest.approx(math.expm1(0.105 - 4.540703 * ERROR), rel=1e-4)
    assert found.high == pytest.approx(math.expm1(0.105 + 4.540703 * ERROR), rel=1e-4)


def test_more_cells_widen_the_bounds() -> None:
    found = seen(comparisons=5)
    assert found.low == pytest.approx(math.expm1(0.105 - t_quantile(3, 0.998) * ERROR), rel=1e-6)


def test_no_bounds_of_two_rounds() -> None:
    found = seen([[-0.1], [-0.2]])
    assert (found.low, found.high) == (None, None)
    assert found.center == pytest.approx(math.expm1(0.15))


def test_above_its_threshold() -> None:
    found = [is_above(Slowdown(center=0.1, low=low, high=None), 0.05) for low in (0.05, 0.049, None)]
    assert found == [True, False, False]


def test_bounds_are_seldom_wrong() -> None:
    rng, wrong = np.random.default_rng(6), 0
    for _ in range(1000):
        found = seen([[float(shift)] for shift in rng.normal(-math.log1p(0.05), 0.02, 6)])
        wrong += is_above(found, 0.05)
    assert wrong <= 20  # 10 are expected
