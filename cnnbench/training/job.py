"""Measure accuracy on a dataset: train a model by its recipe within a time limit, test it once, keep the weights."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from cnnbench import checkpoint as checkpoints
from cnnbench import data
from cnnbench.checkpoint import CheckpointInfo
from cnnbench.data.batches import Split, Splits, adapt_splits
from cnnbench.data.dataset import DatasetSpec
from cnnbench.jobs import Assignment
from cnnbench.models.find_convolutions import kept_kernels
from cnnbench.quantities import BY_EPOCH, BY_STEP
from cnnbench.record import Measurement, Outcome
from cnnbench.spec import FEATURES_ALONE, ModelSpec, Recipe, UnsupportedError, UsageError
from cnnbench.training.distributed import ProcessGroup, join
from cnnbench.training.evaluate_job import measure_scores
from cnnbench.training.frozen_features import LEAVE_OUT, features_of, head_of
from cnnbench.training.loop import fit_phases
from cnnbench.training.metadata import TrainingMetadata
from cnnbench.training.pool_before_relu import pool_first
from cnnbench.training.preprocessing import augmentation_of, load_dataset, view_of
from cnnbench.training.recipe_choice import change_recipe, recipe_for
from cnnbench.training.resume import FileKeeper
from cnnbench.training.scoring import Scores, score
from cnnbench.training.state import EpochSeen, FitResult, Phase
from cnnbench.training.time_forecast import check_fits, check_not_hopeless, first_batch, forward
from cnnbench.variants import REFERENCE, Prepared, prepare

FAST_IS_FOR_HEADS = "The fast recipe of this dataset does that. Use --recipe tutorial."


def measure_accuracy(
    assignment: Assignment,
    model: nn.Module,
    dataset: DatasetSpec,
    *,
    on_epoch: Callable[[EpochSeen], None] | None = None,
    prepared: Prepared | None = None,
    team: ProcessGroup | None = None,
) -> Outcome:
    """Train `model` on `dataset` by its recipe, as the assignment says, and return its scores on the test images.

    Training starts from the weights of `model`. If there is a limit, steps that leave no trace predict the time first.
    With a checkpoint, the weights are written there, and training in progress beside it. With `prepared`, steps run
    under its variant. In a `team`, all processes train; the first one validates, tests and writes.

    Raises:
        UnsupportedError: the images do not fit the model, it has too few outputs, or it would exceed the limit.
        DivergedError: the loss became infinite or NaN.
        MissingError: the dataset is not there.
        UsageError: a file of it is damaged, the checkpoint cannot be written, or the recipe does not suit the model.
    """
    case, clock, log_every = assignment.case, assignment.clock, assignment.job.training.log_every
    check_suits(assignment.spec, dataset)
    recipe = _recipe(assignment, dataset, prepared, team)
    splits, notes = _load_data(assignment, dataset, recipe)
    model.to(case.device)
    _check_outputs(width := _width(model, splits.val), dataset)
    account = TrainingMetadata(
        spec=assignment.spec,
        dataset=dataset,
        recipe=recipe,
        case=case,
        variant=REFERENCE if prepared is None else prepared.variant.name,
        pooled=pool_first(model, first_batch(splits.val, 1)[0]),
        processes=1 if team is None else team.size,
        images=len(splits.train),
        notes=notes,
    )

    if assignment.job.limit_s is not None:
        check_fits(model, splits, recipe, limit_s=assignment.job.limit_s, clock=clock)

    leads = team is None or team.rank == 0
    keeper = account.keeper(assignment, model, writes=leads)
    begun = 1 if keeper is None else keeper.kept_epoch()  # rejects a damaged file before features are computed
    start = clock.now_ns()
    whole = Phase(model=model, splits=splits, recipe=recipe, epochs=recipe.epochs, prepared=prepared)
    phases = _phases(assignment, whole, begun=begun)
    clock.synchronize()
    features_s = (clock.now_ns() - start) / 1e9 if recipe.cache_features else None
    fitted = fit_phases(
        phases, seed=case.seed, clock=clock, log_every=log_every, on_epoch=on_epoch, keeper=keeper, team=team
    )
    if not leads:
        return Outcome()  # the first process tests and reports

    scores = _score_test(phases[-1], seed=case.seed)
    _save(assignment, model, keeper, account.info(classes=width, top1=scores.top1))
    measured = (*_measurements(fitted, scores, account.images, features_s), *_kernels(fitted, phases[-1].model))
    return Outcome(measurements=measured, notes=account.result_notes())


def _save(assignment: Assignment, model: nn.Module, keeper: FileKeeper | None, info: CheckpointInfo) -> None:
    """Write the trained weights if a checkpoint is requested, and delete the training in progress beside it."""
    if assignment.job.checkpoint is None or keeper is None:
        return
    checkpoints.save(Path(assignment.job.checkpoint), model, info)
    # A run that was asked to stop does not report this result; a resumed one then needs the state to test again.
    if not assignment.stop():
        keeper.forget()


def _score_test(phase: Phase, *, seed: int) -> Scores:
    augment_rng = torch.Generator().manual_seed(seed) if phase.recipe.augments_all else None
    return score(phase.model, phase.splits.test, augment_rng=augment_rng)


def _load_data(assignment: Assignment, dataset: DatasetSpec, recipe: Recipe) -> tuple[Splits, tuple[str, ...]]:
    """Return the dataset as the model sees it, and the notes about it."""
    found = load_dataset(
        assignment.spec,
        dataset,
        data_dir=assignment.job.data_dir,
        recipe=recipe,
        on_progress=lambda text, _: assignment.on_message(text, 0.0),
    )
    # Moves the images to the device, so that no training step copies them from the host.
    augmentation, device = augmentation_of(recipe, dataset), assignment.case.device
    splits = adapt_splits(found.splits, found.view, device, augmentation, augments_all=recipe.augments_all)
    return splits, found.notes


def _recipe(
    assignment: Assignment, dataset: DatasetSpec, prepared: Prepared | None, team: ProcessGroup | None
) -> Recipe:
    own = recipe_for(assignment.spec, dataset, assignment.case.recipe)
    recipe = change_recipe(own, assignment.job.training, dataset, fast=assignment.case.recipe == "fast")
    if recipe.cache_features and (prepared is not None or team is not None):
        raise UsageError(FEATURES_ALONE)
    return recipe


def _phases(assignment: Assignment, whole: Phase, *, begun: int) -> tuple[Phase, ...]:
    """Return the phases of the training: the model, or its head on features; then all layers, if requested.

    `whole` trains the model on images. `begun` is the epoch in which the training is. If this epoch already trains all
    layers, features are not computed again.
    """
    model, splits, recipe, first = whole.model, whole.splits, whole.recipe, whole
    if recipe.cache_features:
        advice = FAST_IS_FOR_HEADS if not assignment.job.training.cache_features else LEAVE_OUT
        head, on = head_of(model, advice), splits
        if begun <= recipe.epochs or not recipe.unfrozen_epochs:  # also to test what has ended
            # The last phase is the one that is tested, and a phase with all layers is tested on images.
            last = not recipe.unfrozen_epochs
            on = features_of(model, splits, assignment.on_message, stop=assignment.stop, test=last)
        first = replace(whole, model=head, splits=on)

    if not recipe.unfrozen_epochs:
        return (first,)

    # All layers are trained on the images again, usually at a lower rate than the head's.
    slower = replace(recipe, learning_rate=recipe.unfrozen_rate or recipe.learning_rate)
    return first, replace(whole, recipe=slower, epochs=recipe.unfrozen_epochs, unfreeze=True)


def _check_not_hopeless(assignment: Assignment, dataset: DatasetSpec) -> None:
    """Refuse a training that the model's latency rules out, as it was timed in this run."""
    if assignment.job.limit_s is not None and assignment.job.image_s is not None and dataset.counts is not None:
        recipe = _recipe(assignment, dataset, None, None)
        check_not_hopeless(assignment.job.image_s, dataset.counts.train, recipe, limit_s=assignment.job.limit_s)


def _width(model: nn.Module, split: Split) -> int:
    """Return the number of the model's outputs."""
    return forward(model, first_batch(split, 1)[0]).shape[1]


def check_suits(spec: ModelSpec, dataset: DatasetSpec) -> None:
    """Check that a model suits a dataset, from what its entry declares before it is built.

    Raises:
        UnsupportedError: the images do not fit the model, or it has too few outputs.
    """
    _check_outputs(spec.classes, dataset)
    view_of(spec, dataset)


def _check_outputs(outputs: int | None, dataset: DatasetSpec) -> None:
    if outputs is not None and outputs < dataset.classes:
        raise UnsupportedError(
            f"The model's output is {outputs} wide, but {dataset.name} has {dataset.classes} classes."
        )


def _measurements(fitted: FitResult, scores: Scores, trained: int, features_s: float | None) -> tuple[Measurement, ...]:
    # Not every training computes features or records steps; quantities without a value have no measurement.
    once = () if features_s is None else (Measurement(quantity="features_s", samples=(features_s,)),)
    steps = tuple(
        Measurement(quantity=f"step_{name}", samples=tuple(float(getattr(seen, name)) for seen in fitted.steps))
        for name in BY_STEP
        if fitted.steps
    )

    return (
        Measurement(quantity="trained", samples=(float(trained),)),
        Measurement(quantity="correct", samples=(float(scores.correct),)),
        Measurement(quantity="tested", samples=(float(scores.tested),)),
        Measurement(quantity="top1", samples=(scores.top1,)),
        *(Measurement(quantity=quantity, samples=fitted.values_by_epoch(quantity)) for quantity in BY_EPOCH),
        *once,
        *steps,
    )


def _kernels(fitted: FitResult, model: nn.Module) -> tuple[Measurement, ...]:
    """Return the kernels of the first convolution after each recorded step, if they were recorded."""
    last = kept_kernels(model)
    samples = tuple(weight for seen in fitted.steps for weight in seen.kernels)
    if last is None or not samples:
        return ()
    shape = tuple(map(float, last.shape))
    return (
        Measurement(quantity="step_kernels", samples=samples, iterations_per_sample=last.numel()),
        Measurement(quantity="kernel_shape", samples=shape),
    )


def run(assignment: Assignment) -> Outcome:
    """Train and test the assignment's model, or only test it if the assignment names a part of the dataset."""
    if assignment.job.part is not None:
        return measure_scores(assignment)
    case = assignment.case

    def on_epoch(seen: EpochSeen) -> None:
        # Columns have a fixed width, so that the lines of all epochs align.
        of = len(str(seen.epochs))
        text = (
            f"epoch {seen.epoch:{of}}/{seen.epochs}  loss {seen.train_loss:7.4f}  "
            f"training {100 * seen.train_top1:5.1f} %  validation {100 * seen.val_top1:5.1f} %  "
            f"{seen.train_img_per_s:8,.0f} images/s"
        )
        assignment.on_message(text, seen.epoch / seen.epochs, True)  # noqa: FBT003 - lasting

    dataset = data.find(case.dataset or "")
    # Before a large model is built, and a dataset read, for nothing.
    check_suits(assignment.spec, dataset)
    _check_not_hopeless(assignment, dataset)
    prepared = prepare(assignment.build(), case.variant, case.device)

    # Under the reference variant, the model is trained as it is, without `prepared`.
    return measure_accuracy(
        assignment,
        prepared.model,
        dataset,
        on_epoch=on_epoch,
        prepared=None if case.variant.name == REFERENCE else prepared,
        team=join(case.device),
    )
