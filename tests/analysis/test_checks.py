"""What the analysis does not believe or could not have: wrong scores, more speed than there is, failures beside."""

from dataclasses import replace

import pytest

from cnnbench.analysis import RowWarning, analyse, cell_status
from cnnbench.record import Measurement, Record, RecordedWarning, Run
from cnnbench.spec import Role, Variant
from tests.factories import (
    BF16,
    COST,
    EAGER,
    LAST,
    beside,
    case,
    ceilings,
    control_workload,
    counted,
    in_rounds,
    numerics,
    record,
    run,
    timed,
    wave,
)


def test_variant_with_wrong_scores_gets_no_speedup_or_best() -> None:
    wrong = case("a", BF16)
    report = analyse(
        [
            run(latency_max_s=10.0),
            *in_rounds(case("a"), 1.0),
            *in_rounds(wrong, 0.5),
            record(beside(wrong, "numerics"), *numerics(0.25, 0.024, agreed=16)),
            *in_rounds(case("b"), 2.0),
        ]
    )
    row = next(row for row in report.rows if row.variant == "bf16")
    assert (row.status, row.speedup, row.verdict, row.break_even_calls) == ("ok", None, None, None)
    assert (row.max_relative_error, row.top1_agreement, row.warnings) == (0.25, 0.5, "numerics_failed")
    warning = RecordedWarning(
        code="numerics_failed",
        fact="its largest relative error against fp64 is 0.25, and 0.024 is allowed",
        advice="Its speed-up is not shown, because its outputs failed the numerical check.",
    )
    assert report.warnings == (RowWarning(row="a bf16 cpu infer batch 1", warning=warning),)
    (best,) = report.summary
    assert best.startswith("Best that fits latency at most 10.0 s: a eager cpu infer batch 1, 1.0")


def test_training_variant_in_wrong_layout_gets_no_speedup() -> None:
    what = case("a", LAST, task="train")
    checked = record(beside(what, "numerics"), status="invalid", error="the input has the strides (1, 2)")
    report = analyse([*in_rounds(case("a", task="train"), 1.0), *in_rounds(what, 0.5), checked])
    row = report.rows[1]
    found = (row.variant, row.speedup, row.verdict, row.warnings, row.max_relative_error)
    assert found == ("channels_last", None, None, "numerics_failed", None)
    assert report.warnings[0].warning.fact == "the input has the strides (1, 2)"
    assert not any("numerical check" in note for note in report.notes)


def test_reference_with_wrong_scores_gives_no_speedups() -> None:
    items = [*in_rounds(case("a"), 1.0), *in_rounds(case("a", LAST), 0.5)]
    report = analyse([*items, record(beside(case("a"), "numerics"), *numerics(1.0, 0.5))])
    assert [row.speedup for row in report.rows] == [None, None]


def test_more_speed_than_the_machine_has_is_invalid() -> None:
    items: list[Record | Run] = [
        counted("a", params=1, macs=10**9, cost=COST),
        *[
            record(case("a", variant), *timed([latency_s] * 3), number=at)
            for at in range(3)
            for variant, latency_s in ((EAGER, 0.02), (LAST, 0.018))
        ],
        ceilings(1e11),
    ]
    eager, last = analyse(items).rows
    assert eager.peak_flops_utilisation == pytest.approx(1.0)
    assert (eager.status, eager.bound_by) == ("ok", "compute")
    assert (last.status, last.latency_s, last.speedup, last.peak_flops_utilisation) == ("invalid", None, None, None)
    assert last.error == (
        "It would be 1.11 times the machine's peak: 111 G/s floating-point operations, but at most 100 G/s were "
        "measured. Either it does not compute what was counted, or the clock did not wait for the device."
    )
    found = cell_status(items)
    assert (found[case("a", LAST).key()], found[case("a").key()]) == ("invalid", "ok")


def test_the_status_of_a_cell_is_that_of_its_row() -> None:
    items: list[Record | Run] = [
        run(),
        counted("a", params=1, macs=2),
        *in_rounds(case("a"), 0.01),
        record(case("a"), number=4, status="timeout"),
        record(case("b"), status="failed"),
        record(case("b"), number=1, status="oom"),
        record(case("c"), status="oom"),
        record(case("c"), *timed([1.0])),  # resumed: the same round again
        record(case("d"), status="not started"),
        record(case("a", task="accuracy", dataset="d"), status="unsupported"),
    ]
    expected = {
        case("a", task="complexity").key(): "ok",
        case("a").key(): "ok",
        case("b").key(): "failed",
        case("c").key(): "ok",
        case("d").key(): "not started",
        case("a", task="accuracy", dataset="d").key(): "unsupported",
    }
    assert cell_status(items) == expected
    assert [(row.model, row.status) for row in analyse(items).rows] == [
        (model, expected[case(model).key()]) for model in ("a", "b", "c", "d")
    ]


def test_side_measurements_make_no_row_and_no_cell() -> None:
    one = case("a")
    items = [
        *in_rounds(one, 0.01),
        *in_rounds(beside(one, "aa_control"), 0.01),
        *in_rounds(beside(one, "lineup"), 0.01),
        record(beside(one, "control_workload"), *control_workload()),
        ceilings(),
        record(beside(one, "memory"), status="oom", error="full"),
    ]
    assert [row.variant for row in analyse(items).rows] == ["eager"]
    assert list(cell_status(items)) == [one.key()]


def test_what_could_not_be_had_beside_the_cells_is_a_note() -> None:
    def failed(role: Role, variant: Variant, error: str | None) -> Record:
        return record(beside(case("a", variant), role), status="failed", error=error)

    report = analyse(
        [
            record(case("a"), *wave(1.0, passes=700)),
            record(case("a", LAST), *wave(1.0, passes=700)),
            failed("memory", EAGER, "no\n/proc"),
            failed("memory", LAST, "no\n/proc"),
            failed("numerics", EAGER, None),
            failed("aa_control", EAGER, "it died"),
            failed("control_workload", EAGER, "it died"),
            failed("lineup", EAGER, "it died"),
            replace(ceilings(), status="timeout", error="slow"),
        ]
    )
    eager = "a eager cpu infer batch 1"
    assert report.notes == (
        f"No peak memory (failed: no /proc): {eager} and a channels_last cpu infer batch 1",
        f"No numerical check (failed: no reason was recorded): {eager}",
        f"No A/A control (failed: it died): {eager}",
        f"No control workload (failed: it died): {eager}",
        f"No place in the line-up (failed: it died): {eager}",
        "No ceilings of the machine (timeout: slow): cpu",
    )


def test_throughput_is_all_pictures_over_all_time() -> None:
    def taken(number: int, iterations_per_sample: int, *sample_s: float) -> Record:
        blocks = tuple(range(len(sample_s)))
        latencies = Measurement(
            quantity="latency_s",
            samples=(1.0,) * len(sample_s),
            iterations_per_sample=iterations_per_sample,
            blocks=blocks,
        )
        whole = Measurement(
            quantity="sample_s", samples=sample_s, iterations_per_sample=iterations_per_sample, blocks=blocks
        )
        return record(case("a", batch_size=4), latencies, whole, number=number)

    stalled = analyse([taken(0, 1, 1.0, 1.0, 8.0), taken(1, 5, 2.0)]).rows[0]
    assert stalled.throughput_img_per_s == 4 * (3 + 5) / 12.0
