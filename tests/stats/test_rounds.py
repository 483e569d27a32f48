"""Effects over rounds: by hand, what is widened by what, and how often intervals hold the truth in simulation."""

import math
import statistics
from collections.abc import Sequence

import numpy as np
import pytest

from cnnbench.stats import (
    NO_PRIOR,
    Effect,
    Prior,
    aa_difference_of,
    calls_to_break_even,
    compare_rounds,
    excludes_zero,
    prior_of,
    t_quantile,
    variance_between_rounds,
)
from cnnbench.stats.order_statistics import Interval

THREE = ([0.09, 0.10, 0.11], [0.12], [0.13, 0.15])
"""Rounds whose centres are 0.10, 0.12 and 0.14."""


def effect_of(rounds: object = THREE, prior: Prior = NO_PRIOR, comparisons: int = 1, apart: float = 0.0) -> Effect:
    found = compare_rounds(rounds, prior, comparisons=comparisons, apart=apart)  # type: ignore[arg-type]
    assert found is not None
    return found


def test_interval_by_hand() -> None:
    found = effect_of()
    half = 4.302653 * 0.02 / math.sqrt(3)
    assert found.values == pytest.approx((0.10, 0.12, 0.14))
    assert (found.rounds, found.blocks, found.degrees) == (3, 6, 2)
    assert found.error == pytest.approx(0.02 / math.sqrt(3))
    assert (found.low, found.high) == pytest.approx((0.12 - half, 0.12 + half), rel=1e-6)
    assert found.ratio.center == pytest.approx(math.exp(0.12))
    assert found.half_width == pytest.approx(half, rel=1e-6)
    assert found.minimum_detectable == pytest.approx(math.expm1(1.43 * half), rel=1e-6)


def test_prior_moderates_the_variance() -> None:
    prior = Prior(variance=0.0003, degrees=2)
    found = effect_of(prior=prior)
    variance = (2 * 0.0003 + 2 * 0.0004) / 4
    assert found.degrees == 4
    assert found.error == pytest.approx(math.sqrt(variance / 3))
    assert found.half_width == pytest.approx(t_quantile(4) * math.sqrt(variance / 3))


def test_variance_far_above_the_prior_stands_alone() -> None:
    assert effect_of(prior=Prior(variance=1e-6, degrees=8)) == effect_of()


def test_more_comparisons_and_unequal_twins_widen() -> None:
    plain, four = effect_of(), effect_of(comparisons=4)
    assert four.half_width == pytest.approx(t_quantile(2, 1 - 0.05 / 8) * 0.02 / math.sqrt(3))
    assert effect_of(apart=0.01).half_width == pytest.approx((plain.half_width or 0) + 0.01)


@pytest.mark.parametrize("rounds", [[[0.1]], [[0.1], [0.2]], [[0.1], [], [0.2]]])
def test_no_interval_below_three_rounds(rounds: list[list[float]]) -> None:
    found = effect_of(rounds, prior=Prior(variance=0.01, degrees=8))
    assert (found.low, found.high, found.half_width, found.minimum_detectable) == (None, None, None, None)
    assert not excludes_zero(found)


def test_nothing_in_common() -> None:
    assert compare_rounds([]) is None
    assert compare_rounds([[], []]) is None
    assert variance_between_rounds([[0.1, 0.2]]) is None


def test_a_bad_round_counts_nothing_in_the_centre_however_bad() -> None:
    good = [[0.01 * at] for at in (-2, 1, 0, 2, -1)]
    one, other = effect_of([*good, [3.0]]), effect_of([*good, [-9.0]])
    assert one.center == other.center == pytest.approx(0.0, abs=1e-15)
    assert one.values[-1] == 3.0
    assert (one.rounds, one.degrees) == (6, 4)


def test_a_bad_round_widens_as_if_it_lay_at_the_reach() -> None:
    # the median of 0, 1, -1, 2, -2 and 300 is 0.5, and that of the distances from it is 1.5
    reach = 0.5 + 3.5 * 1.4826 * (1 + 1.2 / 6) * 1.5
    moved = [0.0, 1.0, -1.0, 2.0, -2.0, reach]
    found = variance_between_rounds([[0.0], [1.0], [-1.0], [2.0], [-2.0], [300.0]])
    assert found is not None
    assert (found.value, found.degrees) == pytest.approx((statistics.variance(moved) * 5 * 6 / (5 * 4), 4))


@pytest.mark.parametrize("sign", [-1, 1])
def test_bad_rounds_on_one_side_don_t_shift_the_centre(sign: int) -> None:
    rounds = [[0.001 * (at % 5 - 2)] for at in range(20)] + [[sign * 0.3]] * 4
    assert effect_of(rounds).center == pytest.approx(0.0, abs=1e-12)


def test_three_rounds_all_count() -> None:
    assert effect_of([[0.0], [0.01], [3.0]]).center == pytest.approx(3.01 / 3)


@pytest.mark.parametrize("values", [[0.0, 0.0, 0.3, 0.2], [0.0, 0.0, 0.0, 0.0, 0.3, 0.2]])
def test_equal_rounds_don_t_rule_those_apart_out(values: list[float]) -> None:
    found = effect_of([[value] for value in values])
    assert found.center == pytest.approx(statistics.fmean(values))
    assert found.error == pytest.approx(statistics.stdev(values) / math.sqrt(len(values)))


def test_at_least_three_rounds_count() -> None:
    rng = np.random.default_rng(7)
    for count in (4, 5, 6, 7):
        for _ in range(200):
            found = variance_between_rounds(rng.standard_t(1, (count, 1)).tolist())
            assert found is not None
            assert found.degrees >= 2


@pytest.mark.parametrize("spike", [-9.0, 9.0])
@pytest.mark.parametrize("others", [[0.1, 0.2], [0.1, 0.2, 0.15], [0.1, 0.2, 0.15, 0.12]])
def test_the_centre_of_a_round_bears_a_spike_in_any_block(others: list[float], spike: float) -> None:
    for at in range(len(others) + 1):
        (center,) = effect_of([[*others[:at], spike, *others[at:]]]).values
        assert 0.1 <= center <= 0.2


def test_swapped_signs_swap_the_effect() -> None:
    rounds = np.random.default_rng(2).normal(0.01, 0.02, (7, 5))
    there, back = effect_of(rounds.tolist()), effect_of((-rounds).tolist())
    assert (back.center, back.error) == pytest.approx((-there.center, there.error))
    assert back.low == pytest.approx(-(there.high or 0.0))


@pytest.mark.parametrize(
    ("low", "high", "apart"), [(-0.1, 0.1, 0.0), (0.02, 0.1, 0.02), (-0.3, -0.05, 0.05), (None, None, 0.0)]
)
def test_apart_is_the_near_end(low: float | None, high: float | None, apart: float) -> None:
    aa_control = Effect(center=0.0, low=low, high=high, rounds=3, blocks=9, values=(), error=None, degrees=2)
    assert aa_difference_of(aa_control) == apart
    assert aa_difference_of(None) == 0.0


def test_break_even_follows_from_what_a_call_saves() -> None:
    assert calls_to_break_even(10.0, Interval(center=0.5, low=-0.1, high=1.0)) == Interval(
        center=20, low=10, high=math.inf
    )
    assert calls_to_break_even(10.0, Interval(center=-1.0)) == Interval(center=math.inf)


def _run(rng: np.random.Generator, deviations: Sequence[float], count: int, bad: float) -> list[Effect]:
    """Return the effects of a run whose groups scatter by `deviations` over `count` rounds; none differs in truth."""
    groups = []
    for deviation in deviations:
        shifts = rng.normal(0, deviation, count)
        far = np.log1p(rng.uniform(0.05, 0.6, count))
        shifts = np.where(rng.random(count) < bad, far, shifts)
        groups.append([(shift + rng.normal(0, 0.02, 5)).tolist() for shift in shifts])
    prior = prior_of(found for group in groups if (found := variance_between_rounds(group)) is not None)
    return [effect_of(group, prior) for group in groups]


def _held(effects: Sequence[Effect]) -> float:
    return float(np.mean([not excludes_zero(effect) for effect in effects]))


@pytest.mark.parametrize("count", [3, 8])
@pytest.mark.parametrize(("spread", "bad"), [(0.0, 0.0), (0.6, 0.0), (0.0, 0.1)])
def test_intervals_cover_the_truth(count: int, spread: float, bad: float) -> None:
    # 500 intervals of 95 % cover at least 93 % with all but 3 % of seeds
    rng = np.random.default_rng([count, round(10 * spread), round(10 * bad)])
    effects = [_run(rng, (0.015 * np.exp(rng.normal(0, spread, 20))).tolist(), count, bad) for _ in range(25)]
    assert _held([effect for run in effects for effect in run]) >= 0.93


@pytest.mark.parametrize(("count", "least"), [(3, 0.87), (6, 0.91)])
def test_one_group_much_noisier_than_the_others_is_covered(count: int, least: float) -> None:
    # of 300 intervals, three standard deviations below 0.91 and 0.94, which long simulations give
    rng = np.random.default_rng(count)
    runs = [_run(rng, [0.09, *[0.015] * 5], count, 0.0) for _ in range(300)]
    assert _held([run[0] for run in runs]) >= least


def test_bad_rounds_hardly_widen_and_don_t_shift() -> None:
    rng = np.random.default_rng(8)
    bad, good = (_run(rng, [0.015] * 200, 12, share) for share in (0.1, 0.0))
    widths = [np.median([effect.half_width or math.inf for effect in effects]) for effects in (bad, good)]
    assert widths[0] < 1.8 * widths[1]
    assert _held(bad) >= 0.93
