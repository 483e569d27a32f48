"""A dataset as a network and its recipe want it: its parts, how pictures are shown, what is done to them at random."""

from __future__ import annotations

from dataclasses import dataclass, replace

from cnnbench import data
from cnnbench.data.batches import Augmentation, Splits, View, splits_of, view_for
from cnnbench.data.dataset import DatasetSpec, Read, Tell, no_news
from cnnbench.data.mnist import SAME_NOTE
from cnnbench.runners.train import DEFAULT_RECIPE
from cnnbench.spec import ModelSpec, Recipe

HALVES_NOTE = "The first half of the test pictures validates, the second half tests, as in the tutorial."


@dataclass(frozen=True, kw_only=True, slots=True)
class Wanted:
    """A dataset's parts as they were read, how the network sees them, and what belongs beside every result."""

    splits: Splits
    view: View
    notes: tuple[str, ...]


def recipe_of(spec: ModelSpec) -> Recipe:
    """Return the recipe of a network, the default one where no tutorial trains it."""
    return spec.recipe or DEFAULT_RECIPE


def wanted(spec: ModelSpec, dataset: DatasetSpec, *, data_dir: str | None, tell: Tell = no_news) -> Wanted:
    """Return the dataset for the network of `spec`, found in `data_dir` or where `data.places` says.

    Raises:
        UnsupportedError: the pictures do not fit the network; found out before anything is read.
        MissingError: the dataset is not there.
        UsageError: a file of it is damaged, or not what it must be.
    """
    recipe = recipe_of(spec)
    view = view_for(spec.input_shape, dataset.shape, recipe.mean, recipe.std)
    read = data.read(dataset, spec.input_shape, data_dir=data_dir, tell=tell)
    return Wanted(splits=parts_of(read, recipe, dataset), view=view, notes=_notes(read, recipe, dataset))


def parts_of(read: Read, recipe: Recipe, dataset: DatasetSpec) -> Splits:
    """Return the dataset's parts, or those that the recipe makes of its own dataset."""
    splits = splits_of(read, dataset.classes)
    if not _halves(recipe, dataset):
        return splits
    half = len(splits.test) // 2
    return replace(splits, val=splits.test.part(slice(half)), test=splits.test.part(slice(half, None)))


def _halves(recipe: Recipe, dataset: DatasetSpec) -> bool:
    return recipe.halves and dataset.name == recipe.dataset


def _notes(read: Read, recipe: Recipe, dataset: DatasetSpec) -> tuple[str, ...]:
    if not _halves(recipe, dataset):
        return read.notes
    return (HALVES_NOTE, *(note for note in read.notes if note != SAME_NOTE))


def augmentation_of(recipe: Recipe, dataset: DatasetSpec) -> Augmentation | None:
    """Return what the recipe does to pictures of its own dataset at random: a digit that is mirrored is none."""
    if dataset.name != recipe.dataset or not (recipe.flip or recipe.crop_padding):
        return None
    return Augmentation(flip=recipe.flip, padding=recipe.crop_padding)
