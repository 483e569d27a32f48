"""What joins a row: counts of its input shape, and the accuracy of its weights and images."""

import pytest

from cnnbench.analysis import Row, analyse
from cnnbench.record import Record
from tests.factories import AMP, LAST, case, counted, judged, record, timed

SIX = (1.0, 2.0, 3.0, 4.0, 5.0, 6.0)


def test_a_model_without_timings_has_a_row() -> None:
    only_counted, only_judged = analyse([counted("a", params=1, macs=2), judged("b", 1, 2)]).rows
    assert only_counted == Row(
        model="a", input_shape="3x224x224", classes=1000, status="ok", params=1, trainable_params=1, macs=2
    )
    assert (only_judged.label(), only_judged.top1, only_judged.dataset) == ("b eager cpu batch 1", 0.5, "fashion_mnist")


def test_an_accuracy_that_cannot_be_had_is_a_note() -> None:
    cannot = record(case("a", task="accuracy", dataset="cifar10"), status="unsupported", error="10 classes,\n9 given")
    report = analyse([record(case("a"), *timed(SIX, passes=700)), cannot])
    assert report.notes == ("a has no accuracy on cifar10 (unsupported): 10 classes, 9 given",)
    assert (report.rows[0].top1, report.rows[0].dataset) == (None, None)


@pytest.mark.parametrize(
    ("other", "label"),
    [
        (judged("a", 1, 2, shape=(1, 28, 28)), "1x28x28"),
        (judged("a", 1, 2, weights="a.safetensors"), "3x224x224"),
    ],
)
def test_accuracy_of_other_weights_or_shape_gets_own_row(other: Record, label: str) -> None:
    timed_row, own = analyse([record(case("a"), *timed(SIX)), other]).rows
    assert (timed_row.task, timed_row.top1, timed_row.top1_low, timed_row.dataset) == ("infer", None, None, None)
    assert (own.task, own.input_shape, own.top1, own.latency_s) == (None, label, 0.5, None)


def test_accuracy_joins_rows_with_same_weights_and_shape() -> None:
    rows = analyse(
        [
            record(case("a"), *timed(SIX)),
            record(case("a", shape=(1, 28, 28)), *timed(SIX)),
            record(case("a", AMP, weights="w"), *timed(SIX)),
            judged("a", 1, 4, weights="w"),
            judged("a", 2, 4, shape=(1, 28, 28)),
            judged("a", 3, 4),
        ]
    ).rows
    assert [(row.variant, row.input_shape, row.top1) for row in rows] == [
        ("eager", "3x224x224", 0.75),
        ("eager", "1x28x28", 0.5),
        ("amp", "3x224x224", 0.25),
    ]


def test_counts_belong_to_their_input_shape() -> None:
    small = counted("a", params=1, macs=2, shape=(3, 32, 32))
    row = analyse([small, record(case("a"), *timed(SIX))]).rows[0]
    assert (row.params, row.macs) == (None, None)


def test_tested_names_variant_when_other_rows_share_accuracy() -> None:
    eager, last = record(case("a"), *timed(SIX)), record(case("a", LAST), *timed(SIX))
    assert analyse([eager, last, judged("a", 1, 2)]).tested == ("eager",)
    assert analyse([eager, judged("a", 1, 2)]).tested == ()
    assert analyse([eager, last]).tested == ()
