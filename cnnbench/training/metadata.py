"""Metadata of a training: the sentence beside its result, its checkpoint's facts, its identity."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import nn

from cnnbench import checkpoint as checkpoints
from cnnbench._version import __version__
from cnnbench.data.batches import Augmentation
from cnnbench.data.dataset import DatasetSpec
from cnnbench.jobs import Assignment
from cnnbench.spec import Case, ModelSpec, Recipe
from cnnbench.training.preprocessing import augmentation_of
from cnnbench.training.resume import FileKeeper, Identity, state_path
from cnnbench.training.time_forecast import rounds_text
from cnnbench.variants import REFERENCE


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingMetadata:
    """Model, dataset and settings of a training; `pooled` counts pools moved before ReLU, `notes` are the dataset's."""

    spec: ModelSpec
    dataset: DatasetSpec
    recipe: Recipe
    case: Case
    variant: str
    pooled: int
    processes: int
    images: int
    notes: tuple[str, ...]

    @property
    def epochs(self) -> int:
        """Return the number of all epochs, including those with all layers."""
        return self.recipe.epochs + self.recipe.unfrozen_epochs

    @property
    def _has_fixed_epochs(self) -> bool:
        return self.recipe.one_cycle or bool(self.recipe.unfrozen_epochs)

    def keeper(self, assignment: Assignment, model: nn.Module, *, writes: bool) -> FileKeeper | None:
        """Return the keeper of the training of `model` beside its checkpoint, None without a checkpoint."""
        if assignment.job.checkpoint is None:
            return None

        identity = Identity(
            model=self.spec.name,
            dataset=self.dataset.name,
            data=(f"{self.images} images", *self.notes),
            # With a constant rate, more epochs only continue the training, so their number may differ.
            recipe=self.recipe if self._has_fixed_epochs else replace(self.recipe, epochs=0),
            variant=self.variant,
            log_every=assignment.job.training.log_every,
            device=self.case.device,
            processes=self.processes,
            deterministic=torch.are_deterministic_algorithms_enabled(),
            seed=self.case.seed,
            threads=torch.get_num_threads(),
            torch=str(torch.__version__),
            # The state of a head contains no other layers, so a checksum identifies those that compute its features.
            frozen_weights=_checksum(model) if self.recipe.cache_features else "",
        )
        return FileKeeper(
            state_path(Path(assignment.job.checkpoint)),
            identity,
            epochs=self.epochs,
            resume=assignment.job.resume,
            stop=assignment.stop,
            writes=writes,
        )

    def info(self, *, classes: int, top1: float) -> checkpoints.CheckpointInfo:
        """Return the metadata that the checkpoint stores."""
        return checkpoints.CheckpointInfo(
            model=self.spec.name,
            input_shape=self.spec.input_shape,
            classes=classes,
            dataset=self.dataset.name,
            class_names=self.dataset.class_names,
            recipe=self.recipe,
            recipe_name=self.case.recipe,
            epochs=self.epochs,
            seed=self.case.seed,
            top1=top1,
            cnnbench=__version__,
            torch=str(torch.__version__),
        )

    def result_notes(self) -> tuple[str, ...]:
        """Return the notes beside the result: how the model was trained, and those of the dataset."""
        return self.sentence(), *self.notes

    def sentence(self) -> str:
        """Return the sentence that says how the model was trained."""
        recipe = self.recipe
        # Empty parts do not apply to this training and are left out.
        parts = (
            recipe.loss.replace("_", "-") + (", divided by the batch size" if recipe.divides_losses else ""),
            f"{recipe.optimizer} {recipe.learning_rate:g}{f' momentum {recipe.momentum:g}' if recipe.momentum else ''}"
            + (" at most, one cycle" if recipe.one_cycle else ""),
            f"batch {recipe.batch_size}",
            rounds_text(recipe.epochs),
            "shuffled" if recipe.shuffled else "in stored order",
            "normalised" if recipe.mean else "not normalised",
            self._augmentation_text(),
            "on features computed once" if recipe.cache_features else "",
            "pooling before ReLU, which is the same function" if self.pooled else "",
            "batch statistics of frozen layers moving"
            if recipe.frozen_statistics_move and not recipe.cache_features
            else "",
            f"then {rounds_text(recipe.unfrozen_epochs)} with all layers at {recipe.unfrozen_rate:g}"
            if recipe.unfrozen_epochs
            else "",
        )

        # Conditions that change the numbers, but not the recipe, end the sentence.
        under = "" if self.variant == REFERENCE else f", under {self.variant}"
        under += f", by {self.processes} processes" if self.processes > 1 else ""
        under += ", by deterministic algorithms" if torch.are_deterministic_algorithms_enabled() else ""
        on = f"Trained on {self.images} images of {self.dataset.name} by {self._recipe_text()}"
        return f"{on}: {', '.join(filter(None, parts))}{under}."

    def _augmentation_text(self) -> str:
        augmentation = augmentation_of(self.recipe, self.dataset)
        return _words(augmentation) + (", validation and test too" * bool(augmentation and self.recipe.augments_all))

    def _recipe_text(self) -> str:
        if self.case.recipe == "fast":
            return "the dataset's fast recipe"
        if self.spec.recipe is None:
            return "the default recipe"
        if self.case.recipe == "tutorial":
            return "its tutorial's recipe"
        return "its tutorial's recipe as printed"


def _checksum(model: nn.Module) -> str:
    """Return the start of the SHA-256 of all parameters that are not trained and of all buffers."""
    digest = hashlib.sha256()
    for name, value in model.state_dict(keep_vars=True).items():
        if not value.requires_grad:
            digest.update(name.encode())
            digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:12]


def _words(augmentation: Augmentation | None) -> str:
    if augmentation is None:
        return "no augmentation"
    flipped = ("mirrored at random",) if augmentation.flip else ()
    cut = (f"cut out at random after padding by {augmentation.padding}",) if augmentation.padding else ()
    return " and ".join((*flipped, *cut))
