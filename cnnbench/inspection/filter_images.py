"""Show the kernels of a model's convolutions as images."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from cnnbench.image_types import COLOURS, ImageGrid, kernel_colours
from cnnbench.models.find_convolutions import MOST_SIDE, convolution

# Most kernels, or feature maps of a layer, on one sheet. More would be too small to see at the width of a page.
MOST_TILES = 64


def kernel_sheets(model: nn.Module, name: str, layers: Sequence[str]) -> list[ImageGrid]:
    """Return a sheet for each of `layers`, or for the first convolution if none is named.

    Kernels of a layer with three inputs are shown in colours. Each kernel is scaled: 0 is grey, and its largest weight
    has full colour. Other kernels are shown as numbers, one tile for each pair of input and output.

    Raises:
        UnsupportedError: the model has no convolutions.
        UsageError: a layer is not one of its convolutions.
    """
    return [_kernel_sheet(*convolution(model, name, layer)) for layer in layers or ("1",)]


def _kernel_sheet(name: str, layer: nn.Conv2d) -> ImageGrid:
    weights = layer.weight.detach().float().cpu().numpy()  # (outputs, inputs of a group, height, width)
    outputs, inputs, height, width = weights.shape
    title = f"{name}: {outputs} kernels of {inputs}x{height}x{width}"

    # Three inputs are taken for red, green and blue.
    if inputs == COLOURS:
        pixels = kernel_colours(weights[:MOST_TILES])
        return ImageGrid(title=f"{title}, as colours{first_text(MOST_TILES, outputs)}", images=pixels)
    # One input: grey images, or a depthwise convolution, whose groups have one channel each.
    if inputs == 1:
        return ImageGrid(
            title=f"{title}{first_text(MOST_TILES, outputs)}", images=weights[:MOST_TILES, 0], kind="values"
        )

    # A row of tiles for each output, a column for each input.
    shown = weights[:MOST_SIDE, :MOST_SIDE]
    part = f", the first {MOST_SIDE} inputs and outputs" if max(inputs, outputs) > MOST_SIDE else ""

    return ImageGrid(
        title=title + part,
        images=shown.reshape(-1, height, width),
        kind="values",
        columns=shown.shape[1],
        axes=("input", "output"),
    )


def first_text(most: int, known: int) -> str:
    """Return the words for a sheet that holds the first `most` of `known` tiles; empty if it holds all."""
    return f", the first {most}" if known > most else ""
