"""Train a network by a recipe, epoch by epoch, seeded, so that it can be stopped anywhere and gone on with."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from cnnbench.clock import Clock
from cnnbench.data.batches import Split, Splits, batches
from cnnbench.runners.evaluate import score
from cnnbench.runners.team import Team
from cnnbench.runners.train import Trainer, training_mode
from cnnbench.spec import CnnbenchError, Recipe
from cnnbench.variants import Prepared

CHECK_EVERY = 50
"""Steps between two looks at the losses: each look waits for the device. Our choice."""

LOOK_S = 0.05
"""Seconds between two looks at whether training is to stop: soon enough for a person. Our choice."""


class DivergedError(CnnbenchError):
    """Training stopped because the loss is no longer a number."""


class StoppedError(CnnbenchError):
    """Training was asked to stop, and stopped after a step."""


@dataclass(frozen=True, kw_only=True, slots=True)
class EpochSeen:
    """What one epoch (counted from 1) gave: means over its pictures as they were trained on, then on the validation's.

    `epoch_s` is the seconds of its steps and data path, without validation; `data_share` is the data path's share of
    them as the host sees it. `learning_rate` is that of its last step.
    """

    epoch: int
    epochs: int
    train_loss: float
    train_top1: float
    val_loss: float
    val_top1: float
    epoch_s: float
    train_img_per_s: float
    data_share: float
    learning_rate: float


@dataclass(frozen=True, kw_only=True, slots=True)
class FitResult:
    """What training gave, by epoch."""

    epochs: tuple[EpochSeen, ...]

    def by_epoch(self, quantity: str) -> tuple[float, ...]:
        """Return the values of one of the fields of `EpochSeen`."""
        return tuple(float(getattr(seen, quantity)) for seen in self.epochs)


@dataclass(kw_only=True, slots=True)
class Sums:
    """What the steps of an epoch add up to until now; `spent_s` is their time, `data_s` the data path's part of it."""

    loss: float = 0.0
    correct: int = 0
    pictures: int = 0
    steps: int = 0
    spent_s: float = 0.0
    data_s: float = 0.0


class Fitting:
    """A training between two steps: all that a later one depends on.

    `order` and `draw` are where the order of the pictures (None: as stored) and their augmentation come from;
    `order_state` is what `order` was before this epoch's pictures were put in order.
    """

    def __init__(
        self,
        model: nn.Module,
        recipe: Recipe,
        seed: int,
        prepared: Prepared | None = None,
        team: Team | None = None,
    ) -> None:
        """Be before the first step.

        Raises:
            UsageError: every parameter is frozen.
        """
        torch.manual_seed(seed)
        self.team = team
        self.trainer = Trainer(model, recipe, prepared, team)
        self.order = torch.Generator().manual_seed(seed) if recipe.shuffled else None
        self.draw = torch.Generator().manual_seed(seed)
        self.order_state = None if self.order is None else self.order.get_state()
        self.epoch = 1
        self.sums = Sums()
        self.seen: list[EpochSeen] = []


class Keeper(Protocol):
    """Keeps a training that is in progress."""

    def restore(self, fitting: Fitting) -> None:
        """Put `fitting` where an earlier part of it was left, if there is one."""

    def save(self, fitting: Fitting) -> None:
        """Keep where `fitting` is."""

    def stop(self) -> bool:
        """Return whether training is to stop."""


def fit(  # noqa: PLR0913 - what is trained, on what, by whose clock, and who hears and keeps it
    model: nn.Module,
    splits: Splits,
    recipe: Recipe,
    *,
    epochs: int,
    seed: int,
    clock: Clock,
    on_epoch: Callable[[EpochSeen], None] | None = None,
    keeper: Keeper | None = None,
    prepared: Prepared | None = None,
    team: Team | None = None,
) -> FitResult:
    """Train `model` from the weights that it has, for `epochs` over `splits.train`, which lies on the model's device.

    The seed fixes dropout, the order of the pictures and their augmentation; the first weights are the caller's. Loss,
    optimiser, batch size and shuffling are the recipe's. Frozen layers stay in evaluation mode, so that their batch
    statistics do not move. A last batch of a single picture is left out where the recipe's batches are larger, because
    batch normalisation cannot take it. The network is left in evaluation mode. With `prepared` steps are made under its
    variant; validation is always in the network's own precision.

    A `keeper` restores what an earlier part left, keeps every finished epoch, and may stop training after any step;
    what is gone on with ends as if it had never stopped. In a `team` each process trains on its part of every batch;
    the first one validates, and the keeper is not asked to stop, because all would have to after the same step.

    Raises:
        DivergedError: a loss is not finite.
        StoppedError: the keeper said so, and has kept how far it was.
        UsageError: there is nothing to train.
    """
    fitting = Fitting(model, recipe, seed, prepared, team)
    if keeper is not None:
        keeper.restore(fitting)
    while fitting.epoch <= epochs:
        training_mode(model)
        # Timed: shuffling, making batches, steps, reading losses. Not timed: changing modes, validation, keeping.
        clock.synchronize()
        stopped = _epoch(fitting, splits.train, clock, keeper)
        if stopped and keeper is not None:
            keeper.save(fitting)
            raise StoppedError(f"Stopped in epoch {fitting.epoch} of {epochs} after step {fitting.sums.steps}.")
        if keeper is not None:
            keeper.save(fitting)  # validation may take long, and may be ended
        fitting.seen.append(_seen(fitting, splits.val, epochs))
        fitting.epoch += 1
        fitting.sums = Sums()
        fitting.order_state = None if fitting.order is None else fitting.order.get_state()
        if keeper is not None:
            keeper.save(fitting)
        if on_epoch is not None:
            on_epoch(fitting.seen[-1])
    return FitResult(epochs=tuple(fitting.seen))


def _seen(fitting: Fitting, validation: Split, epochs: int) -> EpochSeen:
    sums, trainer = fitting.sums, fitting.trainer
    leads = fitting.team is None or fitting.team.rank == 0
    scores = score(trainer.model, validation, loss=trainer.loss) if leads else None
    spent_s = max(sums.spent_s, 1e-9)  # a clock that stands still must not divide by nothing
    return EpochSeen(
        epoch=fitting.epoch,
        epochs=epochs,
        train_loss=sums.loss / sums.pictures,
        train_top1=sums.correct / sums.pictures,
        val_loss=(scores.loss or 0.0) if scores else 0.0,
        val_top1=scores.top1 if scores else 0.0,
        epoch_s=sums.spent_s,
        train_img_per_s=sums.pictures / spent_s,
        data_share=min(1.0, sums.data_s / spent_s),
        learning_rate=trainer.learning_rate(),
    )


_Step = tuple[Tensor, Tensor, int]
"""Mean loss, right predictions (both on the device) and pictures of a step; in a team, of this process's part."""


def _epoch(fitting: Fitting, split: Split, clock: Clock, keeper: Keeper | None) -> bool:
    """Make the steps of an epoch that are still to be made; return whether the keeper stopped it.

    Nothing waits for the device but a look at the losses every so often.
    """
    sums, trainer = fitting.sums, fitting.trainer
    spent_before_s = sums.spent_s
    coming = batches(
        split,
        trainer.recipe.batch_size,
        order=fitting.order,
        draw=fitting.draw,
        keep_single=False,
        first=sums.steps,
    )
    waiting: list[_Step] = []
    stopped, data_ns = False, 0
    start = before = looked = clock.now_ns()
    for images, labels in coming:
        data_ns += clock.now_ns() - before
        waiting.append(trainer.step(images, labels))
        if len(waiting) == CHECK_EVERY:
            _add(fitting, waiting)
            waiting = []
        before = clock.now_ns()
        if keeper is not None and fitting.team is None and before - looked > LOOK_S * 1e9:
            looked = before
            if keeper.stop():
                stopped = True
                break
    if waiting:
        _add(fitting, waiting)
    clock.synchronize()
    sums.data_s += data_ns / 1e9
    sums.spent_s = spent_before_s + (clock.now_ns() - start) / 1e9
    return stopped


def _add(fitting: Fitting, steps: list[_Step]) -> None:
    """Add `steps` to the sums of the epoch, after looking whether every loss is a number."""
    sums = fitting.sums
    losses = torch.stack([loss for loss, _, _ in steps]).double()
    right = torch.stack([correct for _, correct, _ in steps]).double()
    counts = torch.tensor([count for _, _, count in steps], dtype=torch.float64, device=losses.device)
    table = torch.stack([losses * counts, right, counts])
    if fitting.team is not None:
        table = fitting.team.total(table)
    for lost, correct, count in table.T.tolist():
        sums.steps += 1
        if not math.isfinite(lost):
            raise DivergedError(
                f"The loss became {lost} in epoch {fitting.epoch}, step {sums.steps}, at learning rate "
                f"{fitting.trainer.learning_rate():g}; a lower learning rate may help."
            )
        sums.loss += lost
        sums.correct += int(correct)
        sums.pictures += int(count)
