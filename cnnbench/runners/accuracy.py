"""Accuracy of a network on a dataset: train it by its recipe within a time limit, test once, keep the weights."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from cnnbench import checkpoint as checkpoints
from cnnbench import data
from cnnbench._version import __version__
from cnnbench.clock import Clock
from cnnbench.data.batches import Split, Splits, adapted, batch_count, batches, view_for
from cnnbench.data.dataset import DatasetSpec
from cnnbench.record import Measurement, Outcome
from cnnbench.runners import Assignment
from cnnbench.runners.evaluate import Scores, main_logits, score
from cnnbench.runners.testing import measure_scores
from cnnbench.runners.train import DEFAULT_RECIPE, EpochSeen, FitResult, Trainer, fit, training_mode
from cnnbench.spec import Device, ModelSpec, Recipe, UnsupportedError
from cnnbench.variants import prepare

HOPELESS = 10.0
"""How many times over the limit a rough estimate must be before training is refused on it alone.

The rough ones are one picture's forward pass and a first training step. Batches and warm caches make later steps
faster, but for networks slow enough to matter not tenfold. Our choice.
"""

TIMED_STEPS = 3
TIMED_S = 0.5
"""Training steps that the prediction is made from, after a first one to warm up: three, or more until half a second;
the median of the later half counts. A fresh process gets faster over dozens of steps of a small network: LeNet's took
24 ms at first and 3 ms later (two cores). Our choice."""

_STEP_PER_FORWARD = 3.0
_MINUTE_S = 60.0
_SHOW_SECONDS_BELOW_S = 90.0
_HOUR_S = 3600.0
_SHOW_MINUTES_BELOW_S = 2.0 * _HOUR_S


def measure_accuracy(  # noqa: PLR0913 - what is trained, on what, how long, and by whose clock
    model: nn.Module,
    spec: ModelSpec,
    dataset: DatasetSpec,
    *,
    seed: int,
    device: Device,
    epochs: int | None = None,
    limit_s: float | None = None,
    clock: Clock,
    on_epoch: Callable[[EpochSeen], None] | None = None,
    checkpoint: Path | None = None,
) -> Outcome:
    """Train `model` on `dataset` by the recipe of `spec` (or `DEFAULT_RECIPE`) and return how it does on the test.

    Training starts from the weights that `model` has: for equal results build it under the same seed. `epochs` None
    means `epochs_for`. With `limit_s`, the time of training is predicted first from a few steps, which leave no trace
    in the weights. With `checkpoint`, the trained weights are written there.

    Raises:
        UnsupportedError: the pictures do not fit the network, it has too few outputs, or training would exceed
            `limit_s`; the message says which.
        DivergedError: the loss became infinite or no number.
        UsageError: the checkpoint cannot be written, or every parameter is frozen.
    """
    recipe = spec.recipe or DEFAULT_RECIPE
    view = view_for(spec.input_shape, dataset.shape, recipe.mean, recipe.std)
    _check_outputs(spec.classes, dataset)
    splits = adapted(dataset.load(), view, device)
    model.to(device)
    _check_outputs(_width(model, splits.val), dataset)
    rounds = epochs_for(recipe, dataset) if epochs is None else epochs
    if limit_s is not None:
        check_fits(model, splits, recipe, epochs=rounds, limit_s=limit_s, clock=clock)
    fitted = fit(model, splits, recipe, epochs=rounds, seed=seed, clock=clock, on_epoch=on_epoch)
    scores = score(model, splits.test)
    if checkpoint is not None:
        info = checkpoints.CheckpointInfo(
            model=spec.name,
            input_shape=spec.input_shape,
            classes=_width(model, splits.val),
            dataset=dataset.name,
            recipe=recipe,
            epochs=rounds,
            seed=seed,
            top1=scores.top1,
            cnnbench=__version__,
            torch=str(torch.__version__),
        )
        checkpoints.save(checkpoint, model, info)
    return Outcome(measurements=_measurements(fitted, scores), notes=(_how(spec, recipe, dataset, splits, rounds),))


def epochs_for(recipe: Recipe, dataset: DatasetSpec) -> int:
    """Return the epochs where the user gives none: the dataset's, within its steps, or else the recipe's."""
    if dataset.epochs is None:
        return recipe.epochs
    if dataset.steps is None:
        return dataset.epochs
    per_epoch = batch_count(dataset.counts.train, recipe.batch_size, keep_single=False)
    return max(1, min(dataset.epochs, dataset.steps // per_epoch))


def check_fits(model: nn.Module, splits: Splits, recipe: Recipe, *, epochs: int, limit_s: float, clock: Clock) -> None:
    """Return if `epochs` of training and validation are predicted to take at most `limit_s`; weights stay as they are.

    It looks as briefly as it can: one picture's forward pass and then a first training step may show that the limit is
    out of reach, each repeated once because the first may be slow; only then are more steps made, and a batch
    validated.

    Raises:
        UnsupportedError: it would take longer; the message says about how long.
    """
    picture, _ = _first(splits.train, 1)
    _forward(model, picture)  # the first calls of a process are slow: code is read from the disk, kernels are chosen
    rough_s = _seconds(clock, lambda: _forward(model, picture)) * len(splits.train) * epochs
    if rough_s > HOPELESS * limit_s:
        raise _too_long(rough_s * _STEP_PER_FORWARD, epochs, limit_s)
    steps = batch_count(len(splits.train), recipe.batch_size, keep_single=False)
    images, labels = _first(splits.train, recipe.batch_size)
    before = {name: value.detach().clone() for name, value in model.state_dict().items()}
    try:
        trainer = Trainer(model, recipe)
        training_mode(model)
        epoch_s = steps * _seconds(clock, lambda: trainer.step(images, labels))
        if epoch_s * epochs > HOPELESS * limit_s:
            epoch_s = steps * _seconds(clock, lambda: trainer.step(images, labels))
        if epoch_s * epochs <= HOPELESS * limit_s:
            timed: list[float] = []
            while len(timed) < TIMED_STEPS or sum(timed) < TIMED_S:
                timed.append(_seconds(clock, lambda: trainer.step(images, labels)))
            epoch_s = steps * statistics.median(timed[len(timed) // 2 :])
            forward_s = _seconds(clock, lambda: _forward(model, images))
            epoch_s += forward_s * len(splits.val) / len(labels)
    finally:
        model.load_state_dict(before)
        model.zero_grad()
    if epoch_s * epochs > limit_s:
        raise _too_long(epoch_s * epochs, epochs, limit_s)


def _seconds(clock: Clock, act: Callable[[], object]) -> float:
    """Return how long `act` takes, device included."""
    clock.synchronize()
    start = clock.now_ns()
    act()
    clock.synchronize()
    return (clock.now_ns() - start) / 1e9


def _first(split: Split, size: int) -> tuple[Tensor, Tensor]:
    return next(batches(split, size))


def _forward(model: nn.Module, images: Tensor) -> Tensor:
    """Return the logits of a pass in evaluation mode, which moves no batch statistics."""
    model.eval()
    with torch.no_grad():
        return main_logits(model(images))


def _width(model: nn.Module, split: Split) -> int:
    """Return the number of the network's outputs."""
    return _forward(model, _first(split, 1)[0]).shape[1]


def _check_outputs(outputs: int | None, dataset: DatasetSpec) -> None:
    if outputs is not None and outputs < dataset.classes:
        raise UnsupportedError(
            f"The network's output is {outputs} wide, and {dataset.name} has {dataset.classes} classes."
        )


def _too_long(predicted_s: float, epochs: int, limit_s: float) -> UnsupportedError:
    return UnsupportedError(
        f"Training {_rounds(epochs)} would take about {_duration(predicted_s)}, "
        f"its share of the budget is {_duration(limit_s)}."
    )


def _rounds(epochs: int) -> str:
    return "1 epoch" if epochs == 1 else f"{epochs} epochs"


def _duration(seconds: float) -> str:
    """Return a length of time to two digits or so, rounded up: 40 s, 95 min, 12 h."""
    if seconds < _SHOW_SECONDS_BELOW_S:
        return f"{max(1, math.ceil(seconds))} s"
    if seconds < _SHOW_MINUTES_BELOW_S:
        return f"{math.ceil(seconds / _MINUTE_S)} min"
    return f"{math.ceil(seconds / _HOUR_S)} h"


def _measurements(fitted: FitResult, scores: Scores) -> tuple[Measurement, ...]:
    return (
        Measurement(quantity="correct", samples=(float(scores.correct),)),
        Measurement(quantity="tested", samples=(float(scores.tested),)),
        Measurement(quantity="top1", samples=(scores.top1,)),
        Measurement(quantity="train_loss", samples=fitted.train_loss),
        Measurement(quantity="val_top1", samples=fitted.val_top1),
        Measurement(quantity="epoch_s", samples=fitted.epoch_s),
    )


def _how(spec: ModelSpec, recipe: Recipe, dataset: DatasetSpec, splits: Splits, epochs: int) -> str:
    """Return the sentence that says how the network was trained."""
    whose = "its tutorial's recipe" if spec.recipe is not None else "the default recipe"
    momentum = f" momentum {recipe.momentum:g}" if recipe.momentum else ""
    order = "shuffled" if recipe.shuffled else "in stored order"
    normalised = "normalised" if recipe.mean else "not normalised"
    return (
        f"Trained on {len(splits.train)} pictures of {dataset.name} by {whose}: {recipe.loss.replace('_', '-')}, "
        f"{recipe.optimizer} {recipe.learning_rate:g}{momentum}, batch {recipe.batch_size}, {_rounds(epochs)}, "
        f"{order}, {normalised}, no augmentation."
    )


def run(assignment: Assignment) -> Outcome:
    """Train and test the assignment's network, or only test it where a part of the dataset is named."""
    if assignment.part is not None:
        return measure_scores(assignment)
    case = assignment.case

    def on_epoch(seen: EpochSeen) -> None:
        text = f"epoch {seen.epoch}/{seen.epochs} loss {seen.train_loss:.4f} validation {100 * seen.val_top1:.1f} %"
        assignment.hear(text, seen.epoch / seen.epochs)

    return measure_accuracy(
        prepare(assignment.build(), case.variant, case.device).model,
        assignment.spec,
        data.find(case.dataset or ""),
        seed=case.seed,
        device=case.device,
        epochs=assignment.epochs,
        limit_s=assignment.limit_s,
        clock=assignment.clock,
        on_epoch=on_epoch,
        checkpoint=None if assignment.checkpoint is None else Path(assignment.checkpoint),
    )
