"""Launches and merged runs: which records make a cell, which samples are paired, and what failed launches do."""

from dataclasses import replace

import pytest

from cnnbench.analysis import Row, RowCaution, Totals, analyse, cell_status
from cnnbench.record import Caution, Measurement, Record, Run
from tests.made import (
    AMP,
    COMPILE,
    EAGER,
    LAST,
    case,
    counted,
    record,
    run,
    timed,
)

SIX = (1.0, 2.0, 3.0, 4.0, 5.0, 6.0)


def rows_of(*items: Record | Run) -> dict[str, Row]:
    return {row.label(): row for row in analyse(items).rows}


def test_launches_are_joined_and_paired_within_each() -> None:
    items = [
        record(case("a", variant), *timed([value * factor * (1 + launch) for value in SIX]), launch=launch)
        for launch in range(3)
        for variant, factor in ((EAGER, 1.0), (LAST, 4.0))
    ]
    row = rows_of(*items)["a channels_last cpu infer batch 1"]
    assert (row.samples, row.launches, row.speedup, row.speedup_low, row.speedup_high) == (18, 3, 0.25, 0.25, 0.25)


def test_throughput_is_all_pictures_over_all_time() -> None:
    def launch(number: int, units: int, *sample_s: float) -> Record:
        blocks = tuple(range(len(sample_s)))
        latencies = Measurement(quantity="latency_s", samples=(1.0,) * len(sample_s), units=units, blocks=blocks)
        whole = Measurement(quantity="sample_s", samples=sample_s, units=units, blocks=blocks)
        return record(case("a", batch_size=4), latencies, whole, launch=number)

    stalled = analyse([launch(0, 1, 1.0, 1.0, 8.0), launch(1, 5, 2.0)]).rows[0]
    assert stalled.throughput_img_per_s == 4 * (3 + 5) / 12.0


def test_same_blocks_of_other_launches_are_not_paired() -> None:
    rows = rows_of(
        record(case("a"), *timed(SIX), launch=0),
        record(case("a", LAST), *timed(SIX), launch=1),
        record(case("a", AMP, seed=7), *timed(SIX), launch=0),
    )
    assert rows["a channels_last cpu infer batch 1"].speedup is None
    assert rows["a amp cpu infer batch 1"].speedup is None


def test_cells_that_were_not_measured_together_are_not_paired() -> None:
    again = "2026-01-02T09:00:00Z"
    report = analyse(
        [
            record(case("a"), *timed(SIX, passes=700)),
            record(case("a", LAST), *timed(SIX, passes=700), started=again),
            record(case("a", COMPILE), *timed(SIX, passes=700)),
            record(case("a", AMP), status="oom", error="full", started=again),
        ]
    )
    found = {row.variant: (row.reference, row.speedup, row.speedup_low) for row in report.rows}
    assert found == {
        "eager": ("a/eager", None, None),
        "channels_last": ("a/eager", None, None),
        "compile": ("a/eager", 1.0, 1.0),
        "amp": ("a/eager", None, None),
    }
    assert report.notes == (
        "Not measured together with the reference, so there is no speed-up of: a channels_last cpu infer batch 1.",
    )
    assert report.summary[0] == "a: compile is the SAME as eager within 3 %, 1.000x (1.000-1.000) (within one launch)."


def test_only_launches_that_were_measured_together_are_paired() -> None:
    slow = [10 * value for value in SIX]
    report = analyse(
        [
            record(case("a"), *timed(SIX, passes=700)),
            record(case("a", LAST), *timed(SIX)),
            record(case("a"), *timed(slow), launch=1),
            record(case("a", LAST), *timed(SIX, passes=700), launch=1, started="2026-01-02T09:00:00Z"),
        ]
    )
    row = report.rows[1]
    assert (row.variant, row.launches, row.samples, row.speedup) == ("channels_last", 2, 12, 1.0)
    assert report.notes == ()


def pair(eager_s: float, last_s: float, started: str) -> list[Record | Run]:
    """Return the items of a run of two cells."""
    return [
        run(started=started, wall_s=10.0, passes_s=4.0),
        record(case("a"), *timed([eager_s] * 6), started=started),
        record(case("a", LAST), *timed([last_s] * 6), started=started),
    ]


@pytest.mark.parametrize("second", ["2026-01-02T09:00:00Z", "2026-01-02T03:00:00Z"])
def test_runs_that_are_merged_are_further_launches_paired_within_each(second: str) -> None:
    files = [pair(1.0, 0.5, "2026-01-02T03:00:00Z"), pair(2.0, 1.0, second), pair(4.0, 2.0, "2026-01-03T03:00:00Z")]
    report = analyse(*files)
    rows = [(r.variant, r.launches, r.samples, r.latency_s, r.speedup, r.speedup_high) for r in report.rows]
    assert rows == [("eager", 3, 18, 2.0, None, None), ("channels_last", 3, 18, 1.0, 2.0, 2.0)]
    assert report.totals == Totals(wall_s=30.0, passes_s=12.0)


def test_a_record_supersedes_only_within_its_file() -> None:
    failed, mended = record(case("a"), status="oom", error="full"), record(case("a"), *timed([1.0]))
    other = record(case("a"), *timed([3.0]))
    row = analyse([failed, mended], [other]).rows[0]
    assert (row.status, row.launches, row.latency_s, row.warnings) == ("ok", 2, 2.0, None)
    row = analyse([failed], [other]).rows[0]
    assert (row.status, row.launches, row.latency_s, row.warnings) == ("ok", 1, 3.0, "launch_failed")


def test_cells_of_different_files_are_not_paired() -> None:
    report = analyse([record(case("a"), *timed(SIX, passes=700))], [record(case("a", LAST), *timed(SIX, passes=700))])
    assert [row.speedup for row in report.rows] == [None, None]
    assert report.notes == (
        "Not measured together with the reference, so there is no speed-up of: a channels_last cpu infer batch 1.",
    )


def test_a_record_that_stands_in_two_files_counts_once() -> None:
    items = pair(1.0, 0.5, "2026-01-02T03:00:00Z")
    assert analyse(items, items[1:]) == analyse(items)


def test_the_status_of_a_cell_is_that_of_its_row() -> None:
    broken, worse = record(case("c"), status="failed"), record(case("c"), launch=1, status="oom")
    items: list[Record | Run] = [
        run(),
        counted("a", params=1, macs=2),
        record(case("a"), *timed(SIX)),
        record(case("a"), launch=1, status="timeout"),
        record(case("b"), *timed(SIX)),
        record(case("b"), launch=1, status="invalid"),
        broken,
        worse,
        record(case("d"), status="oom"),
        record(case("d"), *timed(SIX)),
        record(case("a", task="accuracy", dataset="d"), status="unsupported"),
    ]
    expected = {
        case("a", task="complexity").key(): "ok",
        case("a").key(): "ok",
        case("b").key(): "invalid",
        case("c").key(): "oom",
        case("d").key(): "ok",
        case("a", task="accuracy", dataset="d").key(): "unsupported",
    }
    assert cell_status(items) == expected
    assert [(row.model, row.status) for row in analyse(items).rows] == [
        (what.model, expected[what.key()]) for what in (case("a"), case("b"), case("c"), case("d"))
    ]
    assert cell_status([broken], [worse], [record(case("c"), *timed(SIX))]) == {case("c").key(): "ok"}


def test_voided_blocks_count_for_nothing() -> None:
    latency, sample, passes = timed([*SIX, 99.0], units=1, passes=14)
    assert passes.blocks[6] == 6
    rows = rows_of(
        record(case("a"), replace(latency, voided=(6,)), sample, passes),
        record(case("a", LAST), *timed([*SIX, 99.0], units=1)),
    )
    row = rows["a eager cpu infer batch 1"]
    assert (row.samples, row.latency_s, row.latency_high_s) == (6, 3.5, 6.0)
    assert row.throughput_img_per_s == 6 / (1.25 * 21)
    assert rows["a channels_last cpu infer batch 1"].speedup == 1.0


def test_one_failed_launch_is_a_warning_and_an_invalid_one_fails_the_cell() -> None:
    good = record(case("a"), *timed(SIX))
    bad = record(case("a"), launch=1, status="timeout", error="No answer within 600 s.")
    report = analyse([good, bad])
    caution = Caution(
        code="launch_failed",
        fact="1 of 2 launches gave no measurement (timeout: No answer within 600 s.)",
        advice="The row rests on the other launches; resume the run to repeat the failed ones.",
    )
    assert report.warnings == (RowCaution(row="a eager cpu infer batch 1", caution=caution),)
    row = report.rows[0]
    assert (row.status, row.launches, row.warnings, row.error) == ("ok", 1, "launch_failed", None)
    assert analyse([good, replace(bad, status="invalid")]).rows[0].status == "invalid"


def test_a_later_record_of_a_case_supersedes_the_earlier_one() -> None:
    row = analyse([record(case("a"), status="oom", error="full"), record(case("a"), *timed(SIX))]).rows[0]
    assert (row.status, row.error, row.launches, row.latency_s) == ("ok", None, 1, 3.5)
