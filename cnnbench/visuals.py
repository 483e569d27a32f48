"""Images of models: what is to be looked at, and the arrays that it gives; a writer draws them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

# Channels of an image in colour.
COLOURS = 3

# Pixels to the right and down; negative: to the left and up.
Move = tuple[int, int]


@dataclass(frozen=True, kw_only=True, slots=True)
class VisualRequest:
    """What is to be seen of a model: its kernels, its features of an image, or images with the classes it gives.

    `layers`: names of modules, or the numbers of convolutions from 1 on; empty: the first ones. The image is the file
    `image`, or else number `index` of the test images; it is seen at each of `moves`. `count` images have
    predicted classes, with `wrong` those that are wrong.
    """

    kind: Literal["kernels", "features", "predictions"]
    layers: tuple[str, ...] = ()
    image: str | None = None
    index: int = 0
    moves: tuple[Move, ...] = ((0, 0),)
    count: int = 0
    wrong: bool = False


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ImageGrid:
    """Images of one kind, to be drawn side by side under one title.

    `images` are float32 of (N, H, W), or of (N, H, W, 3) for colours: `pixels` lie between 0 (black) and 1, `values`
    are numbers of one scale. `names` of a line or two belong to the images (none: they are only counted), `wrong` marks
    some. `columns` is how many stand in a row, 0: as many as fit; `axes` names what counts the columns and the rows,
    which are numbered, or have the names `rows`.
    """

    title: str
    images: npt.NDArray[np.float32]
    kind: Literal["pixels", "values"] = "pixels"
    names: tuple[str, ...] = ()
    wrong: tuple[bool, ...] = ()
    columns: int = 0
    axes: tuple[str, str] | None = None
    rows: tuple[str, ...] = ()


def kernel_colours(weights: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return kernels (N, 3, H, W) as pixels (N, H, W, 3): grey is 0, and the largest weight of each is full."""
    import numpy as np

    shown = weights.transpose(0, 2, 3, 1)
    most = np.abs(shown).max(axis=(1, 2, 3), keepdims=True)
    pixels: npt.NDArray[np.float32] = (0.5 + shown / (2 * np.where(most > 0, most, 1))).astype(np.float32)
    return pixels
