"""Types of images: how a model expects them, and what `show` draws of a model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

# Channels of a colour image.
COLOURS = 3

# Pixels to the right and down; negative: to the left and up.
Move = tuple[int, int]


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageTransform:
    """How published weights expect image files: resized, the centre cut out, and (x - mean) / std per channel.

    `resize` is the shorter side of the resized image over the longer side of the cut.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    resize: float
    interpolation: str = "bilinear"


@dataclass(frozen=True, kw_only=True, slots=True)
class VisualRequest:
    """What to show of a model: its kernels, its features of an image, or images with their predicted classes.

    `layers` are names of modules, or numbers of convolutions counted from 1; if empty, the first ones are shown. The
    image is the file `image`, or test image number `index` if there is no file; it is shown at each of `moves`. `count`
    is the number of images with predicted classes; with `wrong`, only wrongly classified ones are shown.
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
    """Images of one kind that are drawn side by side under one title.

    `images` are float32 (N, H, W), or (N, H, W, 3) in colour. `pixels` lie between 0 (black) and 1; `values` are
    numbers on one scale. `names` are captions of one or two lines (empty: no captions), and `wrong` marks some images.
    `columns` is the number of images in a row (0: as many as fit). `axes` names what the columns and the rows stand
    for; both are numbered, unless `rows` gives the names of the rows.
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
    """Return kernels (N, 3, H, W) as pixels (N, H, W, 3): weight 0 is grey, each kernel's largest is a full colour."""
    import numpy as np

    shown = weights.transpose(0, 2, 3, 1)
    most = np.abs(shown).max(axis=(1, 2, 3), keepdims=True)
    pixels: npt.NDArray[np.float32] = (0.5 + shown / (2 * np.where(most > 0, most, 1))).astype(np.float32)
    return pixels
