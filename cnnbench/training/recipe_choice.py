"""Choose the recipe of a training: the tutorial's, the page's with its mistakes, or the dataset's fast one."""

from __future__ import annotations

from dataclasses import asdict, replace

from cnnbench import data
from cnnbench.data.batches import batch_count
from cnnbench.data.dataset import DatasetSpec
from cnnbench.spec import DEFAULT_RECIPE, ModelSpec, Recipe, RecipeName, Training, UsageError

# Learning rate with all layers as a share of the head's, if neither recipe nor user gives one. It is that of the
# tutorial that freezes and unfreezes VGG-16 (Adam 0.01, then 0.0001).
UNFROZEN_SHARE = 0.01


def recipe_of(spec: ModelSpec) -> Recipe:
    """Return the recipe of a model, the default one if no tutorial trains it."""
    return spec.recipe or DEFAULT_RECIPE


def recipe_for(spec: ModelSpec, dataset: DatasetSpec, name: RecipeName) -> Recipe:
    """Return the recipe `name` of a model on a dataset.

    `fast` is the model's own recipe with the dataset's settings; the view of the images and the loss stay the same.
    `as-published` is the recipe as its page prints it, or the model's own if the page has no mistake.

    Raises:
        UsageError: the dataset has no fast recipe.
    """
    own = recipe_of(spec)
    if name == "as-published":
        return spec.printed_recipe or own
    if name == "tutorial":
        return own
    return replace(own, **asdict(data.fast_recipe_of(dataset)))


def change_recipe(recipe: Recipe, training: Training, dataset: DatasetSpec, *, fast: bool) -> Recipe:
    """Return `recipe` with the user's changes, and with the dataset's number of epochs if the user gives none.

    Raises:
        UsageError: a rate is given for epochs with all layers, but there are no such epochs.
    """
    # A fast recipe already has the epochs of this dataset.
    own = recipe.epochs if fast else epochs_for(recipe, dataset)
    unfrozen = recipe.unfrozen_epochs if training.unfrozen_epochs is None else training.unfrozen_epochs
    if training.unfrozen_rate is not None and not unfrozen:
        raise UsageError("--unfrozen-lr is the learning rate of later epochs. Set their number with --unfreeze.")

    # The user's rate comes before the recipe's, and that before a share of the head's rate.
    rate = training.unfrozen_rate or recipe.unfrozen_rate or recipe.learning_rate * UNFROZEN_SHARE
    return replace(
        recipe,
        epochs=training.epochs or own,
        unfrozen_epochs=unfrozen,
        unfrozen_rate=rate if unfrozen else None,
        cache_features=recipe.cache_features or training.cache_features,
    )


def epochs_for(recipe: Recipe, dataset: DatasetSpec) -> int:
    """Return the epochs if the user gives none: the dataset's, within its number of steps, otherwise the recipe's."""
    if dataset.epochs is None:
        return recipe.epochs
    if dataset.steps is None or dataset.counts is None:
        return dataset.epochs
    per_epoch = batch_count(dataset.counts.train, recipe.batch_size, keep_single=False)
    return max(1, min(dataset.epochs, dataset.steps // per_epoch))
