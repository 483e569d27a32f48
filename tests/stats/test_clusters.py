"""The mean of clusters that are not known equally well: by hand, against published figures, and in simulation."""

import math

import numpy as np
import pytest

from cnnbench.stats import Effect, compare_paired, random_effects, t_interval


def test_clusters_of_unequal_precision_by_hand() -> None:
    # u = 1, 1, 1/4: mean 1, Q = 5, so tau^2 = 3 / (9/4 - 11/12) = 9/4; w = 4/13, 4/13, 4/25
    found = random_effects([0.0, 1.0, 5.0], [1.0, 1.0, 4.0])
    spread = (4 / 13 * (100 + 9) / 49 + 4 / 25 * 625 / 49) / 2
    half = 4.302653 * math.sqrt(spread / (8 / 13 + 4 / 25))
    assert found.center == pytest.approx(10 / 7)
    assert found.low == pytest.approx(10 / 7 - half, rel=1e-6)
    assert found.high == pytest.approx(10 / 7 + half, rel=1e-6)


BCG = (
    (-0.8893113, 0.3255848),
    (-1.5853887, 0.1945811),
    (-1.3480731, 0.4153680),
    (-1.4415512, 0.0200100),
    (-0.2175473, 0.0512102),
    (-0.7861156, 0.0069056),
    (-1.6208982, 0.2230172),
    (0.0119523, 0.0039616),
    (-0.4694176, 0.0564342),
    (-1.3713448, 0.0730248),
    (-0.3393588, 0.0124122),
    (0.4459134, 0.5325058),
    (-0.0173139, 0.0714047),
)
"""Thirteen trials of a vaccine (Colditz et al. 1994): logarithm of the relative risk, and its variance."""


def test_mean_of_a_published_example() -> None:
    effects, variances = zip(*BCG, strict=True)
    assert round(random_effects(effects, variances).center, 4) == -0.7141  # DerSimonian-Laird, in many textbooks


def test_equal_precision_gives_the_t_interval_of_the_centres() -> None:
    centers = [1.0, 2.0, 3.0]
    narrow, known = random_effects(centers, [0.1] * 3), t_interval(centers)
    assert (narrow.center, narrow.low, narrow.high) == pytest.approx((known.center, known.low, known.high))


def test_variances_weigh_centres_and_their_scatter_makes_the_width() -> None:
    centers = [1.9, 2.0, 2.1]
    found, known = random_effects(centers, [300.0] * 3), t_interval(centers)
    assert (found.center, found.low, found.high) == pytest.approx((known.center, known.low, known.high))


def test_two_clusters_have_no_interval_and_each_needs_a_variance() -> None:
    assert random_effects([1.0, 2.0], [1.0, 1.0]) == t_interval([1.0, 2.0])
    with pytest.raises(ValueError, match="argument 2 is longer"):
        random_effects([1.0, 2.0, 3.0], [1.0, 1.0])


def test_a_set_with_few_scattered_blocks_counts_little() -> None:
    steady = [[0.1 + 0.01 * (-1) ** at for at in range(20)] for _ in range(5)]
    wild = [-0.5, 0.3, 1.4, 0.5]
    found = compare_paired([[*steady, wild]])
    assert found is not None
    assert found.basis == "sets"
    assert found.center == pytest.approx(0.1, abs=0.001)
    assert found.half_width is not None
    assert found.half_width < 0.02
    equal = t_interval(found.values)
    assert equal.high is not None
    assert equal.high - equal.center > 0.1


def test_a_few_blocks_that_happen_to_agree_count_no_more_than_usual() -> None:
    steady = [[0.1 + 0.01 * (-1) ** at for at in range(20)] for _ in range(5)]
    lucky = [0.3, 0.3000001, 0.3]
    found = compare_paired([[*steady, lucky]])
    assert found is not None
    assert found.center < 0.15


def test_blocks_that_do_not_vary_leave_equal_weights() -> None:
    found = compare_paired([[[1.0, 1.0], [2.0, 2.0], [4.0]]])
    assert found is not None
    assert (found.center, found.half_width) == pytest.approx((7 / 3, 4.302653 * math.sqrt(7 / 9)))


def disturbed_sets(rng: np.random.Generator) -> list[list[float]]:
    """Return eight sets of the same cell twice; two in five are short, and each cell jumps to 1.8 times in them."""
    sets = []
    for _ in range(8):
        short = rng.random() < 0.4
        count = 5 if short else 23
        noise = rng.normal(0, 0.006) + rng.normal(0, 0.03, count)
        jumps = math.log(1.8) * (rng.integers(0, 2, count) - rng.integers(0, 2, count)) if short else 0.0
        sets.append((noise + jumps).tolist())
    return sets


def test_disturbed_sets_do_not_hide_a_difference_and_intervals_still_cover() -> None:
    rng = np.random.default_rng(11)
    effects = [effect for _ in range(400) if (effect := compare_paired([disturbed_sets(rng)])) is not None]
    assert sum(_covers(effect) for effect in effects) >= 370
    halves = [effect.half_width for effect in effects if effect.half_width is not None]
    equal = [(found.high or 0.0) - found.center for found in (t_interval(effect.values) for effect in effects)]
    assert np.median(halves) < np.median(equal) / 4


def jumping_sets(rng: np.random.Generator) -> list[list[float]]:
    """Return eight sets of the same cell twice where some blocks, more in some sets than in others, are far off."""
    sets = []
    for count in (27, 25, 23, 21, 18, 14, 10, 6):
        calm = rng.normal(rng.normal(0, 0.006), 0.012, count)
        off = rng.random(count) < rng.beta(1.2, 2.5)
        sets.append((calm + off * rng.normal(0, 0.3, count)).tolist())
    return sets


def test_noise_with_heavy_tails_does_not_widen_intervals_beyond_what_centres_scatter() -> None:
    rng = np.random.default_rng(12)
    effects = [effect for _ in range(400) if (effect := compare_paired([jumping_sets(rng)])) is not None]
    assert 372 <= sum(_covers(effect) for effect in effects) <= 397
    assert np.median([effect.half_width for effect in effects if effect.half_width is not None]) < 0.016


def _covers(effect: Effect) -> bool:
    return effect.low is not None and effect.high is not None and effect.low <= 0 <= effect.high
