"""The experiments on this machine: their judgement on made-up samples, and the cheap ones for real."""

import importlib.util
import itertools
import math
import random
import re
from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch

from cnnbench.models import find_model
from cnnbench.orchestrator.plan import Group
from cnnbench.orchestrator.running_cell import CellResult, RunningCell
from cnnbench.record import Outcome, Record
from cnnbench.selftest import EXPERIMENTS, Found, NotRunHere, Setting
from cnnbench.selftest.experiments import known_slowdown as slowdown
from cnnbench.selftest.experiments import model_against_itself as real
from cnnbench.selftest.experiments import other_tools as others
from cnnbench.selftest.experiments import peak_memory as memory
from cnnbench.selftest.measure_group import Measuring
from cnnbench.stats import Effect, aa_difference_of, compare_rounds
from cnnbench.timing.loop import Sample
from cnnbench.workers.messages import Failure, Taken
from tests.factories import MACHINE, case, timed

EVEN = (0.01, -0.012, 0.008, -0.009, 0.011, -0.008)
ROW = tuple(0.01 + d / 100 for d in EVEN) * 2


def rounds(shift: float = 0.0) -> list[list[float]]:
    """Return the six rounds of a comparison: what starting processes shifts is to both sides, but for `shift`."""
    return [[shift + d, shift + d + 0.001, shift + d - 0.001] for d in EVEN]


def pretend(monkeypatch: pytest.MonkeyPatch, comparisons: list[list[list[float]]]) -> None:
    def pretended(_: Setting, count: int) -> list[list[list[float]]]:
        assert len(comparisons) == count
        return comparisons

    monkeypatch.setattr(real, "_comparisons", pretended)


def test_equal_workers_hold_and_the_figure_counts_both_mistakes(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, [rounds()] * 19 + [rounds(0.5)])
    found = real.count_false_claims("", Setting())
    assert (found.values, found.holds) == ((1.0, 1.0), True)
    assert found.shown.startswith("1, 1; median half-width ")
    assert found.bound == "at most 3, at most 1"


def test_too_many_false_alarms_or_verdicts_do_not_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, [rounds()] * 16 + [rounds(0.02)] * 4)
    assert (real.count_false_claims("", Setting()).values, real.count_false_claims("", Setting()).holds) == (
        (4.0, 0.0),
        False,
    )
    pretend(monkeypatch, [rounds()] * 18 + [rounds(-0.5)] * 2)
    assert (real.count_false_claims("", Setting()).values, real.count_false_claims("", Setting()).holds) == (
        (2.0, 2.0),
        False,
    )


def test_the_full_form_has_the_bounds_of_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, [rounds()] * 89 + [rounds(0.02)] * 11)
    found = real.count_false_claims("", Setting(form="full"))
    assert (found.bound, found.holds) == ("at most 11, at most 3", True)


def pairs(monkeypatch: pytest.MonkeyPatch, comparisons: list[list[list[float]]], *, slower: int) -> None:
    """Pretend pairs of workers of these rounds, in the first so many of which one row is slower than the other."""

    def pretended(_: Setting, count: int) -> Iterator[real.WorkerPair]:
        blocks = [one for comparison in comparisons for one in comparison]
        assert len(blocks) == count
        for at, one in enumerate(blocks):
            other = tuple(1.5 * t for t in ROW) if at < slower else ROW
            yield real.WorkerPair(differences=tuple(one), rows_s=(ROW, other))

    monkeypatch.setattr(real, "_pairs", pretended)


def test_sequential_must_err_clearly_above_its_level(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pairs(monkeypatch, [rounds()] * 10, slower=8)
    found = real.count_naive_alarms("", Setting())
    assert (found.values, found.shown) == ((8.0, 0.0), "8 of 60 (13%); 0 of 10 (0%)")
    assert (found.bound, found.holds) == ("AAA..BBB at least 8", True)
    pairs(monkeypatch, [rounds()] * 10, slower=7)
    assert real.count_naive_alarms("", Setting()).holds is False


def test_sequential_must_err_clearly_above_round_intervals(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pairs(monkeypatch, [rounds(0.5)] * 2 + [rounds()] * 8, slower=19)
    found = real.count_naive_alarms("", Setting())
    assert (found.values, found.bound, found.holds) == ((19.0, 2.0), "AAA..BBB at least 20", False)


class Taking:
    """Stands for a worker whose samples take these seconds, in turn; None is one whose cores others had."""

    def __init__(self, *times: float | None) -> None:
        self.times = itertools.cycle(times)

    def send(self, _request: object) -> None:
        """Take the request."""

    def receive(self, _timeout_s: float) -> Taken:
        took = next(self.times)
        sample = Sample(
            latency_s=took or 1.0, sample_s=0.01, rewarm_s=0.0, tail_s=0.0, iterations_s=(), phases_s=(), cpu_share=1.0
        )
        return Taken(sample=replace(sample, steal_share=1.0) if took is None else sample)


def workers(*times: tuple[float | None, ...]) -> list[RunningCell]:
    return [RunningCell(case=case("a"), worker=Taking(*own)) for own in times]  # type: ignore[arg-type]


def test_void_samples_are_retaken_and_blocks_hold_both_workers() -> None:
    cells = workers((1.0, None, 3.0), (2.0, 4.0))
    assert real._blocks(cells, 3, random.Random(0)) == [(1.0, 2.0), (3.0, 2.0), (1.0, 4.0)]
    assert [cell.samples for cell in cells] == [{}, {}]


def test_a_pair_of_which_too_many_samples_are_void_is_none() -> None:
    assert real._pair(workers((None,), (1.0,)), random.Random(0)) is None
    pair = real._pair(workers((1.0,), (2.0,)), random.Random(0))
    assert pair == real.WorkerPair(differences=(-math.log(2),) * 4, rows_s=((1.0,) * 12, (2.0,) * 12))


def effect(center: float) -> Effect:
    found = compare_rounds([[center + d] for d in EVEN])
    assert found is not None
    return found


def test_the_short_form_makes_one_run_of_each_slowdown(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[int, int]] = []

    def run(percent: int, *, seed: int) -> Effect | None:
        asked.append((percent, seed))
        return None if percent == 15 else effect(-math.log1p(percent / 100))

    monkeypatch.setattr(slowdown, "_run", run)
    found = slowdown.count_covering_runs("0 to 15 %", Setting(seed=5))
    assert asked == [(0, 5), (5, 6), (10, 7), (15, 8)]
    assert (found.values[0], found.bound, found.holds) == (3.0, "at least 3 of 4", True)
    assert re.match(r"3 of 4 \(seen: [+-]0\.\d, \+\d\.\d, \+\d+\.\d, none %, half-widths up to \d\.\d %\)", found.shown)


def test_the_full_form_makes_twenty_runs_and_17_must_cover(monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = iter([True] * 4 + [False] * 16)
    monkeypatch.setattr(slowdown, "_run", lambda percent, seed: effect(-math.log1p(0.5 if next(wrong) else 0.1)))
    found = slowdown.count_covering_runs("10 %", Setting(form="full"))
    assert (found.values[0], found.bound, found.holds) == (16.0, "at least 17 of 20", False)


class Pretended:
    """Stands for a group whose cells take these seconds, by round and case; a time of None is a round that failed."""

    def __init__(self, group: Group, *times: tuple[float | None, ...]) -> None:
        self.group, self.rounds, self.kept, self._times = group, 0, list[Record](), times

    def measure(self, *, deadline: float, rounds_left: float, on_progress: object) -> tuple[CellResult, ...]:
        took, self.rounds = self._times[self.rounds], self.rounds + 1
        failed = Failure(status="failed", error="it broke")
        return tuple(
            CellResult(case=one, failure=failed, outcome=Outcome())
            if t is None
            else CellResult(case=one, failure=None, outcome=Outcome(measurements=timed([t, t])))
            for one, t in zip(self.group.members, took, strict=True)
        )

    def add(self, record: Record) -> None:
        self.kept.append(record)


def test_group_keeps_rounds_and_equal_cells_widen_its_effect() -> None:
    base, slower = case("a"), case("b")
    group = Group(
        cases=(base, slower),
        aa_control=replace(base, role="aa_control"),
        control_workload=replace(base, role="control_workload"),
    )
    lines = [(1.0, 2.0 * t, 1.1 * t, 1.0) for t in (1.0, 1.01, 0.99, 1.0)]
    pretended = Pretended(group, *lines, (1.0, None, 1.1, 1.0))
    run = Measuring(pretended, MACHINE)  # type: ignore[arg-type]
    for _ in range(5):
        run.take()
    assert [len(run.good[one]) for one in group.members] == [5, 4, 5, 5]
    assert [record.round for record in pretended.kept] == [n for n in range(5) for _ in range(4)]
    found = [[-math.log(2.0 * t)] * 2 for t in (1.0, 1.01, 0.99, 1.0)]
    assert run.differences(base, slower, range(5)) == found
    assert run.differences(base, slower, range(1, 3)) == found[1:3]
    equal = compare_rounds([[-math.log(1.1 * t)] * 2 for t in (1.0, 1.01, 0.99, 1.0, 1.0)])
    apart = aa_difference_of(equal)
    assert apart > 0.08
    assert slowdown.effect_of(run) == compare_rounds(found, apart=apart)


@pytest.mark.parametrize("percent", slowdown.PERCENTS)
def test_the_slowed_networks_do_that_much_more_of_the_same_work(percent: int) -> None:
    slower, base = (
        find_model(f"{slowdown.MODEL_FILE}:{name}", (3, 32, 32)).build() for name in (f"slowed_{percent}", "reference")
    )
    assert slower.times / base.times == pytest.approx(1 + percent / 100)  # type: ignore[arg-type, operator]
    images = torch.randn(2, 3, 32, 32)
    assert torch.equal(slower(images), images.flatten(1))


@pytest.mark.skipif(importlib.util.find_spec("pyperf") is not None, reason="pyperf is there")
def test_without_pyperf_it_is_said_how_to_get_it() -> None:
    with pytest.raises(NotRunHere, match=r"^it needs pyperf: pip install pyperf$"):
        others.compare_tools("pyperf", Setting())


def test_without_memory_a_transient_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cnnbench.machine.free_memory_bytes", lambda: 10**9)
    with pytest.raises(NotRunHere) as error:
        memory.measure_peak_error("64 MB", Setting())
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
    assert slowdown.MODEL_FILE.is_file()
