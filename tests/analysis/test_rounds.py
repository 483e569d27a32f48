"""Rounds joined to cells: what is paired, what supersedes what, what a failed or disturbed round does to its row."""

import math
from dataclasses import replace

import pytest

from cnnbench.analysis import analyse
from cnnbench.analysis.cells import gather
from cnnbench.record import DISTURBED, Measurement, RecordedWarning, Status
from tests.factories import EMULATED, LAST, case, in_rounds, record, run, timed

NET, OTHER = case("net"), case("net", LAST)
BASE = in_rounds(NET, 0.010)
FAST = in_rounds(OTHER, 0.008)


def test_rounds_of_one_number_are_paired() -> None:
    rows = analyse([*BASE, *FAST]).rows
    assert [(row.rounds, row.detail.blocks) for row in rows] == [(4, None), (4, 48)]
    assert rows[1].speedup == pytest.approx(1.25)


def test_rounds_that_only_one_cell_has_are_left_out() -> None:
    later = [replace(one, round=one.round + 2) for one in FAST]
    row = analyse([*BASE, *later]).rows[1]
    assert (row.rounds, row.detail.blocks) == (4, 24)
    assert (row.speedup_low, row.verdict) == (None, "NOT DISTINGUISHABLE")  # two rounds in common


def test_cells_without_a_common_round_are_not_compared() -> None:
    apart = [replace(one, round=one.round + 9) for one in FAST]
    report = analyse([*BASE, *apart])
    assert report.rows[1].speedup is None
    assert "not measured together with the reference" in " ".join(report.notes)


def test_rounds_of_merged_runs_are_further_rounds() -> None:
    again = [replace(one, started="2026-02-02T00:00:00Z") for one in (*BASE, *FAST)]
    row = analyse([*BASE, *FAST], again).rows[1]
    assert (row.rounds, row.detail.blocks) == (8, 96)


def test_a_copied_run_counts_once() -> None:
    assert analyse([*BASE, *FAST], [*BASE, *FAST]).rows[1].rounds == 4


def test_the_last_record_of_a_round_counts() -> None:
    again = replace(record(NET, *timed([9.0] * 3)), round=3)
    (cell,) = gather([[*BASE, again]])
    assert max(cell.samples("latency_s")) == 9.0
    assert len(cell.records) == 4


def test_the_latency_rests_on_the_rounds() -> None:
    row = analyse(in_rounds(NET, 0.010, (1.0, 1.1, 0.9, 1.0))).rows[0]
    centers = [math.log(factor) for factor in (1.0, 1.1, 0.9, 1.0)]
    assert row.latency_s == pytest.approx(0.01005 * math.exp(sum(centers) / 4), rel=1e-3)
    assert row.latency_low_s is not None
    assert row.latency_high_s is not None
    assert row.latency_low_s < 0.0095
    assert row.latency_high_s > 0.0105
    assert analyse(BASE[:2]).rows[0].latency_low_s is None


@pytest.mark.parametrize(
    ("states", "expected"),
    [
        (("ok", "failed"), "ok"),
        (("timeout", "ok"), "ok"),
        (("timeout", "failed"), "timeout"),
        (("failed", "not started"), "failed"),
        (("not started",), "not started"),
    ],
)
def test_a_cell_is_ok_if_a_round_is(states: tuple[Status, ...], expected: Status) -> None:
    records = [
        record(
            NET,
            *(timed([1.0]) if state == "ok" else ()),
            number=at,
            status=state,
            error=None if state == "ok" else state,
        )
        for at, state in enumerate(states)
    ]
    row = analyse([run(), *records]).rows[0]
    assert (row.status, row.error) == (expected, None if expected == "ok" else expected)


def test_a_failed_round_is_a_warning() -> None:
    lost = record(NET, number=4, status="failed", error="ValueError: boom")
    (warning,) = analyse([*BASE, lost]).warnings
    assert warning.warning == RecordedWarning(
        code="round_failed",
        fact="1 of 5 rounds gave no measurement (failed: ValueError: boom)",
        advice="The row rests on the other rounds.",
    )


def test_a_warning_of_every_round_is_said_once() -> None:
    warned = [replace(one, warnings=(EMULATED,)) for one in BASE]
    assert [warning.warning for warning in analyse(warned).warnings] == [EMULATED]
    assert analyse(warned).rows[0].warnings == "emulated"


@pytest.mark.parametrize(("rejected", "warned"), [(2, False), (3, True)])
def test_a_row_is_marked_from_a_fifth_voided_samples_on(rejected: int, warned: bool) -> None:  # noqa: FBT001  # a case
    samples = Measurement(
        quantity="latency_s", samples=(1.0,) * 12, blocks=tuple(range(12)), rejected=tuple(range(rejected))
    )
    steal = Measurement(quantity="steal_share", samples=(0.0,) * 12, blocks=tuple(range(12)))
    found = [w.warning for w in analyse([record(NET, samples, steal)]).warnings]
    fact = "3 of 12 samples were rejected, because the system gave the cores to other processes"
    assert found == ([RecordedWarning(code="disturbed", fact=fact, advice=DISTURBED)] if warned else [])


def test_voided_blocks_count_for_nothing() -> None:
    latency, *rest = BASE[0].measurements
    spoilt = replace(latency, samples=(9.0, *latency.samples[1:]), rejected=(0,))
    first = replace(BASE[0], measurements=(spoilt, *rest))
    (cell,) = gather([[first]])
    assert max(cell.samples("latency_s")) < 1.0
    assert cell.rejected() is None  # nothing of the environment was read
