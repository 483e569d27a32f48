"""Printed figures beside measured ones: digits, intervals, and what is said of those that nothing measures."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cnnbench.analysis.published_results import Reproduced, reproduce
from cnnbench.models.published import printed
from cnnbench.record import Layer, Measurement, Record
from cnnbench.spec import DEFAULT_RECIPE, Erratum, ModelSpec, Published
from tests.factories import case, once, record

RECIPE = replace(DEFAULT_RECIPE, dataset="mnist", batch_size=10, epochs=2)


def spec(*figures: Published, errata: tuple[Erratum, ...] = ()) -> ModelSpec:
    return ModelSpec(
        name="net",
        family="made",
        source="here",
        input_shape=(3, 8, 8),
        build=lambda: None,  # type: ignore[arg-type,return-value]
        recipe=RECIPE,
        printed=figures,
        errata=errata,
    )


LAYERS = (
    Layer(name="features.0", kind="Conv2d", output_shape=(1, 4, 6, 6), params=112, macs=9),
    Layer(name="features.0.1", kind="ReLU", output_shape=(1, 4, 6, 6), params=0, macs=0),
    Layer(name="classifier", kind="Linear", output_shape=(1, 2), params=10, macs=8),
)


def counted(size: int = 8, macs: float = 185_000.0) -> Record:
    found = [
        once("params", 122),
        once("trainable_params", 10),
        once("macs_torchinfo", macs),
        once("torchinfo_input_bytes", 10_000),
        once("torchinfo_output_bytes", 44_000),
        once("torchinfo_param_bytes", 488),
    ]
    return replace(record(case("net", task="complexity", shape=(3, size, size)), *found), layers=LAYERS)


def trained(seed: int, *, losses: tuple[float, ...] = (0.5, 0.25), top1: float = 0.9) -> Record:
    found = (
        Measurement(quantity="train_loss", samples=losses),
        Measurement(quantity="train_top1", samples=(0.8, 0.9)),
        Measurement(quantity="val_top1", samples=(0.6, 0.7)),
        once("trained", 1_234),
        once("top1", top1),
    )
    made = case("net", task="accuracy", dataset="mnist", shape=(3, 8, 8), seed=seed)
    return record(made, *found, notes=("Trained.", "Validated on the test.", "JPEG."))


def only(figures: tuple[Published, ...], *records: Record, missing: str = "", **more: object) -> list[Reproduced]:
    return reproduce([spec(*figures, **more)], list(records), {"net": missing})  # type: ignore[arg-type]


def verdicts(rows: list[Reproduced]) -> dict[str, tuple[str | None, str]]:
    return {row.quantity: (row.measured, row.verdict) for row in rows}


def test_network_figures_are_compared_in_printed_digits() -> None:
    figures = (
        *printed(params=122, trainable_params=10, non_trainable_params=112, mult_adds_m=0.19),
        *printed(input_mb=0.01, forward_mb=0.04, params_mb=0.00, total_mb=0.06),
        *printed(layer_params=(112, 10), block_params=(112, 10), block_shapes=(4, 6, 6, 2)),
        *printed("Conv2d Linear", layer_shapes=(4, 6, 6, 2)),
    )
    assert verdicts(only(figures, counted(macs=185_100))) == {
        "params": ("122", "reproduced"),
        "trainable_params": ("10", "reproduced"),
        "non_trainable_params": ("112", "reproduced"),
        "mult_adds_m": ("0.19", "reproduced"),
        "input_mb": ("0.01", "reproduced"),
        "forward_mb": ("0.04", "reproduced"),
        "params_mb": ("0.00", "reproduced"),
        "total_mb": ("0.05", "differs"),
        "layer_params": ("112 10", "reproduced"),
        "block_params": ("112 10", "reproduced"),
        "block_shapes": ("4 6 6 2", "reproduced"),
        "layer_shapes": ("4 6 6 2", "reproduced"),
    }


def test_figures_of_another_size_are_compared_at_that_size() -> None:
    figures = printed("at 244", mult_adds_m_244=0.5)
    assert verdicts(only(figures, counted())) == {"mult_adds_m_244": (None, "not run")}
    (row,) = only(figures, counted(), counted(244, 500_000))
    assert (row.measured, row.verdict) == ("0.50", "reproduced")


def test_what_differs_names_the_erratum_that_speaks_of_it() -> None:
    wrong = Erratum(where="2.1", mistake="0.20 M of an old counter", corrected="0.19 M")
    (row,) = only(printed("old", mult_adds_m=0.2), counted(), errata=(wrong,))
    assert (row.printed, row.verdict, row.note) == ("0.20", "differs", "erratum (2.1): 0.20 M of an old counter")
    (row,) = only(printed("old", mult_adds_m=0.2), counted())
    assert row.note == "old"
    (row,) = only(printed("odd", params=2), counted(), errata=(replace(wrong, mistake="12, 0.2, 2,000 and 2.5"),))
    assert row.note == "odd"


def test_figures_of_training_must_lie_where_one_more_would() -> None:
    records = [trained(0, losses=(0.50, 0.24)), trained(1, losses=(0.52, 0.25)), trained(2, losses=(0.54, 0.26))]
    first, second = only(printed(train_loss=(0.6, 0.3)), *records)
    # s = 0.02, t(0.975, 2) = 4.3027, sqrt(4 / 3): 0.0994, and half of the third decimal
    assert (first.quantity, first.printed, first.measured) == ("train_loss epoch 1", "0.600", "0.5200")
    assert first.low == pytest.approx(0.42014, abs=1e-4)
    assert first.high == pytest.approx(0.61986, abs=1e-4)
    assert (first.verdict, second.verdict) == ("reproduced", "differs" if second.high < 0.3 else "reproduced")  # type: ignore[operator]
    assert second.high == pytest.approx(0.25 + 0.04968 + 0.0005, abs=1e-4)
    assert first.note == "3 seeds on 1,234 images; JPEG."


def test_twice_divided_loss_is_compared_as_page_prints_it() -> None:
    figure = printed("divided by the batch once too often", train_loss=(0.05, 0.025))
    rows = only(figure, trained(0), trained(1), trained(2))
    assert verdicts(rows) == {
        "train_loss epoch 1": ("0.0500", "reproduced"),
        "train_loss epoch 2": ("0.0250", "reproduced"),
    }
    assert rows[0].note == "divided by the batch once too often; 3 seeds on 1,234 images; JPEG."


def test_the_test_s_accuracy_is_the_last_one() -> None:
    (row,) = only(printed(test_top1=0.9896), trained(0, top1=0.98), trained(1, top1=0.99))
    assert (row.quantity, row.printed, row.measured, row.verdict) == ("test_top1", "0.9896", "0.98500", "reproduced")


def test_first_epoch_figure_is_compared_with_first_epoch() -> None:
    (row,) = only(printed("first epoch only", train_top1=0.8), trained(0), trained(1))
    assert (row.quantity, row.measured, row.verdict) == ("train_top1 epoch 1", "0.8000", "reproduced")


def test_head_and_unfrozen_figures_use_their_last_epochs() -> None:
    figures = printed(val_top1=0.6, val_top1_unfrozen=0.7, test_top1=0.9)
    asked = replace(spec(*figures), recipe=replace(RECIPE, epochs=1, unfrozen_epochs=1, unfrozen_rate=0.001))
    assert verdicts(reproduce([asked], [trained(0), trained(1)], {})) == {
        "val_top1": ("0.6000", "reproduced"),
        "val_top1_unfrozen": ("0.7000", "reproduced"),
        "test_top1": ("0.9000", "reproduced"),
    }


def test_figure_called_validation_uses_held_out_pictures() -> None:
    note = "called validation on the page, but on the training images"
    (row,) = only(printed(note, train_top1=0.98245), trained(0), trained(1))
    assert (row.quantity, row.printed, row.measured, row.verdict) == ("train_top1", "0.98245", "0.700000", "differs")
    assert row.note == f"{note}; 2 seeds on 1,234 images; JPEG."


def test_one_seed_is_shown_and_gives_no_verdict() -> None:
    (row,) = only(printed(test_top1=0.9), trained(0))
    assert (row.measured, row.verdict, row.note) == (
        "0.9000",
        "not run",
        "one seed gives no interval: use --seeds 3",
    )


@pytest.mark.parametrize(
    "other",
    [
        trained(1, losses=(0.5,)),
        replace(trained(1), status="failed"),
        replace(trained(1), case=case("net", task="accuracy", dataset="digits", seed=1)),
        replace(trained(1), case=case("other", task="accuracy", dataset="mnist", seed=1)),
        replace(trained(1), case=replace(trained(1).case, recipe="fast")),
    ],
    ids=["fewer epochs", "failed", "another dataset", "another model", "another recipe"],
)
def test_only_whole_trainings_on_the_recipe_s_dataset_count(other: Record) -> None:
    (row,) = only(printed(test_top1=0.9), trained(0), other)
    assert row.note == "one seed gives no interval: use --seeds 3"


def test_what_was_not_measured_says_why() -> None:
    figures = (
        *printed(test_top1=0.9, predicted_class=282, val_top1_unfrozen=0.97),
        *printed(train_top1_by_step=(0.5, 0.9), val_top1_first=0.8942, params=122),
    )
    rows = only(figures, missing="no data here")
    assert [(row.quantity, row.printed, row.verdict, row.note) for row in rows] == [
        ("test_top1", "0.900", "not run", "no data here"),
        ("predicted_class", "282", "not run", "needs the page's image and published weights"),
        ("val_top1_unfrozen", "0.970", "not run", "no data here"),
        (
            "train_top1_by_step",
            "0.5 0.9",
            "not run",
            "running means within an epoch of the page's own 20,000 images",
        ),
        ("val_top1_first", "0.8942", "not run", "a first call outside the run by epochs is not made"),
        ("params", "122", "not run", "the model was not counted"),
    ]
