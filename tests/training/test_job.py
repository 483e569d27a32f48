from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from cnnbench import data
from cnnbench._version import __version__
from cnnbench.checkpoint import CheckpointInfo, load
from cnnbench.clock import Clock, FakeTime, wall_clock
from cnnbench.data import DATASETS, Counts, DatasetSpec
from cnnbench.data.batches import Augmentation, splits_of
from cnnbench.data.dataset import Fast, LabelledImages, Read, built_in_source
from cnnbench.jobs import Assignment, Job
from cnnbench.models.weights import load_weights
from cnnbench.quantities import BY_EPOCH, BY_STEP
from cnnbench.record import Outcome
from cnnbench.spec import DEFAULT_RECIPE, ModelSpec, Recipe, Shape, Training, UnsupportedError, UsageError
from cnnbench.training import job as accuracy
from cnnbench.training.preprocessing import augmentation_of, parts_of
from cnnbench.training.recipe_choice import epochs_for, recipe_for
from cnnbench.training.state import EpochSeen
from cnnbench.training.time_forecast import check_fits
from cnnbench.variants import parse_variant, prepare
from tests.factories import case

RECIPE = replace(DEFAULT_RECIPE, batch_size=4, learning_rate=0.1)


def part(count: int) -> LabelledImages:
    labels = np.arange(count) % 2
    images = (labels * 0.5 + np.arange(count) / 1000).astype(np.float32)
    return LabelledImages(images_NCHW=images.reshape(-1, 1, 1, 1).repeat(2, axis=2).repeat(2, axis=3), labels_N=labels)


SMALL = DatasetSpec(
    name="small",
    classes=2,
    class_names=("dark", "bright"),
    shape=(1, 2, 2),
    counts=Counts(train=18, val=8, test=6),
    source="made here",
    description="dark and bright",
    look=built_in_source,
    read=lambda *_: Read(train=part(18), val=part(8), test=part(6), notes=("Made here.",)),
)


def make_model(seed: int = 0, outputs: int = 2) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Flatten(), nn.BatchNorm1d(4), nn.Dropout(0.2), nn.Linear(4, outputs))


def spec(
    *, shape: Shape = (1, 2, 2), classes: int | None = 2, recipe: Recipe | None = RECIPE, outputs: int = 2
) -> ModelSpec:
    return ModelSpec(
        name="tiny",
        family="test",
        source="made here",
        input_shape=shape,
        classes=classes,
        build=lambda: make_model(outputs=outputs),
        recipe=recipe,
    )


def measure_accuracy(
    model: nn.Module,
    asked: ModelSpec,
    dataset: DatasetSpec,
    *,
    seed: int,
    epochs: int | None,
    clock: Clock,
    on_epoch: Callable[[EpochSeen], None] | None = None,
    **more: Any,
) -> Outcome:
    made = case(asked.name, task="accuracy", dataset=dataset.name, shape=asked.input_shape, seed=seed)
    made = replace(made, recipe=more.pop("recipe", "tutorial"))
    more["training"] = replace(more.get("training", Training()), epochs=epochs)
    stop = more.pop("stop", lambda: False)
    job = Job(case=made, scratch="", **more)
    assignment = Assignment(
        job=job, spec=asked, build=lambda: model, clock=clock, on_message=lambda *_: None, stop=stop
    )
    return accuracy.measure_accuracy(assignment, model, dataset, on_epoch=on_epoch)


def measure(model: nn.Module, *, limit_s: float | None = None, checkpoint: Path | None = None) -> Outcome:
    return measure_accuracy(
        model,
        spec(),
        SMALL,
        seed=5,
        epochs=4,
        limit_s=limit_s,
        clock=wall_clock(),
        checkpoint=None if checkpoint is None else str(checkpoint),
    )


def samples(outcome: Outcome) -> dict[str, tuple[float, ...]]:
    return {m.quantity: m.samples for m in outcome.measurements}


def same(one: nn.Module, other: nn.Module) -> bool:
    return all(map(torch.equal, one.state_dict().values(), other.state_dict().values()))


def test_an_outcome_holds_test_scores_epochs_and_how() -> None:
    told: list[EpochSeen] = []
    outcome = measure_accuracy(
        make_model(), spec(), SMALL, seed=5, epochs=4, clock=FakeTime().clock(), on_epoch=told.append
    )
    found = samples(outcome)
    assert list(found) == ["trained", "correct", "tested", "top1", *BY_EPOCH]
    assert found["trained"] == (18.0,)
    assert (found["correct"], found["tested"], found["top1"]) == ((6.0,), (6.0,), (1.0,))
    assert all(found[quantity] == tuple(getattr(seen, quantity) for seen in told) for quantity in BY_EPOCH)
    assert found["epoch_s"] == (0.0, 0.0, 0.0, 0.0)
    assert [(seen.epoch, seen.epochs) for seen in told] == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert outcome.notes == (
        "Trained on 18 images of small by its tutorial's recipe: cross-entropy, sgd 0.1 momentum 0.9, batch 4, "
        "4 epochs, shuffled, not normalised, no augmentation.",
        "Made here.",
    )
    assert outcome.warnings == ()


def test_a_network_without_recipe_gets_the_default_one() -> None:
    outcome = measure_accuracy(make_model(), spec(recipe=None), SMALL, seed=5, epochs=1, clock=wall_clock())
    assert outcome.notes == (
        "Trained on 18 images of small by the default recipe: cross-entropy, sgd 0.01 momentum 0.9, batch 64, "
        "1 epoch, shuffled, not normalised, no augmentation.",
        "Made here.",
    )


def test_same_seed_gives_same_weights_with_or_without_limit() -> None:
    plain, again, timed = make_model(), make_model(), make_model()
    outcomes = [measure(plain), measure(again), measure(timed, limit_s=1000.0)]
    assert same(plain, again)
    assert same(plain, timed)
    assert not same(plain, make_model())
    assert len({samples(outcome)["train_loss"] for outcome in outcomes}) == 1


def test_a_checkpoint_gives_the_trained_network_back(tmp_path: Path) -> None:
    path = tmp_path / "tiny.safetensors"
    model, other = make_model(), make_model(1)
    outcome = measure(model, checkpoint=path)
    assert load(path) == CheckpointInfo(
        model="tiny",
        input_shape=(1, 2, 2),
        classes=2,
        dataset="small",
        class_names=("dark", "bright"),
        recipe=replace(RECIPE, epochs=4),
        epochs=4,
        seed=5,
        top1=samples(outcome)["top1"][0],
        cnnbench=__version__,
        torch=str(torch.__version__),
    )
    load_weights(other, spec(), str(path))
    assert same(model, other)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (spec(shape=(512, 7, 7)), "The model's input 512x7x7 is not an image, because an image has 1 or 3 channels."),
        (spec(classes=1), "The model's output is 1 wide, but small has 2 classes."),
        (spec(classes=None, outputs=1), "The model's output is 1 wide, but small has 2 classes."),
    ],
)
def test_a_network_that_the_dataset_does_not_fit_is_refused(asked: ModelSpec, message: str) -> None:
    with pytest.raises(UnsupportedError) as caught:
        measure_accuracy(asked.build(), asked, SMALL, seed=0, epochs=1, clock=wall_clock())
    assert str(caught.value) == message


class Timed(nn.Module):
    """Takes a given time for a pass in each mode, and counts the passes."""

    def __init__(self, time: FakeTime, *, one_s: float, batch_s: float, steps_s: list[float]) -> None:
        super().__init__()
        self.time, self.one_s, self.batch_s, self.steps_s = time, one_s, batch_s, steps_s
        self.seen: list[tuple[str, int]] = []
        self.body = make_model()

    def forward(self, images: Tensor) -> Tensor:
        count = len(images)
        self.seen.append(("step" if self.training else "forward", count))
        if self.training:
            self.time.enqueue(self.steps_s[min(len(self.steps()), len(self.steps_s)) - 1])
        else:
            self.time.enqueue(self.one_s if count == 1 else self.batch_s)
        return torch.as_tensor(self.body(images))

    def steps(self) -> list[tuple[str, int]]:
        return [seen for seen in self.seen if seen[0] == "step"]


def predicted(
    *, one_s: float, steps_s: list[float], limit_s: float, batch_s: float = 0.0, recipe: Recipe = RECIPE
) -> tuple[str, list[tuple[str, int]]]:
    """Return the refusal ("" for none) of 10 epochs of 5 steps, and the passes that were made to tell."""
    time = FakeTime()
    model = Timed(time, one_s=one_s, batch_s=batch_s, steps_s=steps_s)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    message = ""
    try:
        check_fits(model, splits_of(data.read(SMALL, SMALL.shape), 2), recipe, limit_s=limit_s, clock=time.clock())
    except UnsupportedError as error:
        message = str(error)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert all(value.grad is None for value in model.parameters())
    return message, model.seen


def test_training_that_fits_its_limit_is_let_through() -> None:
    # 5 steps of 2 s and two validation batches of 1 s, ten times: 120 s
    made = [("forward", 1)] * 2 + [("step", 4)] * 4 + [("forward", 4)]
    assert predicted(one_s=0.1, steps_s=[9.0, 5.0, 1.0, 3.0], batch_s=1.0, limit_s=120.0) == ("", made)


def test_training_that_exceeds_its_limit_is_refused() -> None:
    message, seen = predicted(one_s=0.1, steps_s=[9.0, 5.0, 1.0, 3.0], batch_s=1.0, limit_s=119.0)
    assert message == "Training 10 epochs would take about 2 min, but its share of the budget is 2 min."
    assert len(seen) == 7
    message, _ = predicted(one_s=0.1, steps_s=[9.0, 9.0, 1.0], limit_s=40.0)
    assert message == "Training 10 epochs would take about 8 min, but its share of the budget is 40 s."


def test_feature_and_all_layer_epochs_are_predicted_separately() -> None:
    head = replace(RECIPE, cache_features=True)
    message, seen = predicted(one_s=0.1, steps_s=[9.0], batch_s=4.0, limit_s=32.0, recipe=head)
    assert (message, seen) == ("", [("forward", 1)] * 2 + [("forward", 4)] * 2)  # a second for each of 32 images
    message, _ = predicted(one_s=0.1, steps_s=[9.0], batch_s=4.0, limit_s=31.0, recipe=head)
    assert message.startswith("Training 10 epochs would take about ")
    after = replace(RECIPE, epochs=1, unfrozen_epochs=1)  # 5 steps of 2 s and two validation batches of 1 s, twice
    made = [("forward", 1)] * 2 + ([("step", 4)] * 4 + [("forward", 4)]) * 2
    steps = [9.0, 5.0, 1.0, 3.0, 9.0, 5.0, 1.0, 3.0]
    assert predicted(one_s=0.1, steps_s=steps, batch_s=1.0, limit_s=24.0, recipe=after) == ("", made)
    assert predicted(one_s=0.1, steps_s=steps, batch_s=1.0, limit_s=23.0, recipe=after)[0] != ""


def test_quick_steps_are_repeated_for_half_a_second() -> None:
    message, seen = predicted(one_s=0.001, steps_s=[0.125], limit_s=60.0)
    assert (message, seen.count(("step", 4))) == ("", 5)


def test_a_hopeless_step_is_repeated_once() -> None:
    message, seen = predicted(one_s=0.1, steps_s=[114.0], limit_s=40.0)
    assert message == "Training 10 epochs would take about 95 min, but its share of the budget is 40 s."
    assert seen == [("forward", 1), ("forward", 1), ("step", 4), ("step", 4)]
    assert predicted(one_s=0.1, steps_s=[114.0, 1.0], limit_s=60.0)[0] == ""  # only the first was slow


def test_a_hopeless_forward_pass_is_the_last() -> None:
    message, seen = predicted(one_s=60.0, steps_s=[1.0], limit_s=40.0)
    assert message == "Training 10 epochs would take about 9 h, but its share of the budget is 40 s."
    assert seen == [("forward", 1), ("forward", 1)]


def test_latency_alone_refuses_a_hopeless_training(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data, "find", lambda _: SMALL)  # 18 images, ten times
    asked = replace(spec(), build=lambda: pytest.fail("the model was built"))
    made = case("tiny", task="accuracy", dataset="small", shape=(1, 2, 2))
    job = Job(case=made, scratch="", image_s=2.5, limit_s=40.0)
    assignment = Assignment(job=job, spec=asked, build=asked.build, clock=wall_clock(), on_message=lambda *_: None)
    with pytest.raises(UnsupportedError, match="Training 10 epochs would take about 23 min, but its share of the"):
        accuracy.run(assignment)
    with pytest.raises(pytest.fail.Exception):  # 450 s are not ten times the limit: it is looked at more closely
        accuracy.run(replace(assignment, job=replace(job, limit_s=46.0)))


@pytest.mark.parametrize(("batch", "epochs"), [(64, 30), (14, 30), (1, 7)])
def test_epochs_on_digits_are_held_to_a_number_of_steps(batch: int, epochs: int) -> None:
    assert epochs_for(replace(RECIPE, batch_size=batch), DATASETS["digits"]) == epochs


def test_dataset_overrides_recipe_epochs() -> None:
    assert epochs_for(RECIPE, SMALL) == 10
    assert epochs_for(RECIPE, replace(SMALL, epochs=3)) == 3
    assert epochs_for(RECIPE, replace(SMALL, epochs=3, steps=4)) == 1


def test_digits_are_learnt() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    asked = replace(spec(classes=10, recipe=replace(RECIPE, batch_size=16)), input_shape=(1, 8, 8))
    outcome = measure_accuracy(model, asked, DATASETS["digits"], seed=0, epochs=3, clock=wall_clock())
    found = samples(outcome)
    assert found["tested"] == (359.0,)
    assert 0.9 < found["top1"][0] < 1.0


def test_recipe_augmentation_and_halves_need_its_own_dataset() -> None:
    own = replace(RECIPE, dataset="small", flip=True, crop_padding=4, halves=True)
    other = replace(own, dataset="mnist")
    read = data.read(SMALL, SMALL.shape)
    assert augmentation_of(own, SMALL) == Augmentation(flip=True, padding=4)
    assert augmentation_of(other, SMALL) is None
    assert augmentation_of(RECIPE, SMALL) is None
    halved, whole = parts_of(read, own, SMALL), parts_of(read, other, SMALL)
    assert (len(whole.val), len(whole.test)) == (8, 6)
    assert torch.equal(halved.val.images_NCHW, whole.test.images_NCHW[:3])
    assert torch.equal(halved.test.images_NCHW, whole.test.images_NCHW[3:])


def test_augmentation_is_told() -> None:
    asked = spec(recipe=replace(RECIPE, dataset="small", flip=True, crop_padding=1))
    outcome = measure_accuracy(make_model(), asked, SMALL, seed=5, epochs=1, clock=wall_clock())
    assert outcome.notes[0].endswith("not normalised, mirrored at random and cut out at random after padding by 1.")


QUICK = replace(SMALL, fast=Fast(optimizer="adam", learning_rate=0.02, batch_size=6, epochs=7, channels_last=True))


def test_fast_recipe_is_datasets_and_keeps_normalisation() -> None:
    own = replace(RECIPE, mean=(0.5,), std=(0.5,), epochs=3)
    found = recipe_for(spec(recipe=own), QUICK, "fast")
    assert found == replace(
        own,
        optimizer="adam",
        learning_rate=0.02,
        momentum=0.0,
        batch_size=6,
        epochs=7,
        one_cycle=True,
        channels_last=True,
    )
    outcome = measure_accuracy(
        make_model(), spec(recipe=own), QUICK, seed=5, epochs=None, clock=wall_clock(), recipe="fast"
    )
    assert len(samples(outcome)["train_loss"]) == 7
    assert outcome.notes[0] == (
        "Trained on 18 images of small by the dataset's fast recipe: cross-entropy, adam 0.02 at most, one cycle, "
        "batch 6, 7 epochs, shuffled, normalised, no augmentation."
    )
    with pytest.raises(UsageError, match=r"^There is no fast recipe for small, only for digits, mnist, .*cats_dogs\."):
        recipe_for(spec(), SMALL, "fast")


def test_the_page_s_mistakes_are_made_when_asked_for() -> None:
    wrong = replace(RECIPE, dataset="small", divides_losses=True, trains_on_test=True, validates_on_train=True)
    asked = replace(spec(recipe=replace(RECIPE, dataset="small")), printed_recipe=wrong)
    outcome = measure_accuracy(make_model(), asked, SMALL, seed=5, epochs=1, clock=wall_clock(), recipe="as-published")
    assert samples(outcome)["trained"] == (6.0,)
    assert outcome.notes == (
        "Trained on 6 images of small by its tutorial's recipe as printed: cross-entropy, divided by the batch size, "
        "sgd 0.1 momentum 0.9, batch 4, 1 epoch, shuffled, not normalised, no augmentation.",
        "Trained on the test images, as the page does.",
        "Validated on the training images, as the page does.",
        "Made here.",
    )
    usual = measure_accuracy(make_model(), spec(), SMALL, seed=5, epochs=1, clock=wall_clock(), recipe="as-published")
    assert "by its tutorial's recipe as printed: cross-entropy, sgd" in usual.notes[0]


def transfer() -> nn.Sequential:
    torch.manual_seed(0)
    base = nn.Sequential(nn.Flatten(), nn.Linear(4, 8), nn.ReLU())
    return nn.Sequential(base.requires_grad_(requires_grad=False), nn.Linear(8, 2))


@pytest.mark.parametrize("once", [False, True])
def test_a_head_is_trained_and_then_all_layers(tmp_path: Path, *, once: bool) -> None:
    model, path = transfer(), tmp_path / "tiny.safetensors"
    frozen = model[0].get_parameter("1.weight")
    before = frozen.detach().clone()
    training = Training(unfrozen_epochs=2, unfrozen_rate=0.05, cache_features=once)
    outcome = measure_accuracy(
        model, spec(), SMALL, seed=5, epochs=3, clock=wall_clock(), training=training, checkpoint=str(path)
    )
    found = samples(outcome)
    assert found["learning_rate"] == (0.1, 0.1, 0.1, 0.05, 0.05)
    assert not torch.equal(frozen, before)
    assert ("features_s" in found) is once
    on = ", on features computed once" if once else ""
    assert outcome.notes[0].endswith(f"no augmentation{on}, then 2 epochs with all layers at 0.05.")
    again = transfer()
    load_weights(again, spec(), str(path))
    assert same(model, again)
    assert load(path).epochs == 5


def test_rate_with_all_layers_defaults_to_one_hundredth() -> None:
    training = Training(unfrozen_epochs=1)
    outcome = measure_accuracy(transfer(), spec(), SMALL, seed=5, epochs=1, clock=wall_clock(), training=training)
    assert samples(outcome)["learning_rate"] == (0.1, 0.001)


def test_features_are_computed_once_by_one_process_in_fp32_only() -> None:
    model = transfer()
    prepared = prepare(model, parse_variant("amp", device="cpu", threads=1), "cpu")
    made = case("tiny", task="accuracy", dataset="small", shape=(1, 2, 2), seed=5)
    assignment = Assignment(
        job=Job(case=made, scratch="", training=Training(cache_features=True)),
        spec=spec(),
        build=lambda: model,
        clock=wall_clock(),
        on_message=lambda *_: None,
    )
    with pytest.raises(UsageError) as caught:
        accuracy.measure_accuracy(assignment, model, SMALL, prepared=prepared)
    assert str(caught.value) == (
        "--cache-features works only in one process and under eager. Leave out --variant and torchrun."
    )


def test_records_within_epochs_are_quantities() -> None:
    outcome = measure_accuracy(
        make_model(), spec(), SMALL, seed=5, epochs=2, clock=wall_clock(), training=Training(log_every=3)
    )
    found = samples(outcome)
    assert found["step_step"] == (3.0, 5.0, 8.0, 10.0)
    assert found["step_val_top1"][1] == found["val_top1"][0]
    assert {len(found[f"step_{name}"]) for name in BY_STEP} == {4}
