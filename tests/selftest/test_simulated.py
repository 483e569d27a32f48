"""The experiments that need no quiet machine: simulations, fake clocks, counts."""

import math
import random
from dataclasses import replace

import numpy as np
import pytest

from cnnbench.selftest import EXPERIMENTS, Setting
from cnnbench.selftest import run_intervals as judging
from cnnbench.selftest import simulated_noise as noise
from cnnbench.selftest.experiments import block_order as shuffling
from cnnbench.selftest.experiments import fake_time as fake_clocks
from cnnbench.selftest.experiments import simulated_runs as simulation
from cnnbench.selftest.run_intervals import Rounds
from cnnbench.selftest.simulated_noise import correlated_series, differences
from cnnbench.stats import Effect, Prior, compare_rounds

CASES = [
    (name, part) for name in ("V1", "V4", "V8", "V10", "V11", "V16") for part in EXPERIMENTS[name].parts_of("short")
]


@pytest.mark.parametrize(("name", "part"), CASES)
def test_it_holds(name: str, part: str) -> None:
    found = EXPERIMENTS[name].load()(part, Setting())
    assert found.holds, found


@pytest.mark.parametrize("part", ["closed form", "torchvision"])
def test_counts_are_right(part: str) -> None:
    found = EXPERIMENTS["V13"].load()(part, Setting())
    assert found.holds, found


@pytest.mark.parametrize("part", EXPERIMENTS["V14"].parts)
def test_numerics_are_judged_rightly(part: str) -> None:
    found = EXPERIMENTS["V14"].load()(part, Setting())
    assert found.holds, found


def test_seed_determines_figure() -> None:
    found = [simulation.false_alarms("5 %", Setting(seed=seed)) for seed in (3, 3, 4)]
    assert found[0] == found[1] != found[2]


def test_intervals_that_are_too_narrow_are_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def too_narrow(rounds: Rounds, prior: Prior, *, comparisons: int = 1) -> Effect | None:
        found = compare_rounds(rounds, prior, comparisons=comparisons)
        if found is None or found.low is None or found.high is None:
            return found
        return replace(found, low=found.low / 2 + found.center / 2, high=found.high / 2 + found.center / 2)

    monkeypatch.setattr(judging, "compare_rounds", too_narrow)
    for name in ("V1", "V4"):
        for part in EXPERIMENTS[name].parts:
            found = EXPERIMENTS[name].load()(part, Setting())
            assert found.holds is False, found


def test_blocks_in_place_of_rounds_are_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def of_blocks(rounds: Rounds, prior: Prior, *, comparisons: int = 1) -> Effect | None:
        return compare_rounds([[d] for blocks in rounds for d in blocks], comparisons=comparisons)

    monkeypatch.setattr(judging, "compare_rounds", of_blocks)
    monkeypatch.setattr(noise, "ROUND_SHIFT", 0.05)
    assert simulation.false_alarms("1 %", Setting()).holds is False


def test_narrow_interval_ends_group_after_six_rounds() -> None:
    draw = random.Random(0)
    wide, narrow = ([[draw.gauss(0, width)] for _ in range(20)] for width in (0.1, 0.001))
    assert [len(taken) for taken in simulation._until_narrow([wide, narrow])] == [20, 6]


@pytest.mark.parametrize(("truth", "expected"), [(0.0, True), (0.011, False), (-0.011, False)])
def test_an_interval_covers_what_lies_in_it(truth: float, expected: bool) -> None:  # noqa: FBT001
    effect = compare_rounds([[0.0], [0.0]])
    assert effect is not None
    assert judging.covers(replace(effect, low=-0.01, high=0.01), truth) is expected
    assert not judging.covers(compare_rounds([[0.0]]), 0.0)
    assert not judging.covers(None, 0.0)


def test_bounds_of_percentiles_that_are_too_low_are_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    share, count, _ = simulation._PERCENTILES["p95"]
    monkeypatch.setitem(simulation._PERCENTILES, "p95", (share, count, lambda x: _bound(sorted(x)[count * 95 // 100])))
    assert not simulation.percentiles("p95 exponential", Setting()).holds


def _bound(high: float) -> object:
    return type("Interval", (), {"high": high})


@pytest.mark.parametrize("share", [0.5, 0.95, 0.99])
def test_true_percentiles_match_many_draws(share: float) -> None:
    for source in simulation._SOURCES.values():
        drawn = np.quantile(source.draw(np.random.default_rng(0), 400_000), share)
        assert source.percentile(share) == pytest.approx(drawn, rel=0.02)


def test_the_noise_has_the_correlation_and_spread_asked_for() -> None:
    series = correlated_series(np.random.default_rng(0), 50, 4000, memory=0.9, deviation=0.05)
    assert float(series.std()) == pytest.approx(0.05, rel=0.05)
    neighbours = [np.corrcoef(row[:-1], row[1:])[0, 1] for row in series]
    assert np.mean(neighbours) == pytest.approx(0.9, abs=0.01)
    assert float(series[:, 0].std()) == pytest.approx(0.05, rel=0.3)  # from the first on


def test_equal_cells_have_no_difference_on_the_whole() -> None:
    d = differences(np.random.default_rng(0), 200, 500)
    assert abs(float(d.mean())) < 4 * float(d.std()) / math.sqrt(d.size)


def test_rounds_are_shifted_as_a_whole_and_bad_ones_by_far() -> None:
    centers = noise.rounds(np.random.default_rng(0), 200, 50).mean(axis=2)
    within = differences(np.random.default_rng(0), 200, 300).std() / math.sqrt(noise.BLOCKS)
    assert float(centers.std()) == pytest.approx(math.hypot(noise.ROUND_SHIFT, within), rel=0.05)
    bad = noise.rounds(np.random.default_rng(0), 200, 50, bad=1.0).mean(axis=2)
    assert abs(float(bad.mean())) < 0.02
    assert float(np.median(np.abs(bad))) == pytest.approx((noise.BAD_LOW + noise.BAD_HIGH) / 2, abs=0.02)


def test_a_loop_that_forgets_to_wait_is_not_within_the_error() -> None:
    found = fake_clocks._on_device(fake_clocks._NeverWaits, 5e-3, random.Random(0))
    assert found.latency_s == pytest.approx(fake_clocks.LAUNCH_S)


def test_an_order_that_is_always_the_same_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(random.Random, "shuffle", lambda self, cells: None)
    assert shuffling.check_block_order("positions", Setting()).holds is False
    moved = shuffling.check_block_order("drift", Setting())
    assert moved.holds is False
