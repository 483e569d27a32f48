"""A training between two steps, in one phase or several: all that a later step depends on, and what was seen of it."""

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

# Share of a one-cycle training in which the rate rises: as in torch's OneCycleLR.
RISING = 0.3


@dataclass(frozen=True, kw_only=True, slots=True)
class EpochSeen:
    """What one epoch (counted from 1) gave: means over its images as they were trained on, then on the validation's.

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
class StepSeen:
    """What was seen after step number `step` of the training: means over the images since the record before.

    The validation is that of the weights after the step, and `kernels` are numbers of its first convolution.
    """

    step: int
    train_loss: float
    train_top1: float
    val_loss: float
    val_top1: float
    kernels: tuple[float, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class FitResult:
    """What training gave, by epoch, and within epochs where that was asked for."""

    epochs: tuple[EpochSeen, ...]
    steps: tuple[StepSeen, ...] = ()

    def by_epoch(self, quantity: str) -> tuple[float, ...]:
        """Return the values of one of the fields of `EpochSeen`."""
        return tuple(float(getattr(seen, quantity)) for seen in self.epochs)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Phase:
    """A part of a training: `model` is trained on `splits` by `recipe` for `epochs`, under the variant of `prepared`.

    With `unfreeze` every parameter of the model is trained from here on.
    """

    model: nn.Module
    splits: Splits
    recipe: Recipe
    epochs: int
    prepared: Prepared | None = None
    unfreeze: bool = False


@dataclass(kw_only=True, slots=True)
class EpochTotals:
    """What the steps of an epoch add up to until now; `spent_s` is their time, `data_s` the data path's part of it.

    The `late` ones add up what came since the last record within the epoch.
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

    `shuffle_rng` and `augment_rng` are where the order of the images (None: as stored) and their augmentation come
    from; `shuffle_state` is what `shuffle_rng` was before this epoch's images were put in order.
    """

    def __init__(self, phases: Sequence[Phase], seed: int, team: ProcessGroup | None = None) -> None:
        """Be before the first step.

        Raises:
            UsageError: every parameter is frozen.
        """
        torch.manual_seed(seed)
        self.team = team
        self._phases = phases
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
        """All epochs of all phases."""
        return sum(phase.epochs for phase in self._phases)

    def go_to(self, epoch: int) -> None:
        """Be in `epoch`, in the phase that it belongs to."""
        self.epoch = epoch
        phase = next((p for p, first in self._starts() if epoch < first + p.epochs), self._phases[-1])
        if phase is not self.phase:
            self.phase = phase
            if phase.unfreeze:
                phase.model.requires_grad_()
            self.trainer = self._trainer()

    def set_rate(self, step: int) -> None:
        """Set the learning rate for step number `step` (from 0) of this epoch, if the recipe's rate changes."""
        recipe = self.phase.recipe
        if recipe.one_cycle:
            steps = batch_count(len(self.phase.splits.train), recipe.batch_size, keep_single=False)
            first = next(first for phase, first in self._starts() if phase is self.phase)
            done = (self.epoch - first) * steps + step
            self.trainer.set_rate(recipe.learning_rate * one_cycle(done, self.phase.epochs * steps))

    def _trainer(self) -> Trainer:
        phase = self.phase
        return Trainer(phase.model, phase.recipe, phase.prepared, self.team)

    def _starts(self) -> list[tuple[Phase, int]]:
        """Return every phase with its first epoch."""
        before = accumulate((phase.epochs for phase in self._phases), initial=1)
        return list(zip(self._phases, before, strict=False))


def one_cycle(step: int, steps: int) -> float:
    """Return the share of the highest learning rate in `step` (from 0) of `steps`.

    Straight up from 0 and straight down to 0 again (Smith and Topin 2017, arXiv:1708.07120).
    """
    done = (step + 0.5) / steps
    return min(done / RISING, (1 - done) / (1 - RISING))
