"""The line-up: models in the order of their speed, who shares a place, and its words."""

import itertools
import math
from dataclasses import replace

import pytest

from cnnbench import stats
from cnnbench.analysis import analyse
from cnnbench.analysis.lineup import Lineup, Ranked
from cnnbench.record import Record
from cnnbench.report.text.lineup import lineup_cells, lineup_text, sentence_of
from cnnbench.stats import Interval
from tests.factories import COST, LAST, beside, case, ceilings, counted, in_rounds, record, run

ONE, TWO, THREE = (1.0, 1.004, 0.998, 1.001), (1.002, 0.999, 1.003, 1.0), (0.999, 1.001, 1.004, 0.998)


def model(name: str, latency_s: float, factors: tuple[float, ...]) -> list[Record]:
    """Return four rounds of a model by itself and in turns with the others."""
    cell = case(name)
    return [*in_rounds(cell, latency_s, factors), *in_rounds(beside(cell, "lineup"), latency_s, factors)]


SLOW, QUICK, MIDDLE = model("slow", 0.200, ONE), model("quick", 0.001, TWO), model("middle", 0.02, THREE)


def test_models_stand_from_the_fastest_on() -> None:
    (lineup,) = analyse([*SLOW, *QUICK, *MIDDLE]).lineups
    assert [one.model for one in lineup.ranked] == ["quick", "middle", "slow"]
    assert [one.tied_with for one in lineup.ranked] == [None, None, None]
    ratios = [one.times for one in lineup.ranked]
    assert ratios[0] is None
    assert [round(one.center, 1) for one in ratios if one] == [20.0, 199.9]
    assert all(one.low and one.high and one.low < one.center < one.high for one in ratios if one)


def test_intervals_rest_on_how_all_pairs_of_models_scatter() -> None:
    rows = [in_rounds(case(name, LAST), 0.001, (1.0, 2.0, 0.5, 1.5)) for name in ("slow", "quick")]  # say nothing here
    (lineup,) = analyse([*SLOW, *QUICK, *MIDDLE, *rows[0], *rows[1]]).lineups
    logs = {"slow": ONE, "quick": TWO, "middle": THREE}

    def scatter(one: str, other: str) -> list[list[float]]:
        return [[math.log(a / b)] for a, b in zip(logs[one], logs[other], strict=True)]

    pairs = [stats.variance_between_rounds(scatter(*pair)) for pair in itertools.combinations(logs, 2)]
    prior = stats.prior_of(variance for variance in pairs if variance is not None)
    effect = stats.compare_rounds(scatter("slow", "quick"), prior, comparisons=3)
    assert effect is not None
    assert effect.half_width is not None
    last = lineup.ranked[-1].times
    assert last is not None
    assert last.high is not None
    assert math.log(last.high / last.center) == pytest.approx(effect.half_width, rel=1e-3)


def test_models_that_are_not_told_apart_share_a_place() -> None:
    (lineup,) = analyse([*SLOW, *QUICK, *model("same", 0.001, (0.999, 1.003, 1.0, 1.002))]).lineups
    assert [one.tied_with for one in lineup.ranked] == [None, lineup.ranked[0].model, None]
    assert [row[0] for row in lineup_cells(lineup)] == ["1.", "1.", "3."]
    assert lineup_cells(lineup)[1][3].endswith(f", not told apart from {lineup.ranked[0].model}")


def test_without_intervals_nobody_shares_a_place() -> None:
    (lineup,) = analyse([one for one in (*SLOW, *QUICK) if one.round == 0]).lineups
    assert [one.tied_with for one in lineup.ranked] == [None, None]
    assert [one.times and one.times.low for one in lineup.ranked] == [None, None]
    assert sentence_of(lineup) == "quick is about 200 times as fast as slow (too few rounds for an interval)."


def test_words_give_order_ratios_and_the_answer() -> None:
    (lineup,) = analyse([*SLOW, *QUICK, *MIDDLE]).lineups
    title, *lines, sentence = lineup_text(lineup).splitlines()
    assert title == "Fastest first (eager, cpu, batch 1):"
    assert [line.split()[:2] for line in lines] == [["1.", "quick"], ["2.", "middle"], ["3.", "slow"]]
    assert lines[1].startswith("  2. middle  20.1 ms  20.0x (")
    assert sentence.startswith("quick is 20.0 times (")
    assert sentence.endswith(") as fast as slow.")


def placed(name: str, latency_s: float | None, *times: float, tied_with: str | None = None) -> Ranked:
    """Return a place; `times` are centre, low and high of the time over that of the fastest, or the centre alone."""
    ratio = Interval(center=times[0], low=times[1], high=times[2]) if len(times) > 1 else None
    few = Interval(center=times[0], low=None, high=None) if len(times) == 1 else None
    return Ranked(model=name, variant="eager", latency_s=latency_s, times=ratio or few, tied_with=tied_with)


def of(*ranked: Ranked, task: str = "infer") -> Lineup:
    return Lineup(device="cpu", task=task, batch_size=8, ranked=ranked)


FIRST = placed("lenet", 0.000232)


@pytest.mark.parametrize(
    ("lineup", "text"),
    [
        (
            of(FIRST, placed("vgg16", 0.0091, 39.21, 38.0, 40.4), placed("b\nnet", None, 187.3, 186.6, 188.2)),
            "Fastest first (eager, cpu, batch 8):\n"
            "  1. lenet   232 us\n"
            "  2. vgg16  9.10 ms  39.2x (38.0-40.4)\n"
            "  3. b net        -  187x (187-188)\n"
            "lenet is 39.2 times (38.0 to 40.4) as fast as vgg16 and 187 times (187 to 188) as fast as b net.",
        ),
        (
            of(FIRST, placed("a", 0.00023, 1.011, 0.99, 1.03, tied_with="lenet"), placed("c", 0.0005, 2.104, 2.0, 2.2)),
            "Fastest first (eager, cpu, batch 8):\n"
            "  1. lenet  232 us\n"
            "  1. a      230 us  1.01x (0.99-1.03), not told apart from lenet\n"
            "  3. c      500 us  2.10x (2.00-2.20)\n"
            "lenet is not told apart from a, and 2.10 times (2.00 to 2.20) as fast as c.",
        ),
        (
            of(FIRST, placed("a", 0.0232, 101.4), task="train"),
            "Fastest first (eager, cpu train, batch 8):\n"
            "  1. lenet   232 us\n"
            "  2. a      23.2 ms  101x, too few rounds for an interval\n"
            "lenet is about 101 times as fast as a (too few rounds for an interval).",
        ),
    ],
    ids=["apart", "a tie", "few rounds"],
)
def test_the_words_are_these(lineup: Lineup, text: str) -> None:
    assert lineup_text(lineup) == text


def test_models_that_took_no_turns_are_not_lined_up() -> None:
    alone = [one for one in (*QUICK, *SLOW) if one.case.role == "timed"]
    assert analyse(alone).lineups == ()


def test_the_latency_is_that_of_the_row() -> None:
    report = analyse([*QUICK, *SLOW])
    (lineup,) = report.lineups
    assert [one.latency_s for one in lineup.ranked] == [row.latency_s for row in report.rows]


def test_a_model_whose_row_cannot_be_believed_has_no_place() -> None:
    counts = counted("quick", params=1, macs=10**12, cost=COST)  # more than the machine can do in a millisecond
    report = analyse([*QUICK, *SLOW, *MIDDLE, counts, ceilings()])
    assert {row.model: row.status for row in report.rows} == {"quick": "invalid", "slow": "ok", "middle": "ok"}
    assert [one.model for one in report.lineups[0].ranked] == ["middle", "slow"]


def test_one_model_has_no_lineup() -> None:
    assert analyse([*QUICK, *in_rounds(case("quick", LAST), 0.002)]).lineups == ()


def test_a_model_that_failed_is_left_out() -> None:
    gone = record(beside(case("gone"), "lineup"), status="failed", error="boom")
    report = analyse([*QUICK, *SLOW, gone])
    (lineup,) = report.lineups
    assert [one.model for one in lineup.ranked] == ["quick", "slow"]
    assert "No place in the line-up (failed: boom): gone eager cpu infer batch 1" in report.notes


def test_with_a_reference_the_rows_themselves_are_lined_up() -> None:
    rows = [one for one in (*QUICK, *SLOW) if one.case.role == "timed"]
    (lineup,) = analyse([run(reference="slow"), *rows]).lineups
    assert [one.model for one in lineup.ranked] == ["quick", "slow"]


@pytest.mark.parametrize("batch_size", [1, 8])
def test_each_condition_has_its_own(batch_size: int) -> None:
    larger = [replace(one, case=replace(one.case, batch_size=8)) for one in (*QUICK, *SLOW)]
    found = analyse([*QUICK, *SLOW, *larger]).lineups
    assert batch_size in [one.batch_size for one in found]
    assert len(found) == 2


def test_a_noisy_model_does_not_tie_its_neighbours_together() -> None:
    steady, later = model("steady", 0.0010, ONE), model("later", 0.00104, TWO)
    noisy = model("noisy", 0.00102, (1.05, 0.96, 1.04, 0.95))
    (lineup,) = analyse([*steady, *noisy, *later]).lineups
    places = {one.model: row[0] for one, row in zip(lineup.ranked, lineup_cells(lineup), strict=True)}
    assert places["steady"] == "1."
    assert places["later"] != "1."
