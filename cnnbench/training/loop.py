"""Train a model by a recipe, epoch by epoch, so that it can be stopped anywhere and resumed."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Protocol

import torch
from torch import Tensor

from cnnbench.clock import Clock
from cnnbench.data.batches import batches
from cnnbench.models.find_convolutions import kept_kernels
from cnnbench.spec import CnnbenchError
from cnnbench.training.distributed import ProcessGroup
from cnnbench.training.scoring import score
from cnnbench.training.state import EpochSeen, EpochTotals, FitResult, Phase, StepSeen, TrainingState
from cnnbench.training.step import training_mode

# Steps between two checks of the losses; each check waits for the device.
CHECK_EVERY = 50

# Seconds between two checks for a request to stop, which is soon enough for a person.
LOOK_S = 0.05


class DivergedError(CnnbenchError):
    """Training stopped because its loss became infinite or NaN."""


class StoppedError(CnnbenchError):
    """Training was asked to stop, and stopped after a step."""


class Checkpointer(Protocol):
    """Keeps a training that is in progress."""

    def restore(self, fitting: TrainingState) -> None:
        """Restore `fitting` to the state that an earlier part of it left, if there is one."""

    def save(self, fitting: TrainingState) -> None:
        """Save the state of `fitting`."""

    def stop(self) -> bool:
        """Return whether the training shall stop."""


def fit_phases(
    phases: Sequence[Phase],
    *,
    seed: int,
    clock: Clock,
    log_every: int = 0,
    on_epoch: Callable[[EpochSeen], None] | None = None,
    keeper: Checkpointer | None = None,
    team: ProcessGroup | None = None,
) -> FitResult:
    """Train the models of `phases` in turn, from their current weights; images lie on the models' device.

    The seed fixes dropout, the order of the images and their augmentation; the first weights are the caller's. Loss,
    optimiser, rate, batch size and shuffling are the recipe's. Frozen layers stay in evaluation mode, so that their
    batch statistics do not move, unless the recipe says that they do. A last batch of a single image is left out if the
    recipe's batches are larger, because batch normalisation cannot process it. Models are left in evaluation mode. With
    a phase's `prepared`, steps run under its variant; validation always runs in the model's own precision. With
    `log_every`, loss and accuracy are recorded at this interval of steps, and at the end of every epoch.

    A `keeper` restores what an earlier part left, saves every finished epoch, and may stop the training after any step.
    A resumed training ends as if it had never stopped. In a `team`, each process trains on its part of every batch, and
    the first one validates. The keeper cannot stop a team, because all processes would have to stop after one step.

    Raises:
        DivergedError: a loss is not finite.
        StoppedError: the keeper stopped the training and has saved its state.
        UsageError: there is nothing to train.
    """
    fitting = TrainingState(phases, seed, team)
    if keeper is not None:
        keeper.restore(fitting)

    epochs = fitting.epochs
    while fitting.epoch <= epochs:
        _enter_training_mode(fitting)
        # Timed: shuffling, making batches, steps, reading losses. Not timed: changing modes, validation, saving.
        clock.synchronize()
        stopped = _run_epoch(fitting, clock, keeper, log_every)
        if stopped and keeper is not None:
            keeper.save(fitting)
            raise StoppedError(f"Stopped in epoch {fitting.epoch} of {epochs} after step {fitting.sums.steps}.")
        if keeper is not None:
            keeper.save(fitting)  # validation may take long, and may be interrupted

        validated = _validate(fitting)
        if log_every and fitting.sums.interval_images:
            _record_steps(fitting, validated)
        fitting.seen.append(_epoch_summary(fitting, validated))
        fitting.sums = EpochTotals()
        # A resumed epoch must shuffle its images again from this state.
        fitting.shuffle_state = None if fitting.shuffle_rng is None else fitting.shuffle_rng.get_state()
        fitting.go_to(fitting.epoch + 1)
        # Replaces the state from before the validation, so that a resume does not validate again.
        if keeper is not None:
            keeper.save(fitting)
        if on_epoch is not None:
            on_epoch(fitting.seen[-1])

    return FitResult(epochs=tuple(fitting.seen), steps=tuple(fitting.seen_by_step))


def _enter_training_mode(fitting: TrainingState) -> None:
    if fitting.phase.recipe.frozen_statistics_move:
        fitting.phase.model.train()
    else:
        training_mode(fitting.phase.model)


def _validate(fitting: TrainingState) -> tuple[float, float]:
    """Return mean loss and share of right predictions on the validation images; zeros if another process validates."""
    if fitting.team is not None and fitting.team.rank > 0:
        return 0.0, 0.0
    # The seed is the epoch, so a resumed training changes the validation images in the same way.
    augment_rng = torch.Generator().manual_seed(fitting.epoch) if fitting.phase.recipe.augments_all else None
    scores = score(fitting.phase.model, fitting.phase.splits.val, loss=fitting.trainer.loss, augment_rng=augment_rng)
    return scores.loss or 0.0, scores.top1


def _record_steps(fitting: TrainingState, validated: tuple[float, float]) -> None:
    sums = fitting.sums
    loss, top1 = validated
    before = fitting.seen_by_step[-1].step if fitting.seen_by_step else 0
    scale = _loss_scale(fitting)
    kept = kept_kernels(fitting.phase.model)  # None without a convolution, as in a head on features

    # Sums since the last record, divided by their images, are means over this interval alone.
    fitting.seen_by_step.append(
        StepSeen(
            step=before + sums.interval_steps,
            train_loss=scale * sums.interval_loss / sums.interval_images,
            train_top1=sums.interval_correct / sums.interval_images,
            val_loss=scale * loss,
            val_top1=top1,
            kernels=() if kept is None else tuple(kept.flatten().tolist()),
        )
    )
    sums.interval_steps, sums.interval_loss, sums.interval_correct, sums.interval_images = 0, 0.0, 0, 0


def _loss_scale(fitting: TrainingState) -> float:
    recipe = fitting.phase.recipe
    return 1 / recipe.batch_size if recipe.divides_losses else 1.0


def _epoch_summary(fitting: TrainingState, validated: tuple[float, float]) -> EpochSeen:
    sums = fitting.sums
    loss, top1 = validated
    spent_s = max(sums.spent_s, 1e-9)  # avoids a division by zero with a clock that stands still
    scale = _loss_scale(fitting)
    fitting.set_rate(sums.steps - 1)  # the rate of the last step, even if an earlier process made it

    return EpochSeen(
        epoch=fitting.epoch,
        epochs=fitting.epochs,
        train_loss=scale * sums.loss / sums.images,
        train_top1=sums.correct / sums.images,
        val_loss=scale * loss,
        val_top1=top1,
        epoch_s=sums.spent_s,
        train_img_per_s=sums.images / spent_s,
        data_share=min(1.0, sums.data_s / spent_s),
        learning_rate=fitting.trainer.learning_rate(),
    )


# Mean loss, right predictions (both on the device) and number of images of a step; in a team, of this process's part.
_Step = tuple[Tensor, Tensor, int]


def _run_epoch(fitting: TrainingState, clock: Clock, keeper: Checkpointer | None, log_every: int) -> bool:
    """Do the remaining steps of an epoch; return whether the keeper stopped it.

    Only the checks of the losses wait for the device. Validation within an epoch is not timed.
    """
    sums, trainer = fitting.sums, fitting.trainer
    spent_before_s = sums.spent_s
    # A resumed epoch has the same order of images, and skips the batches of the steps that are done.
    coming = batches(
        fitting.phase.splits.train,
        trainer.recipe.batch_size,
        shuffle_rng=fitting.shuffle_rng,
        augment_rng=fitting.augment_rng,
        keep_single=False,
        first=sums.steps,
    )

    # Steps since the last check of the losses, whose numbers are still on the device.
    waiting: list[_Step] = []
    stopped, data_ns, paused_ns = False, 0, 0
    start = before = looked = clock.now_ns()

    for images, labels in coming:
        data_ns += clock.now_ns() - before
        fitting.set_rate(sums.steps + len(waiting))
        waiting.append(trainer.step(images, labels))
        due = bool(log_every) and sums.interval_steps + len(waiting) == log_every
        # A check ends every interval that is recorded, so that no step counts for the next one.
        if due or len(waiting) == CHECK_EVERY:
            _add(fitting, waiting)
            waiting = []
        before = clock.now_ns()  # the time from here to the next batch is the data path's
        if due:
            # Both waits keep the time of the validation apart from that of the steps.
            clock.synchronize()
            paused = clock.now_ns()
            _record_steps(fitting, _validate(fitting))
            _enter_training_mode(fitting)
            clock.synchronize()
            before = clock.now_ns()
            paused_ns += before - paused
        # Asking a keeper takes a system call in a worker, so it is not done after every fast step.
        if keeper is not None and fitting.team is None and before - looked > LOOK_S * 1e9:
            looked = before
            if keeper.stop():
                stopped = True
                break

    if waiting:
        _add(fitting, waiting)

    clock.synchronize()
    sums.data_s += data_ns / 1e9
    sums.spent_s = spent_before_s + (clock.now_ns() - start - paused_ns) / 1e9
    return stopped


def _add(fitting: TrainingState, steps: list[_Step]) -> None:
    """Check that every loss of `steps` is finite, and add the steps to the sums of the epoch."""
    sums = fitting.sums
    losses = torch.stack([loss for loss, _, _ in steps]).double()
    right = torch.stack([correct for _, correct, _ in steps]).double()
    counts = torch.tensor([count for _, _, count in steps], dtype=torch.float64, device=losses.device)
    # One column per step: summed loss, right predictions, images. A single copy to the host fetches all of them.
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
        sums.images += int(count)
        sums.interval_steps += 1
        sums.interval_loss += lost
        sums.interval_correct += int(correct)
        sums.interval_images += int(count)
