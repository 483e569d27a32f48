"""The convolutions of a model: all by name, one of them, and the kernels that a training keeps of the first."""

from __future__ import annotations

import torch
from torch import nn

from cnnbench.spec import UnsupportedError, UsageError, unknown_name
from cnnbench.visuals import COLOURS

# Inputs, and outputs, of a layer whose kernels are shown for each pair of them. Our choice.
MOST_SIDE = 16


def kept_kernels(model: nn.Module) -> torch.Tensor | None:
    """Return what a training keeps of the first convolution (kernels, inputs, height, width); None where there is none.

    Of many kernels or inputs these are the first `MOST_SIDE` and `COLOURS`.
    """
    first = next(iter(convolutions(model).values()), None)
    return None if first is None else first.weight.detach()[:MOST_SIDE, :COLOURS].float().cpu()


def convolutions(model: nn.Module) -> dict[str, nn.Conv2d]:
    """Return all convolutions over two dimensions by their names in the model, in the order of its modules."""
    return {name: module for name, module in model.named_modules() if isinstance(module, nn.Conv2d)}


def convolution(model: nn.Module, model_name: str, layer: str) -> tuple[str, nn.Conv2d]:
    """Return name and module of the convolution that `layer` names, or counts from 1 on if it is a number.

    Raises:
        UnsupportedError: there are none.
        UsageError: it is none of them.
    """
    known = convolutions(model)
    if not known:
        raise UnsupportedError(f"{model_name} has no convolution, and so no kernels.")
    if layer.isdigit():
        if not 1 <= int(layer) <= len(known):
            raise UsageError(f"There is no convolution {layer} in {model_name}, which has 1 to {len(known)}.")
        return list(known.items())[int(layer) - 1]
    name = module_name(layer)
    if name not in known:
        raise unknown_name("convolution", name, known, more=f"A number from 1 to {len(known)} does, too.")
    return name, known[name]


def module_name(layer: str) -> str:
    """Return the module's name that a user means, who writes a dot before one that is a number."""
    return layer[1:] if layer.startswith(".") else layer
