"""Find the convolutions of a model, and take the kernels of the first one, which a training run keeps."""

from __future__ import annotations

import torch
from torch import nn

from cnnbench.image_types import COLOURS
from cnnbench.spec import UnsupportedError, UsageError, unknown_name

# The most inputs, and the most outputs, of a layer whose kernels are shown for each pair of them.
MOST_SIDE = 16


def kept_kernels(model: nn.Module) -> torch.Tensor | None:
    """Return the kernels that a training run keeps: those of the first convolution, or None if there is none.

    The shape is (kernels, inputs, height, width). At most the first `MOST_SIDE` kernels and `COLOURS` inputs are kept.
    """
    first = next(iter(convolutions(model).values()), None)
    return None if first is None else first.weight.detach()[:MOST_SIDE, :COLOURS].float().cpu()


def convolutions(model: nn.Module) -> dict[str, nn.Conv2d]:
    """Return all two-dimensional convolutions by their names in the model, in the order of its modules."""
    return {name: module for name, module in model.named_modules() if isinstance(module, nn.Conv2d)}


def convolution(model: nn.Module, model_name: str, layer: str) -> tuple[str, nn.Conv2d]:
    """Return the name and module of one convolution; `layer` is its name, or its number counted from 1.

    Raises:
        UnsupportedError: the model has no convolution.
        UsageError: `layer` is none of the model's convolutions.
    """
    known = convolutions(model)
    if not known:
        raise UnsupportedError(f"{model_name} has no convolution, so it has no kernels.")

    # A plain number counts convolutions; a module whose name is a number is written with a dot.
    if layer.isdecimal():
        if not 1 <= int(layer) <= len(known):
            raise UsageError(f"There is no convolution {layer} in {model_name}. Give a number from 1 to {len(known)}.")
        return list(known.items())[int(layer) - 1]

    name = module_name(layer)
    if name not in known:
        raise unknown_name("convolution", name, known, more=f"You can also give a number from 1 to {len(known)}.")
    return name, known[name]


def module_name(layer: str) -> str:
    """Return the name of the module that a user means: a leading dot marks a name that is a number."""
    return layer[1:] if layer.startswith(".") else layer
