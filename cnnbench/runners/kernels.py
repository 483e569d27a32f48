"""The kernels of a network's convolutions, as pictures."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from cnnbench.look import COLOURS, Sheet, kernel_colours
from cnnbench.spec import UnsupportedError, UsageError, unknown_name

MOST_TILES = 64
"""Kernels, or feature maps of a layer, on one sheet: more are too small to see at the width of a page. Our choice."""

MOST_SIDE = 16
"""Inputs, and outputs, of a layer whose kernels are shown for each pair of them. Our choice."""


def kept_kernels(model: nn.Module) -> torch.Tensor | None:
    """Return what a training keeps of the first convolution (kernels, inputs, height, width); None where there is none.

    Of many kernels or inputs these are the first `MOST_SIDE` and `COLOURS`.
    """
    first = next(iter(convolutions(model).values()), None)
    return None if first is None else first.weight.detach()[:MOST_SIDE, :COLOURS].float().cpu()


def kernel_sheets(model: nn.Module, name: str, layers: Sequence[str]) -> list[Sheet]:
    """Return a sheet for each of `layers`, of the first convolution where none is named.

    Kernels of a layer with three inputs are shown in colours, each scaled so that grey is 0 and its largest weight is
    full; others as numbers, one tile for each pair of input and output.

    Raises:
        UnsupportedError: the network has no convolutions.
        UsageError: a layer is none of them.
    """
    return [_kernel_sheet(*convolution(model, name, layer)) for layer in layers or ("1",)]


def _kernel_sheet(name: str, layer: nn.Conv2d) -> Sheet:
    weights = layer.weight.detach().float().cpu().numpy()  # (outputs, inputs of a group, height, width)
    outputs, inputs, height, width = weights.shape
    title = f"{name}: {outputs} kernels of {inputs}x{height}x{width}"
    if inputs == COLOURS:
        pixels = kernel_colours(weights[:MOST_TILES])
        return Sheet(title=f"{title}, as colours{first_of(MOST_TILES, outputs)}", images=pixels)
    if inputs == 1:
        return Sheet(title=f"{title}{first_of(MOST_TILES, outputs)}", images=weights[:MOST_TILES, 0], kind="values")
    shown = weights[:MOST_SIDE, :MOST_SIDE]
    part = f", the first {MOST_SIDE} inputs and outputs" if max(inputs, outputs) > MOST_SIDE else ""
    return Sheet(
        title=title + part,
        images=shown.reshape(-1, height, width),
        kind="values",
        columns=shown.shape[1],
        axes=("input", "output"),
    )


def first_of(most: int, known: int) -> str:
    """Return what to say of a sheet that holds no more than the first `most` of what is known."""
    return f", the first {most}" if known > most else ""


def convolutions(model: nn.Module) -> dict[str, nn.Conv2d]:
    """Return all convolutions over two dimensions by their names in the network, in the order of its modules."""
    return {name: module for name, module in model.named_modules() if isinstance(module, nn.Conv2d)}


def convolution(model: nn.Module, network: str, layer: str) -> tuple[str, nn.Conv2d]:
    """Return name and module of the convolution that `layer` names, or counts from 1 on if it is a number.

    Raises:
        UnsupportedError: there are none.
        UsageError: it is none of them.
    """
    known = convolutions(model)
    if not known:
        raise UnsupportedError(f"{network} has no convolution, and so no kernels.")
    if layer.isdigit():
        if not 1 <= int(layer) <= len(known):
            raise UsageError(f"There is no convolution {layer} in {network}, which has 1 to {len(known)}.")
        return list(known.items())[int(layer) - 1]
    name = module_name(layer)
    if name not in known:
        raise unknown_name("convolution", name, known, more=f"A number from 1 to {len(known)} does, too.")
    return name, known[name]


def module_name(layer: str) -> str:
    """Return the module's name that a user means, who writes a dot before one that is a number."""
    return layer[1:] if layer.startswith(".") else layer
