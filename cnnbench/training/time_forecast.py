"""Predict from a few steps, which leave no trace, whether a training fits into a time limit."""

from __future__ import annotations

import copy
import math
import statistics
from collections.abc import Callable

import torch
from torch import Tensor, nn

from cnnbench.clock import Clock
from cnnbench.data.batches import Split, Splits, batch_count, batches
from cnnbench.spec import Recipe, UnsupportedError
from cnnbench.training.scoring import main_logits
from cnnbench.training.step import Trainer, training_mode

# Factor by which a rough estimate must exceed the limit before a training is refused on it alone.
#
# Rough estimates come from one image's forward pass and from a first training step. Batches and warm caches make later
# steps faster, but not tenfold for models that are slow enough to matter.
HOPELESS = 10.0

# Number of training steps for the prediction, after a first one to warm up: three, or more until half a second. The
# median of the later half counts. A fresh process becomes faster over dozens of steps of a small model: LeNet's steps
# took 24 ms at first and 3 ms later (two cores).
TIMED_STEPS = 3
TIMED_S = 0.5

_STEP_PER_FORWARD = 3.0
_MINUTE_S = 60.0
_SHOW_SECONDS_BELOW_S = 90.0
_HOUR_S = 3600.0
_SHOW_MINUTES_BELOW_S = 2.0 * _HOUR_S


def check_fits(model: nn.Module, splits: Splits, recipe: Recipe, *, limit_s: float, clock: Clock) -> None:
    """Check that the recipe's training with validation is predicted to take at most `limit_s`; keep the weights.

    The check is as brief as possible. One image's forward pass, and then a first training step, may show that the limit
    is out of reach. Each is repeated once because the first may be slow. Only then it runs more steps and validates a
    batch. If features are computed once, all images pass once, and steps of the head do not count.

    Raises:
        UnsupportedError: it would take longer; the message says about how long.
    """
    epochs = recipe.epochs + recipe.unfrozen_epochs
    image, _ = first_batch(splits.train, 1)
    forward(model, image)  # the first calls are slow: code is read from the disk, kernels are chosen

    image_s = _seconds(clock, lambda: forward(model, image))
    check_not_hopeless(image_s, len(splits.train), recipe, limit_s=limit_s)

    # The steps below change weights, statistics and gradients, and unfreezing changes flags. All are put back.
    frozen = [parameter for parameter in model.parameters() if not parameter.requires_grad]
    before = copy.deepcopy(model.state_dict())  # with the versions of its modules, which MNASNet insists on
    try:
        if recipe.cache_features:
            predicted_s = _features_s(model, splits, recipe, clock)
        else:
            predicted_s = recipe.epochs * _epoch_s(model, splits, recipe, HOPELESS * limit_s / recipe.epochs, clock)
        # Epochs with all layers are slower, and must not be timed if the others exceed the limit already.
        if recipe.unfrozen_epochs and predicted_s <= limit_s:
            model.requires_grad_()
            most_s = HOPELESS * limit_s / recipe.unfrozen_epochs
            predicted_s += recipe.unfrozen_epochs * _epoch_s(model, splits, recipe, most_s, clock)
    finally:
        for parameter in frozen:
            parameter.requires_grad_(False)  # noqa: FBT003 - torch names it otherwise for tensors
        model.load_state_dict(before)
        model.zero_grad()

    if predicted_s > limit_s:
        raise _too_long_error(predicted_s, epochs, limit_s)


def check_not_hopeless(image_s: float, images: int, recipe: Recipe, *, limit_s: float) -> None:
    """Refuse the recipe's training on `images` images if a forward pass of one, which takes `image_s`, rules it out.

    Raises:
        UnsupportedError: it would take far longer than `limit_s`; the message says about how long.
    """
    # How often all training images pass the whole model.
    passes = recipe.unfrozen_epochs + (1 if recipe.cache_features else recipe.epochs)
    rough_s = image_s * images * passes
    if rough_s > HOPELESS * limit_s:
        predicted_s = rough_s * (1.0 if recipe.cache_features else _STEP_PER_FORWARD)
        raise _too_long_error(predicted_s, recipe.epochs + recipe.unfrozen_epochs, limit_s)


def _epoch_s(model: nn.Module, splits: Splits, recipe: Recipe, hopeless_s: float, clock: Clock) -> float:
    """Return the predicted seconds of an epoch with its validation, a rough estimate if above `hopeless_s`."""
    steps = batch_count(len(splits.train), recipe.batch_size, keep_single=False)
    images, labels = first_batch(splits.train, recipe.batch_size)
    trainer = Trainer(model, recipe)
    training_mode(model)

    # A first step may be slow, so a hopeless one is repeated, and only the second one counts.
    epoch_s = steps * _seconds(clock, lambda: trainer.step(images, labels))
    if epoch_s > hopeless_s:
        epoch_s = steps * _seconds(clock, lambda: trainer.step(images, labels))

    if epoch_s > hopeless_s:
        return epoch_s

    timed: list[float] = []
    while len(timed) < TIMED_STEPS or sum(timed) < TIMED_S:
        timed.append(_seconds(clock, lambda: trainer.step(images, labels)))

    # Validation costs a forward pass of each image; one training batch gives its time.
    epoch_s = steps * statistics.median(timed[len(timed) // 2 :])
    forward_s = _seconds(clock, lambda: forward(model, images))
    return epoch_s + forward_s * len(splits.val) / len(labels)


def _features_s(model: nn.Module, splits: Splits, recipe: Recipe, clock: Clock) -> float:
    """Return the predicted seconds of one forward pass of all images."""
    images, _ = first_batch(splits.train, recipe.batch_size)
    forward(model, images)
    count = len(splits.train) + len(splits.val) + len(splits.test)
    return _seconds(clock, lambda: forward(model, images)) * count / len(images)


def _seconds(clock: Clock, act: Callable[[], object]) -> float:
    """Return the seconds that `act` takes, including its work on the device."""
    clock.synchronize()
    start = clock.now_ns()
    act()
    clock.synchronize()
    return (clock.now_ns() - start) / 1e9


def first_batch(split: Split, size: int) -> tuple[Tensor, Tensor]:
    """Return the first images of a split as the model needs them, and their labels."""
    return next(batches(split, size))


def forward(model: nn.Module, images: Tensor) -> Tensor:
    """Return the logits of a pass in evaluation mode, which changes no batch statistics."""
    model.eval()
    with torch.no_grad():
        return main_logits(model(images))


def _too_long_error(predicted_s: float, epochs: int, limit_s: float) -> UnsupportedError:
    return UnsupportedError(
        f"Training {rounds_text(epochs)} would take about {_duration(predicted_s)}, "
        f"but its share of the budget is {_duration(limit_s)}."
    )


def rounds_text(epochs: int) -> str:
    """Return the number of epochs as text, such as "1 epoch" or "20 epochs"."""
    return "1 epoch" if epochs == 1 else f"{epochs} epochs"


def _duration(seconds: float) -> str:
    """Return a duration with about two digits, rounded up: 40 s, 95 min, 12 h."""
    if seconds < _SHOW_SECONDS_BELOW_S:
        return f"{max(1, math.ceil(seconds))} s"
    if seconds < _SHOW_MINUTES_BELOW_S:
        return f"{math.ceil(seconds / _MINUTE_S)} min"
    return f"{math.ceil(seconds / _HOUR_S)} h"
