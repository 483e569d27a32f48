"""Accuracy of a network on a dataset: train it by its recipe within a time limit, test once, keep the weights."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from cnnbench import checkpoint as checkpoints
from cnnbench import data
from cnnbench._version import __version__
from cnnbench.data.batches import Augmentation, Split, adapted, batch_count
from cnnbench.data.dataset import DatasetSpec
from cnnbench.quantity import BY_EPOCH
from cnnbench.record import Measurement, Outcome
from cnnbench.runners import Assignment
from cnnbench.runners.datasets import augmentation_of, recipe_of, wanted
from cnnbench.runners.evaluate import Scores, score
from cnnbench.runners.fit import EpochSeen, FitResult, fit
from cnnbench.runners.limit import check_fits, first_batch, forward, rounds_text
from cnnbench.runners.resume import FileKeeper, Identity, state_path
from cnnbench.runners.team import Team, join
from cnnbench.runners.testing import measure_scores
from cnnbench.spec import Case, ModelSpec, Recipe, UnsupportedError
from cnnbench.variants import REFERENCE, Prepared, prepare


def measure_accuracy(
    assignment: Assignment,
    model: nn.Module,
    dataset: DatasetSpec,
    *,
    on_epoch: Callable[[EpochSeen], None] | None = None,
    prepared: Prepared | None = None,
    team: Team | None = None,
) -> Outcome:
    """Train `model` on `dataset` as the assignment says, by its network's recipe, and return how it does on the test.

    Training starts from the weights that `model` has. Within a limit its time is predicted first, from steps that leave
    no trace. With a checkpoint, the weights are written there, and beside it training in progress. With `prepared`
    steps are made under its variant. In a `team` all processes train; the first one validates, tests and writes.

    Raises:
        UnsupportedError: the pictures do not fit the network, it has too few outputs, or it would exceed the limit.
        DivergedError: the loss became infinite or no number.
        MissingError: the dataset is not there.
        UsageError: a file of it is damaged, the checkpoint cannot be written, or every parameter is frozen.
    """
    case, spec, clock = assignment.case, assignment.spec, assignment.clock
    recipe, leads = recipe_of(spec), team is None or team.rank == 0
    _check_outputs(spec.classes, dataset)
    found = wanted(spec, dataset, data_dir=assignment.data_dir, tell=lambda text, _: assignment.hear(text, 0.0))
    splits = adapted(found.splits, found.view, case.device, augmentation_of(recipe, dataset))
    model.to(case.device)
    _check_outputs(width := _width(model, splits.val), dataset)
    training = _Training(
        spec=spec,
        dataset=dataset,
        recipe=recipe,
        epochs=assignment.epochs or epochs_for(recipe, dataset),
        case=case,
        variant=REFERENCE if prepared is None else prepared.variant.name,
        processes=1 if team is None else team.size,
        pictures=len(splits.train),
        notes=found.notes,
    )
    if assignment.limit_s is not None:
        check_fits(model, splits, recipe, epochs=training.epochs, limit_s=assignment.limit_s, clock=clock)
    keeper = training.keeper(assignment, writes=leads)
    fitted = fit(
        *(model, splits, recipe),
        epochs=training.epochs,
        seed=case.seed,
        clock=clock,
        on_epoch=on_epoch,
        keeper=keeper,
        prepared=prepared,
        team=team,
    )
    if not leads:
        return Outcome()
    scores = score(model, splits.test)
    if assignment.checkpoint is not None and keeper is not None:
        checkpoints.save(Path(assignment.checkpoint), model, training.info(classes=width, top1=scores.top1))
        if not assignment.stop():  # who said so will not hear of the result: going on tests the weights once more
            keeper.forget()
    return Outcome(measurements=_measurements(fitted, scores, training.pictures), notes=training.told())


@dataclass(frozen=True, kw_only=True, slots=True)
class _Training:
    """What is trained, on what and how; `notes` are those of the dataset."""

    spec: ModelSpec
    dataset: DatasetSpec
    recipe: Recipe
    epochs: int
    case: Case
    variant: str
    processes: int
    pictures: int
    notes: tuple[str, ...]

    def keeper(self, assignment: Assignment, *, writes: bool) -> FileKeeper | None:
        """Return what keeps the training beside its checkpoint, if it has one."""
        if assignment.checkpoint is None:
            return None
        identity = Identity(
            model=self.spec.name,
            dataset=self.dataset.name,
            data=(f"{self.pictures} pictures", *self.notes),
            recipe=self.recipe,
            variant=self.variant,
            device=self.case.device,
            processes=self.processes,
            deterministic=torch.are_deterministic_algorithms_enabled(),
            seed=self.case.seed,
            threads=torch.get_num_threads(),
            torch=str(torch.__version__),
        )
        return FileKeeper(
            state_path(Path(assignment.checkpoint)),
            identity,
            epochs=self.epochs,
            resume=assignment.resume,
            stop=assignment.stop,
            writes=writes,
        )

    def info(self, *, classes: int, top1: float) -> checkpoints.CheckpointInfo:
        """Return what the checkpoint says of itself."""
        return checkpoints.CheckpointInfo(
            model=self.spec.name,
            input_shape=self.spec.input_shape,
            classes=classes,
            dataset=self.dataset.name,
            class_names=self.dataset.class_names,
            recipe=self.recipe,
            epochs=self.epochs,
            seed=self.case.seed,
            top1=top1,
            cnnbench=__version__,
            torch=str(torch.__version__),
        )

    def told(self) -> tuple[str, ...]:
        """Return what belongs beside the result: how the network was trained, and what is said of the dataset."""
        return self.sentence(), *self.notes

    def sentence(self) -> str:
        """Return the sentence that says how the network was trained."""
        recipe = self.recipe
        whose = "its tutorial's recipe" if self.spec.recipe is not None else "the default recipe"
        momentum = f" momentum {recipe.momentum:g}" if recipe.momentum else ""
        order = "shuffled" if recipe.shuffled else "in stored order"
        normalised = "normalised" if recipe.mean else "not normalised"
        under = "" if self.variant == REFERENCE else f", under {self.variant}"
        under += f", by {self.processes} processes" if self.processes > 1 else ""
        under += ", by deterministic algorithms" if torch.are_deterministic_algorithms_enabled() else ""
        return (
            f"Trained on {self.pictures} pictures of {self.dataset.name} by {whose}: {recipe.loss.replace('_', '-')}, "
            f"{recipe.optimizer} {recipe.learning_rate:g}{momentum}, batch {recipe.batch_size}, "
            f"{rounds_text(self.epochs)}, {order}, {normalised}, "
            f"{_words(augmentation_of(recipe, self.dataset))}{under}."
        )


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


def _measurements(fitted: FitResult, scores: Scores, trained: int) -> tuple[Measurement, ...]:
    return (
        Measurement(quantity="trained", samples=(float(trained),)),
        Measurement(quantity="correct", samples=(float(scores.correct),)),
        Measurement(quantity="tested", samples=(float(scores.tested),)),
        Measurement(quantity="top1", samples=(scores.top1,)),
        *(Measurement(quantity=quantity, samples=fitted.by_epoch(quantity)) for quantity in BY_EPOCH),
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
        assignment,
        prepared.model,
        data.find(case.dataset or ""),
        on_epoch=on_epoch,
        prepared=None if case.variant.name == REFERENCE else prepared,
        team=join(case.device),
    )
