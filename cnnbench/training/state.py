"""State of a training between two steps: all that a later step depends on, and the results so far."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import torch
from torch import nn

from cnnbench.data.batches import Splits, batch_count
from cnnbench.spec import Recipe
from cnnbench.training.distributed import ProcessGroup
from cnnbench.training.step import Trainer
from cnnbench.variants import Prepared

# Share of a one-cycle training in which the rate rises, as in torch's OneCycleLR.
RISING = 0.3


@dataclass(frozen=True, kw_only=True, slots=True)
class EpochSeen:
    """Results of one epoch (counted from 1): means over its images during training, and over the validation images.

    `epoch_s` is the time of its steps and data path in seconds, without validation. `data_share` is the data path's
    share of this time as the host sees it. `learning_rate` is that of the last step.
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
class StepSeen:
    """Results after step number `step` of the training: means over the images since the previous record.

    The validation uses the weights after the step. `kernels` are the numbers of the first convolution.
    """

    step: int
    train_loss: float
    train_top1: float
    val_loss: float
    val_top1: float
    kernels: tuple[float, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class FitResult:
    """Results of a training by epoch, and within epochs if that was requested."""

    epochs: tuple[EpochSeen, ...]
    steps: tuple[StepSeen, ...] = ()

    def values_by_epoch(self, quantity: str) -> tuple[float, ...]:
        """Return the values of one field of `EpochSeen`, one per epoch."""
        return tuple(float(getattr(seen, quantity)) for seen in self.epochs)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Phase:
    """A part of a training: `model` is trained on `splits` by `recipe` for `epochs`, under the variant of `prepared`.

    With `unfreeze`, every parameter of the model is trained from this phase on.
    """

    model: nn.Module
    splits: Splits
    recipe: Recipe
    epochs: int
    prepared: Prepared | None = None
    unfreeze: bool = False


@dataclass(kw_only=True, slots=True)
class EpochTotals:
    """Sums over the steps of an epoch so far; `spent_s` is their time, `data_s` the data path's part of it.

    The `interval_` fields are the sums since the last record within the epoch.
    """

    loss: float = 0.0
    correct: int = 0
    images: int = 0
    steps: int = 0
    spent_s: float = 0.0
    data_s: float = 0.0
    interval_steps: int = 0
    interval_loss: float = 0.0
    interval_correct: int = 0
    interval_images: int = 0


class TrainingState:
    """A training between two steps: all that a later one depends on.

    `shuffle_rng` draws the order of the images (None keeps the stored order), `augment_rng` their augmentation.
    `shuffle_state` is the state of `shuffle_rng` before this epoch's images were shuffled.
    """

    def __init__(self, phases: Sequence[Phase], seed: int, team: ProcessGroup | None = None) -> None:
        """Start before the first step.

        Raises:
            UsageError: every parameter is frozen.
        """
        torch.manual_seed(seed)  # for dropout, which draws from torch's own generator
        self.team = team
        self._phases = phases

        # Order and augmentation have their own generators, so that neither depends on what else is drawn.
        self.shuffle_rng = torch.Generator().manual_seed(seed) if phases[0].recipe.shuffled else None
        self.augment_rng = torch.Generator().manual_seed(seed)
        self.shuffle_state = None if self.shuffle_rng is None else self.shuffle_rng.get_state()

        self.sums = EpochTotals()
        self.seen: list[EpochSeen] = []
        self.seen_by_step: list[StepSeen] = []
        self.epoch = 1
        self.phase = phases[0]
        self.trainer = self._trainer()

    @property
    def epochs(self) -> int:
        """Return the number of epochs of all phases."""
        return sum(phase.epochs for phase in self._phases)

    def go_to(self, epoch: int) -> None:
        """Enter `epoch`, in the phase that it belongs to."""
        self.epoch = epoch
        phase = next((p for p, first in self._phase_starts() if epoch < first + p.epochs), self._phases[-1])
        if phase is not self.phase:
            # Unfreezing comes before the new optimiser, which gets only parameters that require a gradient.
            self.phase = phase
            if phase.unfreeze:
                phase.model.requires_grad_()
            self.trainer = self._trainer()

    def set_rate(self, step: int) -> None:
        """Set the learning rate for step number `step` (from 0) of this epoch, if the recipe's rate changes."""
        recipe = self.phase.recipe
        if recipe.one_cycle:
            # Each phase has a cycle of its own, so steps count from its first epoch.
            steps = batch_count(len(self.phase.splits.train), recipe.batch_size, keep_single=False)
            first = next(first for phase, first in self._phase_starts() if phase is self.phase)
            done = (self.epoch - first) * steps + step
            self.trainer.set_rate(recipe.learning_rate * one_cycle(done, self.phase.epochs * steps))

    def _trainer(self) -> Trainer:
        phase = self.phase
        return Trainer(phase.model, phase.recipe, phase.prepared, self.team)

    def _phase_starts(self) -> list[tuple[Phase, int]]:
        """Return every phase with its first epoch."""
        before = accumulate((phase.epochs for phase in self._phases), initial=1)
        return list(zip(self._phases, before, strict=False))


def one_cycle(step: int, steps: int) -> float:
    """Return the learning rate in `step` (from 0) of `steps`, as a share of the highest.

    It rises linearly from 0 and falls linearly to 0 again (Smith and Topin 2017, arXiv:1708.07120).
    """
    done = (step + 0.5) / steps
    return min(done / RISING, (1 - done) / (1 - RISING))
