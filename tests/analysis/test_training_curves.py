"""Curves of hand-made trainings."""

from dataclasses import replace

from cnnbench.analysis.training_curves import Curve, epoch_curves, moved, step_curves, trainings_by_name
from cnnbench.record import Measurement, Record
from tests.factories import LAST, case, once, record


def training(losses: tuple[float, ...], *, model: str = "lenet", seed: int = 0, steps: bool = False) -> Record:
    found = [
        Measurement(quantity="train_loss", samples=losses),
        Measurement(quantity="val_loss", samples=tuple(2 * loss for loss in losses)),
        Measurement(quantity="train_top1", samples=tuple(1 - loss for loss in losses)),
        Measurement(quantity="val_top1", samples=tuple(0.5 for _ in losses)),
    ]
    if steps:
        found += [
            Measurement(quantity="step_step", samples=(50.0, 100.0)),
            Measurement(quantity="step_train_top1", samples=(0.25, 0.75)),
            Measurement(quantity="step_val_top1", samples=(0.5, 0.875)),
        ]
    return record(replace(case(model, task="accuracy", dataset="digits"), seed=seed), *found)


def test_seeds_are_a_mean_with_their_range_as_far_as_all_go() -> None:
    groups = trainings_by_name([training((0.5, 0.25)), training((0.25, 0.125, 0.0), seed=1)])
    assert list(groups) == ["lenet"]
    train, val = epoch_curves(groups, "loss")
    assert train == Curve(
        name="lenet",
        part="training",
        seeds=2,
        xs=(1.0, 2.0),
        middle=(0.375, 0.1875),
        low=(0.25, 0.125),
        high=(0.5, 0.25),
    )
    assert (val.part, val.middle) == ("validation", (0.75, 0.375))


def test_networks_and_ways_that_differ_are_named() -> None:
    other = training((0.5,))
    other = replace(other, case=replace(other.case, variant=LAST))
    assert list(trainings_by_name([training((0.5,)), other])) == ["eager", "channels_last"]
    assert list(trainings_by_name([training((0.5,)), training((0.5,), model="mlp")])) == ["lenet", "mlp"]
    both = trainings_by_name([training((0.5,)), other, training((0.5,), model="mlp")])
    assert list(both) == ["lenet eager", "lenet channels_last", "mlp eager"]


def test_what_failed_or_is_no_training_has_no_curve() -> None:
    failed = replace(training((0.5,)), status="failed", error="diverged")
    assert trainings_by_name([failed, record(case("lenet"), once("latency_s", 1.0))]) == {}


def test_curves_by_step_have_the_steps() -> None:
    groups = trainings_by_name([training((0.5,), steps=True)])
    assert [(c.part, c.xs, c.middle) for c in step_curves(groups, "top1")] == [
        ("training", (50.0, 100.0), (0.25, 0.75)),
        ("validation", (50.0, 100.0), (0.5, 0.875)),
    ]
    assert step_curves(trainings_by_name([training((0.5,))]), "top1") == ()


def test_moved_pictures_begin_with_those_that_are_not() -> None:
    tested = record(
        case("lenet", task="accuracy", dataset="digits"),
        once("correct", 90),
        once("tested", 100),
        Measurement(quantity="shift_correct", samples=(80, 70, 60, 50, 40, 30, 20, 10)),
    )
    found = moved(tested)
    assert [one.direction for one in found] == ["right", "left", "down", "up"]
    assert [[share.center for share in one.shares] for one in found] == [
        [0.9, 0.8, 0.7],
        [0.9, 0.6, 0.5],
        [0.9, 0.4, 0.3],
        [0.9, 0.2, 0.1],
    ]
    low, high = found[0].shares[0].low, found[0].shares[0].high
    assert low is not None
    assert high is not None
    assert low < 0.9 < high
    assert moved(record(case("lenet"), once("tested", 1))) == ()
