"""Edges in images, as two fixed filters of 3x3 see them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


def vertical_edges(images_NHW: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:  # noqa: N803  # a tensor's axes are part of its name
    """Return what the filter of three rows [-1, 0, 1] gives, of (N, H - 2, W - 2): above 0 where it gets brighter.

    Source: mslearn 4.3.
    """
    across = images_NHW[:, :, 2:] - images_NHW[:, :, :-2]
    found: npt.NDArray[np.float32] = across[:, :-2] + across[:, 1:-1] + across[:, 2:]
    return found


def horizontal_edges(images_NHW: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:  # noqa: N803
    """Return what the filter of the rows -1, 0 and 1 gives, as `vertical_edges` does."""
    return vertical_edges(images_NHW.swapaxes(1, 2)).swapaxes(1, 2)
