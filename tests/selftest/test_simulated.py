"""The experiments that need no quiet machine: simulations, fake clocks, counts."""

import math
import random
from dataclasses import replace

import numpy as np
import pytest

from cnnbench.selftest import EXPERIMENTS, Setting, fake_clocks, shuffling, simulation
from cnnbench.selftest.noise import correlated, differences
from cnnbench.stats import compare_paired, lag1

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


def test_the_same_seed_gives_the_same_figure_and_another_one_another() -> None:
    found = [simulation.false_alarms("5 %", Setting(seed=seed)) for seed in (3, 3, 4)]
    assert found[0] == found[1] != found[2]


def test_a_wrong_test_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def of_few(launches: list[list[list[float]]]) -> object:
        return compare_paired([[launches[0][0][:12]]])

    def too_narrow(launches: list[list[list[float]]]) -> object:
        effect = compare_paired(launches)
        if effect is None or effect.low is None or effect.high is None:
            return effect
        return replace(effect, low=effect.low / 2 + effect.center / 2, high=effect.high / 2 + effect.center / 2)

    monkeypatch.setattr(simulation, "compare_paired", too_narrow)
    assert not simulation.coverage("one set of workers", Setting()).holds
    monkeypatch.setattr(simulation, "compare_paired", of_few)
    monkeypatch.setattr(simulation, "p_values", lambda *_: type("P", (), {"faster": 0.0, "slower": 1.0}))
    found = simulation.false_alarms("5 %", Setting())
    assert (found.holds, found.values[0] > 190) == (False, True)  # all but those without an interval


def test_bounds_of_percentiles_that_are_too_low_are_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    share, count, _ = simulation._PERCENTILES["p95"]
    monkeypatch.setitem(simulation._PERCENTILES, "p95", (share, count, lambda x: _bound(sorted(x)[count * 95 // 100])))
    assert not simulation.percentiles("p95 exponential", Setting()).holds


def _bound(high: float) -> object:
    return type("Interval", (), {"high": high})


@pytest.mark.parametrize("share", [0.5, 0.95, 0.99])
def test_the_true_percentiles_of_the_sources_are_those_of_many_draws(share: float) -> None:
    for source in simulation._SOURCES.values():
        drawn = np.quantile(source.draw(np.random.default_rng(0), 400_000), share)
        assert source.percentile(share) == pytest.approx(drawn, rel=0.02)


def test_the_noise_has_the_correlation_and_spread_asked_for() -> None:
    series = correlated(np.random.default_rng(0), 50, 4000, memory=0.9, deviation=0.05)
    assert float(series.std()) == pytest.approx(0.05, rel=0.05)
    assert np.mean([lag1(row.tolist()) for row in series]) == pytest.approx(0.9, abs=0.01)
    assert float(series[:, 0].std()) == pytest.approx(0.05, rel=0.3)  # from the first on


def test_equal_cells_have_no_difference_on_the_whole() -> None:
    d = differences(np.random.default_rng(0), 200, 500)
    assert abs(float(d.mean())) < 4 * float(d.std()) / math.sqrt(d.size)


def test_a_loop_that_forgets_to_wait_is_not_within_the_error() -> None:
    found = fake_clocks._on_device(fake_clocks._NeverWaits, 5e-3, random.Random(0))
    assert found.latency_s == pytest.approx(fake_clocks.LAUNCH_S)


def test_an_order_that_is_always_the_same_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(random.Random, "shuffle", lambda self, cells: None)
    assert shuffling.shuffled("positions", Setting()).holds is False
    moved = shuffling.shuffled("drift", Setting())
    assert moved.holds is False
