"""Accuracy of a network on a dataset: train it by its recipe within a time limit, test once, keep the weights."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from cnnbench import checkpoint as checkpoints
from cnnbench import data
from cnnbench._version import __version__
from cnnbench.clock import Clock
from cnnbench.data.batches import Augmentation, Split, Splits, adapted, batch_count, splits_of, view_for
from cnnbench.data.dataset import DatasetSpec, Read, Tell, no_news
from cnnbench.record import Measurement, Outcome
from cnnbench.runners import Assignment
from cnnbench.runners.evaluate import Scores, score
from cnnbench.runners.fit import EpochSeen, FitResult, fit
from cnnbench.runners.limit import check_fits, first_batch, forward, rounds_text
from cnnbench.runners.resume import FileKeeper, Identity, state_path
from cnnbench.runners.testing import measure_scores
from cnnbench.runners.train import DEFAULT_RECIPE
from cnnbench.spec import Device, ModelSpec, Recipe, UnsupportedError
from cnnbench.variants import REFERENCE, Prepared, prepare

BY_EPOCH = (
    "train_loss",
    "train_top1",
    "val_loss",
    "val_top1",
    "epoch_s",
    "train_img_per_s",
    "data_share",
    "learning_rate",
)
"""What is kept of every epoch: fields of `EpochSeen`, and quantities of these names."""


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
    data_dir: str | None = None,
    tell: Tell = no_news,
    resume: bool = False,
    stop: Callable[[], bool] = lambda: False,
    prepared: Prepared | None = None,
) -> Outcome:
    """Train `model` on `dataset` by the recipe of `spec` (or `DEFAULT_RECIPE`) and return how it does on the test.

    The dataset is found in `data_dir` or where `data.places` says; `tell` hears how far reading it is. Training starts
    from the weights that `model` has: for equal results build it under the same seed. `epochs` None means `epochs_for`.
    With `limit_s`, the time of training is predicted first from a few steps, which leave no trace in the weights. With
    `checkpoint`, the trained weights are written there, and beside it training in progress after every epoch and when
    `stop` says so; with `resume` that is gone on with. With `prepared` steps are made under its variant.

    Raises:
        UnsupportedError: the pictures do not fit the network, it has too few outputs, or training would exceed
            `limit_s`; the message says which.
        DivergedError: the loss became infinite or no number.
        MissingError: the dataset is not there.
        UsageError: a file of the dataset is damaged, the checkpoint cannot be written, or every parameter is frozen.
    """
    recipe = spec.recipe or DEFAULT_RECIPE
    view = view_for(spec.input_shape, dataset.shape, recipe.mean, recipe.std)
    _check_outputs(spec.classes, dataset)
    read = data.read(dataset, spec.input_shape, data_dir=data_dir, tell=tell)
    splits = adapted(_parts(read, recipe, dataset), view, device, _augmentation(recipe, dataset))
    model.to(device)
    _check_outputs(_width(model, splits.val), dataset)
    rounds = epochs_for(recipe, dataset) if epochs is None else epochs
    if limit_s is not None:
        check_fits(model, splits, recipe, epochs=rounds, limit_s=limit_s, clock=clock)
    keeper = None
    if checkpoint is not None:
        identity = _identity(spec, dataset, recipe, seed, prepared)
        keeper = FileKeeper(state_path(checkpoint), identity, resume=resume, stop=stop)
    fitted = fit(
        model,
        splits,
        recipe,
        epochs=rounds,
        seed=seed,
        clock=clock,
        on_epoch=on_epoch,
        keeper=keeper,
        prepared=prepared,
    )
    scores = score(model, splits.test)
    if checkpoint is not None and keeper is not None:
        info = _info(spec, dataset, recipe, seed, rounds, scores, classes=_width(model, splits.val))
        checkpoints.save(checkpoint, model, info)
        keeper.forget()
    notes = (_how(spec, recipe, dataset, splits, rounds, prepared), *read.notes)
    return Outcome(measurements=_measurements(fitted, scores), notes=notes)


def _identity(spec: ModelSpec, dataset: DatasetSpec, recipe: Recipe, seed: int, prepared: Prepared | None) -> Identity:
    return Identity(
        model=spec.name,
        dataset=dataset.name,
        recipe=recipe,
        variant="eager" if prepared is None else prepared.variant.name,
        seed=seed,
        threads=torch.get_num_threads(),
        torch=str(torch.__version__),
    )


def _info(
    spec: ModelSpec, dataset: DatasetSpec, recipe: Recipe, seed: int, epochs: int, scores: Scores, *, classes: int
) -> checkpoints.CheckpointInfo:
    return checkpoints.CheckpointInfo(
        model=spec.name,
        input_shape=spec.input_shape,
        classes=classes,
        dataset=dataset.name,
        recipe=recipe,
        epochs=epochs,
        seed=seed,
        top1=scores.top1,
        cnnbench=__version__,
        torch=str(torch.__version__),
    )


def _parts(read: Read, recipe: Recipe, dataset: DatasetSpec) -> Splits:
    """Return the dataset's parts, or those that the recipe makes of its own dataset."""
    splits = splits_of(read, dataset.classes)
    if not recipe.halves or dataset.name != recipe.dataset:
        return splits
    half = len(splits.test) // 2
    return replace(splits, val=splits.test.part(slice(half)), test=splits.test.part(slice(half, None)))


def _augmentation(recipe: Recipe, dataset: DatasetSpec) -> Augmentation | None:
    """Return what the recipe does to pictures of its own dataset at random: a digit that is mirrored is none."""
    if dataset.name != recipe.dataset or not (recipe.flip or recipe.crop_padding):
        return None
    return Augmentation(flip=recipe.flip, padding=recipe.crop_padding)


def epochs_for(recipe: Recipe, dataset: DatasetSpec) -> int:
    """Return the epochs where the user gives none: the dataset's, within its steps, or else the recipe's."""
    if dataset.epochs is None:
        return recipe.epochs
    if dataset.steps is None or dataset.counts is None:
        return dataset.epochs
    per_epoch = batch_count(dataset.counts.train, recipe.batch_size, keep_single=False)
    return max(1, min(dataset.epochs, dataset.steps // per_epoch))


def _width(model: nn.Module, split: Split) -> int:
    """Return the number of the network's outputs."""
    return forward(model, first_batch(split, 1)[0]).shape[1]


def _check_outputs(outputs: int | None, dataset: DatasetSpec) -> None:
    if outputs is not None and outputs < dataset.classes:
        raise UnsupportedError(
            f"The network's output is {outputs} wide, and {dataset.name} has {dataset.classes} classes."
        )


def _measurements(fitted: FitResult, scores: Scores) -> tuple[Measurement, ...]:
    return (
        Measurement(quantity="correct", samples=(float(scores.correct),)),
        Measurement(quantity="tested", samples=(float(scores.tested),)),
        Measurement(quantity="top1", samples=(scores.top1,)),
        *(Measurement(quantity=quantity, samples=fitted.by_epoch(quantity)) for quantity in BY_EPOCH),
    )


def _how(
    spec: ModelSpec, recipe: Recipe, dataset: DatasetSpec, splits: Splits, epochs: int, prepared: Prepared | None
) -> str:
    """Return the sentence that says how the network was trained."""
    whose = "its tutorial's recipe" if spec.recipe is not None else "the default recipe"
    momentum = f" momentum {recipe.momentum:g}" if recipe.momentum else ""
    order = "shuffled" if recipe.shuffled else "in stored order"
    normalised = "normalised" if recipe.mean else "not normalised"
    return (
        f"Trained on {len(splits.train)} pictures of {dataset.name} by {whose}: {recipe.loss.replace('_', '-')}, "
        f"{recipe.optimizer} {recipe.learning_rate:g}{momentum}, batch {recipe.batch_size}, {rounds_text(epochs)}, "
        f"{order}, {normalised}, {_words(_augmentation(recipe, dataset))}"
        f"{'' if prepared is None else f', under {prepared.variant.name}'}."
    )


def _words(augmentation: Augmentation | None) -> str:
    if augmentation is None:
        return "no augmentation"
    flipped = ("mirrored at random",) if augmentation.flip else ()
    cut = (f"cut out at random after padding by {augmentation.padding}",) if augmentation.padding else ()
    return " and ".join((*flipped, *cut))


def run(assignment: Assignment) -> Outcome:
    """Train and test the assignment's network, or only test it where a part of the dataset is named."""
    if assignment.part is not None:
        return measure_scores(assignment)
    case = assignment.case

    def on_epoch(seen: EpochSeen) -> None:
        text = f"epoch {seen.epoch}/{seen.epochs} loss {seen.train_loss:.4f} validation {100 * seen.val_top1:.1f} %"
        assignment.hear(text, seen.epoch / seen.epochs)

    prepared = prepare(assignment.build(), case.variant, case.device)
    return measure_accuracy(
        prepared.model,
        assignment.spec,
        data.find(case.dataset or ""),
        seed=case.seed,
        device=case.device,
        epochs=assignment.epochs,
        limit_s=assignment.limit_s,
        clock=assignment.clock,
        on_epoch=on_epoch,
        checkpoint=None if assignment.checkpoint is None else Path(assignment.checkpoint),
        data_dir=assignment.data_dir,
        resume=assignment.resume,
        stop=assignment.stop,
        prepared=None if case.variant.name == REFERENCE else prepared,
        tell=lambda text, _: assignment.hear(text, 0.0),
    )
