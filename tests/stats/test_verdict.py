"""Verdicts: p-values that agree with the intervals, Holm's correction, and the four words."""

import math
from functools import cache

import numpy as np
import pytest

from cnnbench.stats import Effect, PValues, compare_paired, hodges_lehmann, holm, p_values, t_interval, verdicts

DELTA = 0.03


def by_blocks(values: list[float]) -> Effect:
    """Return the effect of blocks as they are: the guard against correlation has tests of its own."""
    found = hodges_lehmann(values)
    return Effect(
        center=found.center,
        low=found.low,
        high=found.high,
        basis="blocks",
        clusters=1,
        blocks=len(values),
        merged=1,
        values=tuple(values),
    )


def by_launches(values: list[float]) -> Effect:
    found = t_interval(values)
    return Effect(
        center=found.center,
        low=found.low,
        high=found.high,
        basis="launches",
        clusters=len(values),
        blocks=len(values),
        merged=1,
        values=tuple(values),
    )


def claimed(effect: Effect) -> tuple[bool, bool, bool]:
    """Return what the interval claims: FASTER, SLOWER, SAME."""
    limit = math.log1p(DELTA)
    assert effect.low is not None
    assert effect.high is not None
    return effect.low > limit, effect.high < -limit, -limit < effect.low and effect.high < limit


@cache
def random_effects() -> tuple[Effect, ...]:
    """Return effects around the limits, by blocks (few and many, some rounded so that they tie) and by launches."""
    rng, found = np.random.default_rng(6), []
    limit = math.log1p(DELTA)
    for at in range(2000):
        values = rng.normal(rng.uniform(-0.06, 0.06), rng.uniform(0.001, 0.05), int(rng.integers(6, 80)))
        if at % 3 == 0:
            values = np.round(values / limit * 4) / 4 * limit  # ties, and averages exactly on the limits
        found += [by_blocks(values.tolist()), by_launches(values[: int(rng.integers(3, 7))].tolist())]
    return tuple(found)


def test_p_values_agree_with_the_place_of_the_interval() -> None:
    seen = {"FASTER": 0, "SLOWER": 0, "SAME": 0}
    for effect in random_effects():
        p = p_values(effect, DELTA)
        claims = claimed(effect)
        assert (p.faster <= 0.05, p.slower <= 0.05, p.same <= 0.05) == claims, effect
        for word, claim in zip(seen, claims, strict=True):
            seen[word] += claim
    assert min(seen.values()) > 300


def test_verdict_of_one_comparison_is_what_its_interval_claims() -> None:
    words = ("FASTER", "SLOWER", "SAME")
    for effect in random_effects():
        expected = next(
            (word for word, claim in zip(words, claimed(effect), strict=True) if claim), "NOT DISTINGUISHABLE"
        )
        assert verdicts([effect], [DELTA]) == (expected,)


def test_p_values_of_six_blocks_by_hand() -> None:
    # all 21 Walsh averages lie above the limit: P(W <= 0) = 1/64; below it none does
    assert p_values(by_blocks([0.1, 0.2, 0.3, 0.4, 0.5, 0.6]), DELTA) == PValues(faster=2 / 64, slower=1.0, same=1.0)
    # 0.00 is the one average that is not above the limit: P(W <= 1) = 2/64
    assert p_values(by_blocks([0.0, 0.2, 0.3, 0.4, 0.5, 0.6]), DELTA).faster == 4 / 64


def test_an_average_on_the_limit_speaks_against_either_claim() -> None:
    p = p_values(by_blocks([0.0, 0.2, 0.3, 0.4, 0.5, 0.6]), 0.0)
    assert (p.faster, p.slower) == (4 / 64, 1.0)
    p = p_values(by_blocks([0.0] * 6), 0.0)
    assert p == PValues(faster=1.0, slower=1.0, same=1.0)


def test_p_values_of_clusters_by_hand() -> None:
    # mean 2, standard error 1/sqrt(3), so t = 3.464 with two degrees of freedom: two-sided p = 0.0742
    p = p_values(by_launches([1.0, 2.0, 3.0]), 0.0)
    assert (round(p.faster, 4), p.slower) == (0.0742, 1.0)


def test_clusters_that_agree_exactly_are_certain() -> None:
    assert p_values(by_launches([0.1, 0.1, 0.1]), DELTA) == PValues(faster=0.0, slower=1.0, same=1.0)
    assert p_values(by_launches([0.01, 0.01, 0.01]), DELTA) == PValues(faster=1.0, slower=1.0, same=0.0)
    assert p_values(by_launches([0.0, 0.0, 0.0]), 0.0) == PValues(faster=1.0, slower=1.0, same=1.0)


def test_adjusted_p_values_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx((0.03, 0.06, 0.06))
    assert holm([0.04, 0.045]) == pytest.approx((0.08, 0.08))
    assert holm([0.5, 0.001, 0.9, 0.6]) == pytest.approx((1.0, 0.004, 1.0, 1.0))
    assert holm([0.02]) == (0.02,)
    assert holm([]) == ()


def test_what_holds_alone_may_not_hold_among_others() -> None:
    six_blocks, nothing = by_blocks([0.1, 0.2, 0.3, 0.4, 0.5, 0.6]), by_blocks([-0.1, 0.1, -0.2, 0.2, -0.3, 0.3])
    certain = by_blocks([0.1 + 0.001 * at for at in range(12)])
    assert verdicts([six_blocks], [DELTA]) == ("FASTER",)
    assert verdicts([six_blocks, nothing], [DELTA] * 2) == ("NOT DISTINGUISHABLE", "NOT DISTINGUISHABLE")
    assert verdicts([six_blocks, certain], [DELTA] * 2) == ("FASTER", "FASTER")  # the surest first, then alone again
    assert verdicts([certain, nothing], [DELTA] * 2) == ("FASTER", "NOT DISTINGUISHABLE")


def test_what_has_no_interval_has_no_verdict_and_no_part_in_the_family() -> None:
    six_blocks, few = by_blocks([0.1, 0.2, 0.3, 0.4, 0.5, 0.6]), by_blocks([0.1, 0.2])
    drifting = compare_paired([[range(20)]])
    assert verdicts([few, None, six_blocks, drifting], [DELTA] * 4) == (
        "NOT DISTINGUISHABLE",
        "NOT DISTINGUISHABLE",
        "FASTER",
        "NOT DISTINGUISHABLE",
    )


def test_each_comparison_has_its_own_delta() -> None:
    effect = by_blocks([0.02 + 0.0001 * at for at in range(20)])
    swapped = by_blocks([-value for value in effect.values])
    assert verdicts([effect, effect, swapped], [0.03, 0.01, 0.01]) == ("SAME", "FASTER", "SLOWER")


def test_a_comparison_without_delta_is_our_own_mistake() -> None:
    with pytest.raises(ValueError, match=r"^zip\(\) argument 2 is shorter than argument 1$"):
        verdicts([None], [])


def test_limits_are_those_of_the_logarithm() -> None:
    just_beyond, just_inside = [math.log(1.0301)] * 12, [math.log(1.0299)] * 12
    effects = [by_blocks(values) for values in (just_beyond, just_inside)]
    effects += [by_blocks([-value for value in values]) for values in (just_beyond, just_inside)]
    assert verdicts(effects, [DELTA] * 4) == ("FASTER", "SAME", "SLOWER", "SAME")
