"""From records to rows, sentences, warnings and refusals."""

import subprocess
import sys
import time
from dataclasses import replace

import pytest

from cnnbench.analysis import COLUMNS, Detail, Row, Totals, analyse
from cnnbench.record import Measurement, Record, Run
from cnnbench.report import WRITERS
from cnnbench.report.text.table import html_table
from cnnbench.spec import UsageError, Variant
from cnnbench.stats import wilson_interval
from tests.factories import (
    AMP,
    COMPILE,
    EAGER,
    LAST,
    MACHINE,
    case,
    counted,
    in_rounds,
    judged,
    once,
    record,
    run,
    timed,
    wave,
    whole_run,
)

SIX = (3.0, 5.0, 1.0, 6.0, 2.0, 4.0)


def rows_of(*items: Record | Run) -> dict[str, Row]:
    return {row.label(): row for row in analyse(items).rows}


def test_columns_are_those_of_the_contract() -> None:
    assert ", ".join(COLUMNS) == (
        "model, variant, device, precision, batch_size, task, input_shape, classes, dataset, status, params, "
        "trainable_params, macs, top1, top1_low, top1_high, latency_s, latency_low_s, latency_high_s, latency_p95_s, "
        "latency_p99_s, throughput_img_per_s, forward_s, backward_s, optimizer_s, reference, speedup, speedup_low, "
        "speedup_high, verdict, minimum_detectable_effect, peak_memory_bytes, compile_s, break_even_calls, "
        "peak_flops_utilisation, bound_by, max_relative_error, top1_agreement, samples, rounds, warnings, error"
    )


def test_a_row_holds_all_that_is_known() -> None:
    rows = rows_of(
        counted("a", params=10, macs=20),
        judged("a", 3, 4),
        record(case("a", batch_size=2), *timed(SIX, iterations_per_sample=5)),
        record(
            case("a", LAST, batch_size=2),
            *timed([value / 2 for value in SIX], iterations_per_sample=5),
            once("compile_s", 9.0),
        ),
    )
    share = wilson_interval(3, 4)
    assert rows["a channels_last cpu infer batch 2"] == Row(
        model="a",
        variant="channels_last",
        device="cpu",
        precision="fp32",
        batch_size=2,
        task="infer",
        input_shape="3x224x224",
        classes=1000,
        dataset="fashion_mnist",
        status="ok",
        params=10,
        trainable_params=10,
        macs=20,
        top1=0.75,
        top1_low=share.low,
        top1_high=share.high,
        latency_s=pytest.approx(3**0.5),  # type: ignore[arg-type]  # compares as a float does
        throughput_img_per_s=6 * 2 * 5 / (1.25 * 5 * 10.5),
        reference="a/eager",
        speedup=pytest.approx(2.0),  # type: ignore[arg-type]  # as above
        verdict="NOT DISTINGUISHABLE",
        compile_s=9.0,
        break_even_calls=9.0 / 1.75,
        samples=6,
        rounds=1,
        detail=Detail(
            delta=0.03,
            blocks=6,
            together=1,
            outliers=0,
            latencies_s=tuple(value / 2 for value in SIX),
        ),
    )
    reference = rows["a eager cpu infer batch 2"]
    assert (reference.reference, reference.speedup) == ("a/eager", None)


def test_percentiles_need_enough_passes() -> None:
    few = record(case("a"), *timed(SIX, passes=129))
    some = record(case("b"), *timed(SIX, passes=130))
    many = record(case("c"), *timed(SIX, passes=662))
    found = {
        row.model: (row.latency_p95_s is None, row.latency_p99_s is None) for row in analyse([few, some, many]).rows
    }
    assert found == {"a": (True, True), "b": (False, True), "c": (False, False)}
    note = "A p95 is shown from 130 timed passes on, and a p99 from 662 on."
    assert analyse([few]).notes == (note,)
    assert analyse([many]).notes == ()


def test_a_training_row_holds_the_parts_of_a_step() -> None:
    row = {row.label(): row for row in analyse(whole_run()).rows}["lenet eager cpu train batch 64"]
    assert row.forward_s == pytest.approx(0.3 * 0.0051 * 1.005)
    assert row.backward_s == pytest.approx(0.6 * 0.0051 * 1.005)
    assert row.optimizer_s == pytest.approx(0.1 * 0.0051 * 1.005)


def test_a_failed_cell_has_a_reason_on_one_line_and_no_latency() -> None:
    rows = rows_of(
        record(case("a"), *timed(SIX)),
        record(case("a", AMP), *timed(SIX), status="invalid", error="Not\nsynchronised:\t\x1b[31mby 40 ms"),
    )
    row = rows["a amp cpu infer batch 1"]
    assert (row.status, row.latency_s, row.speedup, row.reference) == ("invalid", None, None, "a/eager")
    assert row.error == "Not synchronised: \\x1b[31mby 40 ms"


def test_rows_stand_next_to_what_they_are_compared_with() -> None:
    order = [case("a"), case("b"), case("a", LAST, batch_size=8), case("a", LAST), case("a", batch_size=8)]
    assert [row.label() for row in analyse([record(what, *timed(SIX)) for what in order]).rows] == [
        "a eager cpu infer batch 1",
        "a channels_last cpu infer batch 1",
        "a channels_last cpu infer batch 8",
        "a eager cpu infer batch 8",
        "b eager cpu infer batch 1",
    ]


@pytest.mark.parametrize(
    ("reference", "expected"),
    [
        (None, {"a": "a/eager", "dir/b": "dir/b/eager"}),
        ("a", {"a": "a/eager", "dir/b": "a/eager"}),
        ("dir/b", {"a": "dir/b/eager", "dir/b": "dir/b/eager"}),
        ("dir/b/eager", {"a": "dir/b/eager", "dir/b": "dir/b/eager"}),
    ],
)
def test_the_reference_is_what_was_asked_for(reference: str | None, expected: dict[str, str]) -> None:
    report = analyse([run(reference=reference), record(case("a"), *timed(SIX)), record(case("dir/b"), *timed(SIX))])
    assert {row.model: row.reference for row in report.rows} == expected


def test_a_missing_reference_is_a_note() -> None:
    report = analyse([run(reference="b/amp"), record(case("a"), *timed(SIX, passes=700))])
    assert report.notes == ("No speed-up, because no reference was measured: a eager cpu infer batch 1.",)


def test_sentences_tell_the_verdict_on_each_variant() -> None:
    report = analyse(
        [
            run(wall_s=122.0, passes_s=72.0, compile_s=22.0),
            *in_rounds(case("a"), 0.1),
            *in_rounds(case("a", LAST), 0.08),
            *in_rounds(case("a", COMPILE), 0.1, (1.001, 1.003, 0.999, 1.0)),
            record(case("a", AMP), *timed([0.5])),
            *in_rounds(case("b"), 0.2),
        ]
    )
    first, *others = report.summary
    assert first.startswith("a: channels_last is FASTER than eager, 1.25x (1.25-1.25); compile is the SAME as eager")
    assert first.endswith("amp is NOT DISTINGUISHABLE from eager: too few rounds for an interval.")
    assert others[0].startswith("Shortest latency: a channels_last, 80.")
    assert "72 % of the wall time" in others[1]


def test_the_sentences_that_compare_come_first_in_the_summary() -> None:
    report = analyse(whole_run())
    assert len(report.differences) == 3
    assert report.summary[:3] == report.differences
    assert all(sentence.startswith(("resnet18 (", "lenet (")) for sentence in report.differences)


@pytest.mark.parametrize(
    ("broken", "fine", "sentence"),
    [
        (1, 0, "1 of 1 row is not ok: 1 oom."),
        (1, 2, "1 of 3 rows is not ok: 1 oom."),
        (2, 1, "2 of 3 rows are not ok: 2 oom."),
    ],
)
def test_rows_that_are_not_ok_are_counted(broken: int, fine: int, sentence: str) -> None:
    items = [record(case("a", batch_size=1 + at), status="oom") for at in range(broken)]
    items += [record(case("b", batch_size=1 + at), *timed(SIX)) for at in range(fine)]
    assert analyse(items).summary[-1] == sentence


def test_shared_note_appears_once_naming_all_models() -> None:
    def cannot(model: str, error: str) -> Record:
        return record(case(model, task="accuracy", dataset="d"), status="unsupported", error=error)

    report = analyse(
        [
            *[record(case(model), *timed(SIX), notes=("It\nspun.",)) for model in ("a", "b")],
            cannot("a", "2 wide"),
            cannot("b", "too slow"),
            cannot("c", "2 wide"),
            cannot("d", "2 wide"),
            *[judged(model, 1, 2) for model in ("e", "f")],
            *[counted(model, params=1, macs=1, notes=("Both agree.", f"Only {model}.")) for model in ("g", "h")],
        ]
    )
    assert report.notes == (
        "A p95 is shown from 130 timed passes on, and a p99 from 662 on.",
        "a, c and d have no accuracy on d (unsupported): 2 wide",
        "b has no accuracy on d (unsupported): too slow",
        "a eager cpu infer batch 1 and b eager cpu infer batch 1: It spun.",
    )
    assert report.training == ("e and f: Trained on 100 images of fashion_mnist.",)
    assert report.counting == ("g and h: Both agree.", "g: Only g.", "h: Only h.")


def test_sentences_name_the_model_of_another_reference() -> None:
    report = analyse([run(reference="a"), *in_rounds(case("a"), 0.1), *in_rounds(case("b"), 0.005)])
    assert report.summary[0] == "b: eager is FASTER than a eager, 20.00x (20.00-20.00)."


def test_limits_hide_rows_and_name_the_best_that_fits() -> None:
    small = [counted(model, params=10, macs=1) for model in ("b", "c", "d")]
    right = [judged("a", 99, 100), judged("b", 80, 100), judged("c", 90, 100)]
    latencies = (("a", 0.001), ("b", 0.002), ("c", 0.009), ("d", 0.02))
    rest = [
        counted("a", params=9_000_000, macs=1),
        *small,
        *[record(case(model), *wave(latency_s)) for model, latency_s in latencies],
        record(case("a", AMP), status="oom", error="full"),
    ]
    items: list[Record | Run] = [run(latency_max_s=0.01, params_max=5_000_000), *right, *rest]
    report = analyse(items)
    assert [row.label() for row in report.rows] == [
        "a amp cpu infer batch 1",
        "b eager cpu infer batch 1",
        "c eager cpu infer batch 1",
    ]
    limits = "latency at most 10.0 ms and at most 5,000,000 parameters"
    assert report.notes[0] == f"2 of 5 rows are hidden by the limits: {limits}."
    assert report.summary[0] == (
        f"Best that fits {limits}: c eager cpu infer batch 1, top-1 90.0 % (82.6-94.5), 9.04 ms."
    )
    none = analyse([run(latency_max_s=1e-6), *items[1:]])
    assert none.summary[0] == "No row is known to fit latency at most 1.00 us."
    fastest = analyse([run(latency_max_s=0.01), *rest])
    assert fastest.summary[0] == ("Best that fits latency at most 10.0 ms: a eager cpu infer batch 1, 1.00 ms.")


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        ("latency_s", ["b", "c", "a", "d"]),
        ("throughput_img_per_s", ["b", "c", "a", "d"]),
        ("model", ["a", "b", "c", "d"]),
        ("top1", ["c", "a", "b", "d"]),
    ],
)
def test_rows_are_sorted_best_first_and_unmeasured_last(column: str, expected: list[str]) -> None:
    items = [record(case(model), *timed([s])) for model, s in (("a", 3.0), ("b", 1.0), ("c", 2.0))]
    report = analyse([run(sort=column), *items, record(case("d"), status="oom"), judged("c", 1, 2)])
    assert [row.model for row in report.rows] == expected


def test_an_unknown_column_is_answered_with_close_ones() -> None:
    with pytest.raises(UsageError) as caught:
        analyse([run(sort="latency"), record(case("a"), *timed(SIX))])
    assert (
        str(caught.value)
        == "Unknown column to sort by 'latency'. Did you mean latency_s, latency_p99_s, latency_p95_s?"
    )


def test_options_come_from_the_last_run_and_times_are_added() -> None:
    report = analyse(
        [
            run(title="first", wall_s=None),
            record(case("a"), *timed(SIX)),
            run(title="first", wall_s=10.0, passes_s=5.0),
            run(title="second", command="again", sort="model", started="2026-02-01T00:00:00Z"),
            run(
                title="second",
                command="again",
                started="2026-02-01T00:00:00Z",
                wall_s=20.0,
                passes_s=10.0,
                compile_s=5.0,
            ),
        ]
    )
    assert (report.title, report.command, report.started) == ("second", "again", "2026-01-02T03:04:00Z")
    assert report.totals == Totals(wall_s=30.0, passes_s=15.0, compile_s=5.0)
    assert analyse([record(case("a"), *timed(SIX))]).totals is None


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("cnnbench compare a b --output 'x y' --seed 1", "cnnbench compare a b --seed 1"),
        ("cnnbench compare a -o x", "cnnbench compare a"),
        ("cnnbench compare -ox a", "cnnbench compare a"),
        ("cnnbench compare --output=x 'a b'", "cnnbench compare 'a b'"),
        ("cnnbench compare -o a -- -o", "cnnbench compare -- -o"),
        ("cnnbench  compare a -- -o x", "cnnbench  compare a -- -o x"),
        ("cnnbench compare a --output", "cnnbench compare a"),
        ("cnnbench.compare(['it\"s'])", "cnnbench.compare(['it\"s'])"),
        ("cnnbench compare -o x 'a", "cnnbench compare -o x 'a"),
        ("cnnbench  compare a", "cnnbench  compare a"),
        ("", ""),
    ],
)
def test_the_command_to_repeat_names_no_folder(given: str, shown: str) -> None:
    assert analyse([run(command=given), record(case("a"), *timed(SIX))]).command == shown


def test_unlike_environments_are_refused_by_field() -> None:
    other = replace(MACHINE, torch="2.12.0", cores=4)
    with pytest.raises(UsageError) as caught:
        analyse([record(case("a"), *timed(SIX)), record(case("b"), *timed(SIX), environment=other)])
    assert str(caught.value) == (
        "Records of different environments cannot be compared: torch is '2.11.0' and '2.12.0'; cores is 2 and 4 (in "
        "a eager cpu infer batch 1, started 2026-01-02T03:04:05Z, and in b eager cpu infer batch 1, started "
        "2026-01-02T03:04:05Z). Report each run on its own, or measure both again in one run."
    )


def test_unlike_threads_are_refused() -> None:
    with pytest.raises(UsageError) as caught:
        analyse([record(case("a"), *timed(SIX)), record(case("b", Variant(name="eager", threads=2)), *timed(SIX))])
    assert str(caught.value) == (
        "Cells with different threads cannot be compared: threads is 1 in a eager cpu infer batch 1 and 2 in "
        "b eager cpu infer batch 1. Report each run on its own, or measure both again with the same "
        "`--threads`."
    )


def test_nothing_measured_is_refused() -> None:
    with pytest.raises(UsageError, match=r"^No case has been measured yet, so there is nothing to report\."):
        analyse([run()])


def test_a_report_shows_itself_and_becomes_a_data_frame() -> None:
    report = analyse(whole_run())
    html = html_table(report.rows)
    assert "<script>" not in html
    assert "&lt;script&gt;" in html
    frame = report.to_dataframe()
    assert tuple(frame.columns) == COLUMNS
    assert list(frame["model"]) == [row.model for row in report.rows]


def test_the_reporting_arm_needs_no_torch() -> None:
    code = (
        "import sys, cnnbench.analysis, cnnbench.report, cnnbench.store, cnnbench.stats; "
        "print([name for name in ('torch', 'scipy', 'pandas', 'matplotlib') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_two_thousand_records_take_seconds_at_most() -> None:
    values = [1.0 + block / 100 for block in range(60)]
    found: tuple[Measurement, ...] = timed(values, passes=300)
    records = [
        record(case(f"model{model}", variant), *found, number=number)
        for model in range(250)
        for variant in (EAGER, LAST)
        for number in range(4)
    ]
    start = time.process_time()  # what other programs do meanwhile is not this one's fault
    report = analyse(records)
    texts = [writer.write(report) for writer in WRITERS.values()]
    assert time.process_time() - start < 5
    assert len(report.rows) == 500
    assert all(texts)
