"""The whole method on simulated machines: lognormal noise of 3 %, spikes in 5 % of samples, slow AR(1) drift."""

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pytest
from scipy.signal import lfilter

from cnnbench.stats import Effect, compare_paired, merge_correlated, verdicts

LOOKS = (12, 18, 27, 40, 60, 90, 135, 200, 300)
HALF_WIDTH = 0.02
RUNS = 1000

Array = npt.NDArray[np.float64]


def autoregressive(rng: np.random.Generator, shape: tuple[int, int], *, phi: float, deviation: float) -> Array:
    """Return rows of x(t) = phi x(t-1) + noise, in equilibrium from the first."""
    noise = rng.normal(0, deviation * math.sqrt(1 - phi**2), shape)
    noise[:, 0] /= math.sqrt(1 - phi**2)
    found: Array = lfilter([1], [1, -phi], noise, axis=-1)
    return found


def differences(rng: np.random.Generator, blocks: int, *, effect: float = 0.0) -> Array:
    """Return RUNS rows of d: two samples a block, one after the other, in an order shuffled anew."""
    shape = (RUNS, 2 * blocks)
    logs = autoregressive(rng, shape, phi=0.98, deviation=0.03) + rng.normal(0, 0.03, shape)
    logs += np.where(rng.random(shape) < 0.05, rng.exponential(0.3, shape), 0)
    first, second = logs[:, ::2], logs[:, 1::2]
    return np.where(rng.random(first.shape) < 0.5, first - second, second - first) + effect


def covers(effect: Effect | None, truth: float) -> bool:
    assert effect is not None
    return effect.low is not None and effect.high is not None and effect.low <= truth <= effect.high


def measured_until_narrow(values: Sequence[float]) -> Effect:
    """Return the effect at the first look whose interval is narrow enough, or at the last."""
    for blocks in LOOKS:
        found = compare_paired([[values[:blocks]]])
        assert found is not None
        if blocks == LOOKS[-1] or (found.half_width is not None and found.half_width <= HALF_WIDTH):
            return found
    raise AssertionError(LOOKS)


@pytest.mark.parametrize("blocks", [12, 20, 40])
def test_alike_cells_look_different_in_one_run_of_twenty(blocks: int) -> None:
    data = differences(np.random.default_rng(blocks), blocks)
    alarms = sum(not covers(compare_paired([[values]]), 0.0) for values in data)
    assert 25 <= alarms <= 75  # 50 +- 3.6 standard deviations of a binomial


def test_interval_covers_although_its_width_stops_the_run() -> None:
    data = differences(np.random.default_rng(7), LOOKS[-1], effect=0.05)
    stopped = [measured_until_narrow(values) for values in data]
    assert sum(covers(found, 0.05) for found in stopped) >= 933
    assert 20 < np.mean([found.blocks for found in stopped]) < 60  # neither at once nor never


def test_what_differs_by_launch_needs_launches() -> None:
    rng = np.random.default_rng(8)
    data = differences(rng, 60).reshape(RUNS, 3, 20) + rng.normal(0, 0.02, (RUNS, 3, 1))
    pooled = sum(not covers(compare_paired([[launches.ravel()]]), 0.0) for launches in data)
    apart = sum(not covers(compare_paired([[values] for values in launches]), 0.0) for launches in data)
    assert pooled > 150
    assert 25 <= apart <= 75


def test_correlated_noise_is_caught_and_merging_lowers_its_false_alarms() -> None:
    data = autoregressive(np.random.default_rng(9), (RUNS, 100), phi=0.6, deviation=0.03)
    found = [compare_paired([[values]]) for values in data]
    assert sum(merge_correlated(values).merged > 1 for values in data) >= 0.95 * RUNS
    assert sum(not covers(effect, 0.0) for effect in found) < 150  # unguarded, about 320


def test_a_report_of_twenty_alike_cells_is_wrong_in_at_most_one_of_twenty() -> None:
    rng = np.random.default_rng(10)
    effects = [compare_paired([[values]]) for _ in range(2) for values in differences(rng, 40)]
    reports = [effects[at : at + 20] for at in range(0, len(effects), 20)]
    wrong = sum(not {"FASTER", "SLOWER"}.isdisjoint(verdicts(report, [0.0] * 20)) for report in reports)
    assert wrong <= 12  # 5 of 100 expected at most
