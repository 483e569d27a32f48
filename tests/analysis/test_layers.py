"""Layer tables of hand-made records."""

from dataclasses import replace

import pytest

from cnnbench.analysis import analyse
from cnnbench.record import Layer, Measurement, Record
from tests.factories import beside, case, record, wave


def layered(*seconds: float, pass_s: float = 0.1) -> Record:
    layers = tuple(
        Layer(name=f"l{at}", kind="Conv2d", output_shape=(1, 2, 3, 3), params=10 * at, macs=100 * at)
        for at in range(len(seconds))
    )
    found = (
        Measurement(quantity="layer_s", samples=seconds),
        Measurement(quantity="layered_pass_s", samples=(pass_s,) * 7),
    )
    return replace(record(beside(case("net"), "layers"), *found), layers=layers)


def test_shares_are_of_the_pass_and_of_the_sums() -> None:
    (table,) = analyse([record(case("net"), *wave(0.1)), layered(0.01, 0.02, 0.05)]).layers
    assert (table.model, table.device, table.batch_size, table.pass_s) == ("net", "cpu", 1, 0.1)
    assert table.between_share == pytest.approx(0.2)
    assert [row.time_share for row in table.rows] == pytest.approx([0.1, 0.2, 0.5])
    assert [row.macs_share for row in table.rows] == pytest.approx([0.0, 1 / 3, 2 / 3])
    assert [row.params_share for row in table.rows] == pytest.approx([0.0, 1 / 3, 2 / 3])
    assert table.gist() == (
        "A pass takes 100 ms with the clock in every layer; most of it: l2 (Conv2d, 50.0 %), l1 (Conv2d, 20.0 %) and "
        "l0 (Conv2d, 10.0 %). 20.0 % is outside the layers."
    )


def test_one_that_failed_has_a_note_and_no_table() -> None:
    failed = record(beside(case("net"), "layers"), status="timeout", error="too late")
    report = analyse([record(case("net"), *wave(0.1)), failed])
    assert report.layers == ()
    assert "No time by layer (timeout: too late): net eager cpu infer batch 1" in report.notes
