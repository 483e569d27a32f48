"""Prepare a dataset as a model and its recipe need it: parts, normalisation, augmentation."""

from __future__ import annotations

from dataclasses import dataclass, replace

from cnnbench import data
from cnnbench.data.batches import Augmentation, Splits, View, splits_of, view_for
from cnnbench.data.dataset import DatasetSpec, OnProgress, Read, ignore_progress
from cnnbench.data.mnist import SAME_NOTE
from cnnbench.models import MODELS
from cnnbench.spec import ModelSpec, Recipe
from cnnbench.training.recipe_choice import recipe_of

HALVES_NOTE = "Validation uses the first half of the test images, and testing the second half, as in the tutorial."


@dataclass(frozen=True, kw_only=True, slots=True)
class Wanted:
    """A dataset's parts as they were read, how the model sees them, and the notes beside every result."""

    splits: Splits
    view: View
    notes: tuple[str, ...]


def view_of(spec: ModelSpec, dataset: DatasetSpec) -> View:
    """Return how the model sees the images of a dataset.

    A model that takes features sees the images as the model that computes the features does.

    Raises:
        UnsupportedError: the images do not fit the model.
    """
    recipe = recipe_of(spec)
    shape = MODELS[spec.features_of].input_shape if spec.features_of else spec.input_shape
    return view_for(shape, dataset.shape, recipe.mean, recipe.std)


def load_dataset(
    spec: ModelSpec,
    dataset: DatasetSpec,
    *,
    data_dir: str | None,
    recipe: Recipe | None = None,
    on_progress: OnProgress = ignore_progress,
) -> Wanted:
    """Return the dataset for the model of `spec`, found in `data_dir` or where `data.places` says.

    `recipe` is the recipe of the training; None means the model's own.

    Raises:
        UnsupportedError: the images do not fit the model; this is checked before anything is read.
        MissingError: the dataset is not there.
        UsageError: a file of the dataset is damaged, or not the expected one.
    """
    recipe = recipe or recipe_of(spec)
    view = view_of(spec, dataset)
    read = data.read(dataset, view.input_shape, data_dir=data_dir, on_progress=on_progress)
    return Wanted(splits=parts_of(read, recipe, dataset), view=view, notes=_notes(read, recipe, dataset))


def parts_of(read: Read, recipe: Recipe, dataset: DatasetSpec) -> Splits:
    """Return the dataset's parts; of the recipe's own dataset, return the parts that the recipe makes."""
    splits = splits_of(read, dataset.classes)
    if dataset.name != recipe.dataset:
        return splits
    if recipe.halves:
        half = len(splits.test) // 2
        splits = replace(splits, val=splits.test.part(slice(half)), test=splits.test.part(slice(half, None)))
    if recipe.trains_on_test:
        splits = replace(splits, train=splits.test)
    return replace(splits, val=splits.train) if recipe.validates_on_train else splits


def _notes(read: Read, recipe: Recipe, dataset: DatasetSpec) -> tuple[str, ...]:
    if dataset.name != recipe.dataset:
        return read.notes
    said = (
        HALVES_NOTE if recipe.halves else "",
        "Trained on the test images, as the page does." if recipe.trains_on_test else "",
        "Validated on the training images, as the page does." if recipe.validates_on_train else "",
    )
    # `SAME_NOTE` describes the stored parts, so it is wrong beside changed ones.
    changed = tuple(filter(None, said))
    return (*changed, *(note for note in read.notes if not changed or note != SAME_NOTE))


def augmentation_of(recipe: Recipe, dataset: DatasetSpec) -> Augmentation | None:
    """Return the recipe's augmentation for its own dataset, None for others: a mirrored digit is not a digit.

    Features that are computed once have no augmentation either.
    """
    if dataset.name != recipe.dataset or not (recipe.flip or recipe.crop_padding) or recipe.cache_features:
        return None
    return Augmentation(flip=recipe.flip, padding=recipe.crop_padding)
