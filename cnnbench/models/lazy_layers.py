"""Give lazy layers, whose shapes follow from the input, their parameters."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from cnnbench.spec import Shape


def initialise_lazy(model: nn.Module, shape: Shape) -> None:
    """Pass one image of `shape` through `model` if it has lazy layers; its mode and its statistics stay."""
    if not any(map(is_lazy, (*model.parameters(), *model.buffers()))):
        return
    training = model.training
    with torch.no_grad():
        model.eval()(torch.zeros(1, *shape))
    model.train(training)
