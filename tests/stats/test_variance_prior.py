"""The prior of a run's variances: against other ways to the same figures, by hand, and draws whose prior is known."""

import math
from collections.abc import Sequence

import numpy as np
import pytest
from scipy.optimize import brentq, minimize
from scipy.special import polygamma
from scipy.stats import f as ratio_of_variances
from scipy.stats import loggamma

from cnnbench.stats import NO_PRIOR, Prior, Variance, own_prior, prior_of
from cnnbench.stats.variance_prior import MOST_DEGREES, fit_prior, moderated_variance, trigamma_inverse


def drawn(rng: np.random.Generator, count: int, *, prior: Prior, degrees: float) -> list[Variance]:
    """Return variances of samples whose own variances are drawn from `prior`."""
    own = prior.variance * prior.degrees / rng.chisquare(prior.degrees, count)
    return [Variance(value=float(v * rng.chisquare(degrees) / degrees), degrees=degrees) for v in own]


def by_moments(variances: Sequence[Variance]) -> Prior:
    """Return the prior under which ln s^2 has the mean and variance seen, by the log-gamma distributions of scipy.

    ln s^2 = ln s0^2 + ln(G / (d/2)) - ln(G0 / (d0/2)) with G and G0 gamma-distributed with shapes d/2 and d0/2.
    """
    logs = np.array([math.log(one.value) - loggamma.mean(one.degrees / 2) for one in variances])
    logs += np.log([one.degrees / 2 for one in variances])
    own = float(np.mean([loggamma.var(one.degrees / 2) for one in variances]))
    half = brentq(lambda h: own + loggamma.var(h) - logs.var(ddof=1), 1e-3, 1e6)
    return Prior(variance=math.exp(logs.mean() + loggamma.mean(half) - math.log(half)), degrees=2 * half)


def by_likelihood(variances: Sequence[Variance]) -> Prior:
    """Return the prior under which the variances, F-distributed about s0^2, are the most likely."""
    values = np.array([one.value for one in variances])
    degrees = np.array([one.degrees for one in variances])

    def unlikely(at: Sequence[float]) -> float:
        return -float(np.sum(ratio_of_variances.logpdf(values / np.exp(at[0]), degrees, np.exp(at[1])) - at[0]))

    found = minimize(unlikely, (math.log(np.median(values)), math.log(4.0)), method="Nelder-Mead")
    return Prior(variance=math.exp(found.x[0]), degrees=math.exp(found.x[1]))


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("degrees", [(5,), (3, 11), (2, 4, 19)])
def test_moments_solved_another_way_give_the_same(seed: int, degrees: tuple[int, ...]) -> None:
    rng, prior = np.random.default_rng([seed, *degrees]), Prior(variance=2e-4, degrees=3)
    known = [one for d in degrees for one in drawn(rng, 30, prior=prior, degrees=d)]
    found, other = fit_prior(known), by_moments(known)
    assert found.variance == pytest.approx(other.variance, rel=1e-6)
    assert found.degrees == pytest.approx(other.degrees, rel=1e-6)


@pytest.mark.parametrize("degrees", [(5,), (3, 11)])
def test_many_variances_give_what_is_most_likely_and_true(degrees: tuple[int, ...]) -> None:
    rng, prior = np.random.default_rng(3), Prior(variance=2.0, degrees=4)
    known = [one for d in degrees for one in drawn(rng, 4000, prior=prior, degrees=d)]
    found, other = fit_prior(known), by_likelihood(known)
    assert (found.variance, found.degrees) == pytest.approx((2.0, 4.0), rel=0.1)
    assert (found.variance, found.degrees) == pytest.approx((other.variance, other.degrees), rel=0.1)


def test_two_variances_by_hand() -> None:
    # d = 2: psi(1) = -0.5772157, psi'(1) = 1.6449341. z = +-1.8137994 + 0.5772157 has the variance 6.5797363, so that
    # psi'(d0/2) = 4.9348022 = pi^2 / 2, which is psi'(1/2); psi(1/2) = -1.9635100
    half = math.sqrt((math.pi**2 / 2 + math.pi**2 / 6) / 2)
    found = fit_prior([Variance(value=math.exp(sign * half), degrees=2) for sign in (-1, 1)])
    assert found.degrees == pytest.approx(1.0)
    assert found.variance == pytest.approx(math.exp(0.5772156649 - 1.9635100260 + math.log(2)))


def test_variances_that_agree_are_known_for_sure() -> None:
    # psi(2) = 0.4227843, so ln s0^2 is the mean logarithm - 0.4227843 + ln 2
    known = [Variance(value=value, degrees=4) for value in (0.4, 0.5, 0.6)]
    found = fit_prior(known)
    assert found.degrees == math.inf
    assert found.variance == pytest.approx(0.12 ** (1 / 3) * math.exp(math.log(2) - 0.4227843351))
    assert prior_of(known) == Prior(variance=found.variance, degrees=MOST_DEGREES)


def test_a_prior_is_worth_no_more_than_its_moments() -> None:
    known = [Variance(value=10.0**power, degrees=4) for power in range(-3, 3)]
    assert prior_of(known) == fit_prior(known)
    assert prior_of(known).degrees < 1


def test_few_variances_say_nothing() -> None:
    some = Variance(value=0.5, degrees=4)
    assert prior_of([]) == prior_of([some] * 2) == NO_PRIOR
    assert prior_of([some, some, Variance(value=0.5, degrees=0)]) == NO_PRIOR
    assert prior_of([Variance(value=0.0, degrees=4)] * 9) == NO_PRIOR


def test_a_line_up_of_three_models_knows_its_own_scatter() -> None:
    run = Prior(variance=0.01, degrees=2)
    pairs = [Variance(value=value, degrees=3) for value in (0.5, 0.6, 0.4)]
    assert own_prior(pairs, run) == prior_of(pairs)
    assert own_prior(pairs[:1], run) == run  # two models are one pair


def test_a_variance_of_zero_counts_as_a_tiny_one() -> None:
    known = drawn(np.random.default_rng(5), 40, prior=Prior(variance=1.0, degrees=6), degrees=6)
    middle = float(np.median([*(one.value for one in known), 0.0]))
    tiny = Variance(value=1e-5 * middle, degrees=6)
    assert prior_of([*known, Variance(value=0.0, degrees=6)]) == prior_of([*known, tiny])
    assert 0.1 < prior_of([*known, tiny]).variance < 3.0


@pytest.mark.parametrize("value", [1e-8, 1e-3, 0.3, 1.0, math.pi**2 / 6, 25.0, 1e8])
def test_trigamma_is_inverted(value: float) -> None:
    assert float(polygamma(1, trigamma_inverse(value))) == pytest.approx(value, rel=1e-4)


def test_trigamma_of_one() -> None:
    assert trigamma_inverse(math.pi**2 / 6) == pytest.approx(1.0)


def test_moderation_by_hand() -> None:
    prior = Prior(variance=1.0, degrees=6)
    assert moderated_variance(Variance(value=1.25, degrees=2), prior) == Variance(value=8.5 / 8, degrees=8)
    assert moderated_variance(Variance(value=0.0, degrees=2), prior) == Variance(value=6 / 8, degrees=8)
    assert moderated_variance(Variance(value=1.2, degrees=2), NO_PRIOR) == Variance(value=1.2, degrees=2)


def test_a_prior_that_knows_for_sure_rules() -> None:
    sure = Prior(variance=1.0, degrees=math.inf)
    assert moderated_variance(Variance(value=0.5, degrees=3), sure) == Variance(value=1.0, degrees=math.inf)


def test_a_far_larger_variance_stands_for_itself() -> None:
    # with d = d0 = 2 the distribution of F is F / (1 + F): its 0.7 quantile is 7/3
    prior = Prior(variance=1.0, degrees=2)
    assert moderated_variance(Variance(value=2.33, degrees=2), prior).degrees == 4
    assert moderated_variance(Variance(value=2.34, degrees=2), prior) == Variance(value=2.34, degrees=2)
