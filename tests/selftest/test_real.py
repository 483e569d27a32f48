"""The experiments on this machine: their judgement on made-up samples, and the cheap ones for real."""

import importlib.util
import math
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from cnnbench.models import find_model
from cnnbench.orchestrator.cell import Seen
from cnnbench.orchestrator.messages import Failure
from cnnbench.record import Measurement, Outcome
from cnnbench.selftest import EXPERIMENTS, Found, NotRunHere, Setting, memory, others, real, slowdown
from cnnbench.stats import Effect, compare_paired
from tests.made import case

EVEN = (0.01, -0.012, 0.008, -0.009, 0.011, -0.01, 0.007, -0.006, 0.005, -0.004, 0.003, -0.002)
ROW = tuple(0.01 + d / 100 for d in EVEN)


def pair(shift: float = 0.0, *, slower: float = 1.0) -> real.Pair:
    return real.Pair(differences=tuple(d + shift for d in EVEN), rows_s=(ROW, tuple(slower * t for t in ROW)))


def sets(shift: float = 0.0) -> list[real.Pair]:
    """Return the sets of a comparison: what a process start shifts is to both sides, but for `shift`."""
    return [pair(shift + start) for start in (0.004, -0.004, 0.003, -0.003)]


def pretend(monkeypatch: pytest.MonkeyPatch, pairs: list[real.Pair]) -> None:
    def pretended(_: Setting, count: int, blocks: int, *, one_after_the_other: bool) -> Iterator[real.Pair]:
        assert (len(pairs), blocks) == (count, 12 if one_after_the_other else 3)
        yield from pairs

    monkeypatch.setattr(real, "_pairs", pretended)


def test_equal_workers_hold_and_the_figure_counts_both_mistakes(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, sets() * 19 + sets(0.5))
    found = real.same_twice("", Setting())
    assert (found.values, found.holds) == ((1.0, 1.0), True)
    assert (found.shown, found.bound) == ("1, 1; median half-width 0.6 %", "at most 3, at most 1")


def test_too_many_false_alarms_or_verdicts_do_not_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, sets() * 16 + sets(0.02) * 4)
    assert (real.same_twice("", Setting()).values, real.same_twice("", Setting()).holds) == ((4.0, 0.0), False)
    pretend(monkeypatch, sets() * 18 + sets(-0.5) * 2)
    assert (real.same_twice("", Setting()).values, real.same_twice("", Setting()).holds) == ((2.0, 2.0), False)


def test_the_full_form_has_the_bounds_of_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, sets() * 89 + sets(0.02) * 11)
    found = real.same_twice("", Setting(form="full"))
    assert (found.bound, found.holds) == ("at most 11, at most 3", True)
    pretend(monkeypatch, [pair(slower=1.5)] * 12 + [pair()] * 88)
    found = real.one_after_the_other("", Setting(form="full"))
    assert (found.values, found.bound, found.holds) == ((12.0, 0.0), "AAA..BBB at least 12", True)


def test_one_after_the_other_must_be_worse_than_the_blocks_of_the_same_workers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pretend(monkeypatch, [pair(0.5, slower=1.5)] * 6 + [pair()] * 14)
    found = real.one_after_the_other("", Setting())
    assert (found.values, found.shown, found.bound, found.holds) == ((6.0, 6.0), "6; 6", "AAA..BBB at least 7", False)


def effect(center: float) -> Effect:
    found = compare_paired([[[center + d for d in EVEN]]])
    assert found is not None
    return found


def test_the_short_form_makes_one_run_of_each_slowdown(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[int, int]] = []

    def run(percent: int, *, seed: int) -> Effect | None:
        asked.append((percent, seed))
        return None if percent == 15 else effect(-math.log1p(percent / 100))

    monkeypatch.setattr(slowdown, "_run", run)
    found = slowdown.injected("0 to 15 %", Setting(seed=5))
    assert asked == [(0, 5), (5, 6), (10, 7), (15, 8)]
    assert (found.values[0], found.bound, found.holds) == (3.0, "at least 3 of 4", True)
    assert found.shown == "3 of 4 (seen: -0.0, +5.0, +10.0, none %, half-widths up to 0.6 %)"


def test_the_full_form_makes_twenty_runs_and_17_must_cover(monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = iter([True] * 4 + [False] * 16)
    monkeypatch.setattr(slowdown, "_run", lambda percent, seed: effect(-math.log1p(0.5 if next(wrong) else 0.1)))
    found = slowdown.injected("10 %", Setting(form="full"))
    assert (found.values[0], found.bound, found.holds) == (16.0, "at least 17 of 20", False)


def seen(latencies: tuple[float, ...], *, voided: tuple[int, ...] = (), failure: Failure | None = None) -> Seen:
    blocks = tuple(range(len(latencies)))
    measured = Measurement(quantity="latency_s", samples=latencies, blocks=blocks, voided=voided)
    return Seen(case=case("a"), failure=failure, outcome=Outcome(measurements=(measured,), sets=(0, 2, 4, 6)))


def test_the_effect_of_a_run_is_that_of_its_sets_without_voided_samples() -> None:
    base = seen((2.0, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0))
    other = seen((1.0, 1.0, 99.0, 2.0, 1.0, 2.0, 1.0, 1.0), voided=(2,))
    found = slowdown.effect_of(base, other)
    half, ln2 = math.log(2) / 2, math.log(2)
    assert found == compare_paired([[[ln2, ln2], [0.0], [ln2, 0.0], [ln2, ln2]]])
    assert found is not None
    assert (found.basis, found.values) == ("sets", (ln2, 0.0, half, ln2))
    failed = Failure(status="invalid", error="environment")
    assert slowdown.effect_of(base, seen((1.0,), failure=failed)) is None


@pytest.mark.parametrize("percent", slowdown.PERCENTS)
def test_the_slowed_networks_do_that_much_more_of_the_same_work(percent: int) -> None:
    slower, base = (
        find_model(f"{slowdown.NETWORKS}:{name}", (3, 32, 32)).build() for name in (f"slowed_{percent}", "reference")
    )
    assert slower.times / base.times == pytest.approx(1 + percent / 100)  # type: ignore[arg-type, operator]
    images = torch.randn(2, 3, 32, 32)
    assert torch.equal(slower(images), images.flatten(1))


@pytest.mark.skipif(importlib.util.find_spec("pyperf") is not None, reason="pyperf is there")
def test_without_pyperf_it_is_said_how_to_get_it() -> None:
    with pytest.raises(NotRunHere, match=r"^it needs pyperf: pip install pyperf$"):
        others.against("pyperf", Setting())


def test_without_memory_a_transient_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cnnbench.machine.free_memory_bytes", lambda: 10**9)
    with pytest.raises(NotRunHere) as error:
        memory.transient("64 MB", Setting())
    assert str(error.value) == "it needs 1015 MiB of free memory"


TRIES = 3
"""Where other work runs beside the tests, a figure may be off; a harness that is wrong is wrong every time."""

CHEAP = [(name, part) for name in ("V6", "V7", "V9", "V12", "V18") for part in EXPERIMENTS[name].parts_of("short")]


@pytest.mark.slow
@pytest.mark.alone
@pytest.mark.parametrize(("name", "part"), CHEAP)
def test_it_holds_on_this_machine(name: str, part: str) -> None:
    found: list[Found] = []
    for _ in range(TRIES):
        try:
            found.append(EXPERIMENTS[name].load()(part, Setting()))
        except NotRunHere as why:
            pytest.skip(str(why))
        if found[-1].holds:
            return
    pytest.fail(f"{found}")


def test_the_networks_are_part_of_the_package() -> None:
    assert Path(slowdown.__file__).with_name("networks.py").is_file()
