"""Train a network by its tutorial's recipe, seeded, and tell what every epoch gave."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from cnnbench.clock import Clock
from cnnbench.data.batches import Split, Splits, batches
from cnnbench.runners.evaluate import main_logits, score
from cnnbench.spec import CnnbenchError, Recipe, UsageError

DEFAULT_RECIPE = Recipe(
    dataset="any",
    transform="pixels in [0, 1]",
    loss="cross_entropy",
    optimizer="sgd",
    learning_rate=0.01,
    momentum=0.9,
    batch_size=64,
    epochs=10,
    shuffled=True,
)
"""For networks that no tutorial trains (torchvision's, a user's own). Our choice: plain, the same for all of them, and
tuned for none, so their accuracies say how a network takes to it, not the best that it can reach."""

CHECK_EVERY = 50
"""Steps between two looks at the losses: each look waits for the device. Our choice."""


class DivergedError(CnnbenchError):
    """Training stopped because the loss is no longer a number."""


@dataclass(frozen=True, kw_only=True, slots=True)
class EpochSeen:
    """What one epoch (counted from 1) gave: mean loss over its pictures, then the validation pictures' top-1.

    `epoch_s` is the seconds of its steps and data path, without validation.
    """

    epoch: int
    epochs: int
    train_loss: float
    val_top1: float
    epoch_s: float
    learning_rate: float


@dataclass(frozen=True, kw_only=True, slots=True)
class FitResult:
    """What training gave, by epoch; units as in `EpochSeen`."""

    train_loss: tuple[float, ...]
    val_top1: tuple[float, ...]
    epoch_s: tuple[float, ...]
    learning_rate: tuple[float, ...]


class Trainer:
    """A network, its recipe's loss and its optimiser, ready to make steps.

    Parameters that need no gradient are not given to the optimiser.
    """

    def __init__(self, model: nn.Module, recipe: Recipe) -> None:
        """Make the optimiser anew.

        Raises:
            UsageError: every parameter is frozen.
        """
        self.model = model
        self.recipe = recipe
        self._optimizer = optimizer_for(model, recipe)
        self._loss = functional.nll_loss if recipe.loss == "nll" else functional.cross_entropy

    def step(self, images: Tensor, labels: Tensor) -> Tensor:
        """Make one step on a batch and return its mean loss (on the device, without a graph)."""
        self._optimizer.zero_grad()
        loss = self._loss(main_logits(self.model(images)), labels)
        loss.backward()  # type: ignore[no-untyped-call]
        self._optimizer.step()
        return loss.detach()

    def learning_rate(self) -> float:
        """Return the rate of the next step."""
        return float(self._optimizer.param_groups[0]["lr"])


def fit(
    model: nn.Module,
    splits: Splits,
    recipe: Recipe,
    *,
    epochs: int,
    seed: int,
    clock: Clock,
    on_epoch: Callable[[EpochSeen], None] | None = None,
) -> FitResult:
    """Train `model` from the weights that it has, for `epochs` over `splits.train`, which lies on the model's device.

    The seed fixes dropout and the order of the pictures; the first weights are the caller's. Loss, optimiser, batch
    size and shuffling are the recipe's. Frozen layers stay in evaluation mode, so that their batch statistics do not
    move. A last batch of a single picture is left out where the recipe's batches are larger, because batch
    normalisation cannot take it. The network is left in evaluation mode.

    Raises:
        DivergedError: a loss is not finite.
        UsageError: there is nothing to train.
    """
    torch.manual_seed(seed)
    order = torch.Generator().manual_seed(seed) if recipe.shuffled else None
    trainer = Trainer(model, recipe)
    seen: list[EpochSeen] = []
    for epoch in range(1, epochs + 1):
        training_mode(model)
        # Timed: shuffling, making batches, steps, reading losses. Not timed: changing modes, validation, on_epoch.
        clock.synchronize()
        start = clock.now_ns()
        loss = _epoch(trainer, splits.train, order, epoch)
        clock.synchronize()
        epoch_s = (clock.now_ns() - start) / 1e9
        seen.append(
            EpochSeen(
                epoch=epoch,
                epochs=epochs,
                train_loss=loss,
                val_top1=score(model, splits.val).top1,
                epoch_s=epoch_s,
                learning_rate=trainer.learning_rate(),
            )
        )
        if on_epoch is not None:
            on_epoch(seen[-1])
    return FitResult(
        train_loss=tuple(e.train_loss for e in seen),
        val_top1=tuple(e.val_top1 for e in seen),
        epoch_s=tuple(e.epoch_s for e in seen),
        learning_rate=tuple(e.learning_rate for e in seen),
    )


def training_mode(model: nn.Module) -> None:
    """Put `model` into training mode, but for the parts whose parameters are all frozen."""
    model.train()
    for part in model.children():
        flags = [p.requires_grad for p in part.parameters()]
        if flags and not any(flags):
            part.eval()
        else:
            training_mode(part)


def optimizer_for(model: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """Return the recipe's optimiser over the parameters that get a gradient.

    Raises:
        UsageError: there is none.
    """
    chosen = [p for p in model.parameters() if p.requires_grad]
    if not chosen:
        raise UsageError("Every parameter of the network is frozen, so there is nothing to train.")
    if recipe.optimizer == "adam":
        return torch.optim.Adam(chosen, lr=recipe.learning_rate)
    return torch.optim.SGD(chosen, lr=recipe.learning_rate, momentum=recipe.momentum)


def _epoch(trainer: Trainer, split: Split, order: torch.Generator | None, epoch: int) -> float:
    """Make one pass over `split` and return the mean loss over its pictures."""
    total, pictures, steps = 0.0, 0, 0
    waiting: list[tuple[Tensor, int]] = []
    for images, labels in batches(split, trainer.recipe.batch_size, order=order, keep_single=False):
        waiting.append((trainer.step(images, labels), len(labels)))
        pictures += len(labels)
        if len(waiting) == CHECK_EVERY:
            total += _checked_sum(waiting, epoch, steps, trainer.learning_rate())
            steps += len(waiting)
            waiting = []
    if waiting:
        total += _checked_sum(waiting, epoch, steps, trainer.learning_rate())
    return total / pictures


def _checked_sum(losses: list[tuple[Tensor, int]], epoch: int, before: int, learning_rate: float) -> float:
    """Return the summed loss of all pictures; `losses` are batch means with batch sizes, after `before` steps."""
    total = 0.0
    values = torch.stack([loss for loss, _ in losses]).tolist()
    for step, (value, (_, count)) in enumerate(zip(values, losses, strict=True), start=before + 1):
        if not math.isfinite(value):
            raise DivergedError(
                f"The loss became {value} in epoch {epoch}, step {step}, at learning rate {learning_rate:g}; "
                "a lower learning rate may help."
            )
        total += value * count
    return total
