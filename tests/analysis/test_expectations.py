"""What differs from what is expected: quantities, parts, and layers laid beside each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import msgspec
import pytest

from cnnbench.analysis.expectations import Difference, Observed, differences, merge_expectation, observation_of
from cnnbench.expectation_file import Compiled, Expectation, Trained
from cnnbench.record import Layer, Record
from tests.factories import COMPILE, LAYERS, a_layer, an_expectation, case, counted, once, record

COST = {"operator_calls": 7.0, "weight_bytes": 1600.0}
COMPILED = Compiled(graphs=1, graph_breaks=0, recompiles=0)
TRAINED = Trained(dataset="digits", epochs=3, seed=5, correct=340, tested=359)
DEEP = msgspec.structs.replace(an_expectation(), compiled=COMPILED, trained=TRAINED)


def counts() -> Record:
    made = counted("net", params=400, macs=3000, shape=(3, 4, 4), cost={**COST, "trainable_params": 300})
    return replace(made, layers=LAYERS)


def compiled(*, breaks: int = 0) -> Record:
    values = {"compile_warm_s": 9.5, "graphs": 1, "graph_breaks": breaks, "recompiles": 0, "max_relative_error": 1e-7}
    return record(case("net", COMPILE, role="numerics"), *[once(name, value) for name, value in values.items()])


def trained(correct: int) -> Record:
    made = case("net", task="accuracy", dataset="digits", seed=5)
    return record(made, once("correct", correct), once("tested", 359), once("top1", correct / 359))


def seen(*records: Record) -> Observed:
    return observation_of("net", records, seed=5, epochs=3)


def found(*, layers: Sequence[Layer] = LAYERS, params: int = 400) -> Observed:
    entry = msgspec.structs.replace(an_expectation(params=params), layers=tuple(layers))
    return Observed(model="net", found=entry)


def rows(expected: Expectation, of: Observed) -> list[tuple[str | None, str, object, object]]:
    made = differences(expected, of)
    assert {row.model for row in made} <= {"net"}
    return [(row.layer, row.quantity, row.expected, row.found) for row in made]


def test_records_say_what_came_of_a_network() -> None:
    assert seen(counts(), compiled(), trained(340)) == Observed(model="net", found=DEEP)
    assert differences(DEEP, seen(counts(), compiled(), trained(340))) == ()


def test_what_was_not_looked_at_does_not_differ() -> None:
    assert seen(counts()) == Observed(model="net", found=an_expectation())
    assert differences(DEEP, seen(counts())) == ()


def test_uncompilable_machine_reports_reason_without_difference() -> None:
    refused = record(case("net", COMPILE, role="numerics"), status="unsupported", error="install g++")
    assert seen(counts(), refused) == Observed(model="net", found=an_expectation(), impossible="install g++")
    assert differences(DEEP, seen(counts(), refused)) == ()


@pytest.mark.parametrize(
    ("broken", "row"),
    [
        (
            record(case("net", task="complexity"), status="failed", error="ValueError: no\nsuch layer"),
            (None, "counts", "ok", "failed: ValueError: no such layer"),
        ),
        (
            record(case("net", COMPILE, role="numerics"), status="invalid", error="NaN"),
            (None, "compiled", "ok", "invalid: NaN"),
        ),
        (
            record(case("net", task="accuracy", dataset="digits"), status="unsupported", error="4 classes"),
            (None, "trained", "ok", "unsupported: 4 classes"),
        ),
        (
            record(case("net", task="accuracy", dataset="digits"), status="timeout"),
            (None, "trained", "ok", "timeout: no reason was recorded"),
        ),
    ],
)
def test_a_part_that_failed_differs(broken: Record, row: tuple[object, ...]) -> None:
    records = (broken,) if broken.case.task == "complexity" else (counts(), broken)
    assert rows(DEEP, seen(*records)) == [row]


def test_quantities_of_the_whole_network_are_compared_exactly() -> None:
    other = Expectation(
        input_shape=(3, 4, 5),
        params=401,
        trainable_params=301,
        macs=3001,
        operator_calls=8,
        weight_bytes=1604,
        compiled=Compiled(graphs=2, graph_breaks=1, recompiles=1),
        trained=TRAINED,
        layers=LAYERS,
    )
    assert rows(DEEP, Observed(model="net", found=other)) == [
        (None, "input_shape", "3x4x4", "3x4x5"),
        (None, "params", 400, 401),
        (None, "trainable_params", 300, 301),
        (None, "macs", 3000, 3001),
        (None, "operator_calls", 7, 8),
        (None, "weight_bytes", 1600, 1604),
        (None, "graphs", 1, 2),
        (None, "graph_breaks", 0, 1),
        (None, "recompiles", 0, 1),
    ]


@pytest.mark.parametrize(("correct", "differs"), [(337, True), (338, False), (340, False), (342, False), (343, True)])
def test_right_pictures_may_differ_by_two(correct: int, *, differs: bool) -> None:
    assert rows(DEEP, seen(counts(), compiled(), trained(correct))) == (
        [(None, "correct", 340, correct)] if differs else []
    )


def test_a_part_that_is_new_is_one_row() -> None:
    assert rows(an_expectation(), seen(counts(), compiled(), trained(340))) == [
        (None, "compiled", None, "graphs 1, graph_breaks 0, recompiles 0"),
        (None, "trained", None, "dataset digits, epochs 3, seed 5, correct 340, tested 359"),
    ]


def test_another_number_of_tested_pictures_differs() -> None:
    other = msgspec.structs.replace(DEEP, trained=msgspec.structs.replace(TRAINED, tested=358))
    assert rows(DEEP, Observed(model="net", found=other)) == [(None, "tested", 359, 358)]


CONV = a_layer("0", "Conv2d", (1, 6, 8, 8), params=60, macs=900)
RELU = a_layer("1", "ReLU", (1, 6, 8, 8))
POOL = a_layer("2", "MaxPool2d", (1, 6, 4, 4))
LINE = a_layer("3", "Linear", (1, 10), params=970, macs=960)
STACK = (CONV, RELU, POOL, LINE)


def named(layer: Layer, name: str) -> Layer:
    return a_layer(name, layer.kind, layer.output_shape, params=layer.params, macs=layer.macs)


def layers(expected: Sequence[Layer], now: Sequence[Layer]) -> list[tuple[str | None, str, object, object]]:
    return rows(msgspec.structs.replace(an_expectation(), layers=tuple(expected)), found(layers=now))


def test_a_layer_more_is_one_row_and_the_names_after_it_another() -> None:
    more = a_layer("1", "Conv2d", (1, 6, 8, 8), params=330, macs=20_736)
    now = (CONV, more, named(RELU, "2"), named(POOL, "3"), named(LINE, "4"))
    assert layers(STACK, now) == [
        ("1", "layer", None, "Conv2d 1x6x8x8, params 330, macs 20,736"),
        ("2 to 4", "name", "1 to 3", "2 to 4"),
    ]


def test_a_layer_less_is_one_row() -> None:
    assert layers(STACK, (CONV, POOL, LINE)) == [("1", "layer", "ReLU 1x6x8x8, params 0, macs 0", None)]


def test_a_layer_that_changed_is_named_with_what_changed() -> None:
    wide = a_layer("0", "Conv2d", (1, 6, 8, 8), params=66, macs=990)
    small = a_layer("2", "MaxPool2d", (1, 6, 3, 3))
    assert layers(STACK, (wide, RELU, small, LINE)) == [
        ("0", "params", 60, 66),
        ("0", "macs", 900, 990),
        ("2", "output_shape", "1x6x4x4", "1x6x3x3"),
    ]


def test_layers_of_another_kind_are_rows_of_their_own() -> None:
    other = a_layer("1", "GELU", (1, 6, 8, 8))
    assert layers(STACK, (CONV, other, POOL, LINE)) == [
        ("1", "layer", "ReLU 1x6x8x8, params 0, macs 0", None),
        ("1", "layer", None, "GELU 1x6x8x8, params 0, macs 0"),
    ]


def test_a_layer_more_before_layers_that_change_with_it() -> None:
    more = a_layer("1", "Conv2d", (1, 6, 6, 6), params=330, macs=11_664)
    now = (CONV, more, a_layer("2", "ReLU", (1, 6, 6, 6)), a_layer("3", "MaxPool2d", (1, 6, 3, 3)), named(LINE, "4"))
    assert layers(STACK, now) == [
        ("1", "layer", None, "Conv2d 1x6x6x6, params 330, macs 11,664"),
        ("2", "name", "1", "2"),
        ("2", "output_shape", "1x6x8x8", "1x6x6x6"),
        ("3", "name", "2", "3"),
        ("3", "output_shape", "1x6x4x4", "1x6x3x3"),
        ("4", "name", "3", "4"),
    ]


def test_only_names_that_changed_are_told() -> None:
    now = (CONV, named(RELU, "act"), POOL, named(LINE, "head"))
    assert layers(STACK, now) == [("act", "name", "1", "act"), ("head", "name", "3", "head")]


def test_accepting_takes_found_values_and_keeps_unchecked_parts() -> None:
    counts_only = an_expectation(params=500)
    assert merge_expectation(None, DEEP) is DEEP
    assert merge_expectation(DEEP, counts_only) == msgspec.structs.replace(DEEP, params=500)
    better = msgspec.structs.replace(DEEP, trained=msgspec.structs.replace(TRAINED, correct=350))
    assert merge_expectation(DEEP, better) == better
    other = msgspec.structs.replace(DEEP, compiled=Compiled(graphs=2, graph_breaks=1, recompiles=0))
    assert merge_expectation(DEEP, other) == other


def test_a_training_as_good_as_expected_changes_no_file() -> None:
    near = msgspec.structs.replace(DEEP, trained=msgspec.structs.replace(TRAINED, correct=341))
    assert merge_expectation(DEEP, near) == DEEP


def test_differences_are_plain_values() -> None:
    assert differences(DEEP, found(params=401)) == (
        Difference(model="net", layer=None, quantity="params", expected=400, found=401),
    )
