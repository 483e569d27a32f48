"""Train a model in one phase, with little to say."""

from collections.abc import Callable
from typing import Any

from torch import nn

from cnnbench.clock import Clock
from cnnbench.data.batches import Splits
from cnnbench.spec import Recipe
from cnnbench.training.loop import fit_phases
from cnnbench.training.state import EpochSeen, FitResult, Phase
from cnnbench.variants import Prepared


def fit(
    model: nn.Module,
    splits: Splits,
    recipe: Recipe,
    *,
    epochs: int,
    clock: Clock,
    seed: int = 7,
    on_epoch: Callable[[EpochSeen], None] | None = None,
    prepared: Prepared | None = None,
    keeper: Any = None,
) -> FitResult:
    """Train `model` for `epochs` from its current weights."""
    phase = Phase(model=model, splits=splits, recipe=recipe, epochs=epochs, prepared=prepared)
    return fit_phases((phase,), seed=seed, clock=clock, on_epoch=on_epoch, keeper=keeper)
