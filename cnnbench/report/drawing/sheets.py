"""Sheets: pictures side by side, with names or as tiles of one large picture."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from cnnbench.look import Sheet
from cnnbench.report.drawing.parts import WIDTH_IN, WRONG, bare, picture, shortened, title

if TYPE_CHECKING:
    import numpy.typing as npt
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

TILE_IN = 1.0
"""Largest side of a tile in inches."""

LINE_IN = 0.19
TITLE_IN = 0.38
SPARE_IN = 0.7
"""Inches of a line of names, of a sheet's title, and to the sides of a sheet: numbers and the scale of colours."""

NAMES_IN_ROW = 8
LONGEST_NAME = 17

_COLOURED = 4
"""Dimensions of images in colours: N, height, width, 3."""


def draw_sheets(heading: str, sheets: Sequence[Sheet], form: str) -> bytes:
    """Return `sheets` one below the other, under `heading`, as a file.

    Pixels are shown as they are, values in blue below 0 and red above it where there are both, else from dark to light;
    beside them stands the scale of the sheet. Wrong ones have a frame and a cross.
    """
    heights = [_height(sheet) for sheet in sheets]

    def draw(figure: Figure) -> None:
        title(figure, heading, fontweight="bold")
        parts = figure.subfigures(len(sheets), 1, height_ratios=heights, squeeze=False)
        for part, sheet in zip(parts[:, 0], sheets, strict=True):
            title(part, sheet.title)
            if sheet.names:
                _draw_named(part, sheet)
            else:
                _draw_tiles(part, sheet)

    return picture(draw, sum(heights) + TITLE_IN, form)


def _columns(sheet: Sheet) -> int:
    count = len(sheet.images)
    if sheet.columns:
        return sheet.columns
    if sheet.names:
        return min(count, NAMES_IN_ROW)
    return next((most for most in (8, 16) if count <= most * most // 2), 16) if count > 8 else count  # noqa: PLR2004


def _tile_in(sheet: Sheet) -> tuple[float, float]:
    """Return width and height of a tile in inches."""
    height, width = sheet.images.shape[1:3]
    across = min(TILE_IN, (WIDTH_IN - SPARE_IN) / _columns(sheet))
    if len(sheet.images) == 1:
        across = 1.5 * TILE_IN
    return across, across * height / width


def _height(sheet: Sheet) -> float:
    rows = math.ceil(len(sheet.images) / _columns(sheet))
    names = LINE_IN * _lines(sheet) + 0.1 if sheet.names else 0.0
    axis = 2 * LINE_IN if sheet.axes else 0.0
    return TITLE_IN + rows * (_tile_in(sheet)[1] + names) + axis


def _lines(sheet: Sheet) -> int:
    return max(len(name.split("\n")) for name in sheet.names)


def _draw_named(part: SubFigure, sheet: Sheet) -> None:
    columns = _columns(sheet)
    rows = math.ceil(len(sheet.images) / columns)
    grid = part.subplots(rows, columns, squeeze=False)
    wrong = sheet.wrong or (False,) * len(sheet.images)
    for axes in grid.flat:
        axes.set_axis_off()
    for axes, image, name, bad in zip(grid.flat, sheet.images, sheet.names, wrong, strict=False):
        axes.set_axis_on()
        bare(axes)
        axes.imshow(image, **_colours(sheet))
        text = "\n".join(shortened(line, LONGEST_NAME) for line in name.split("\n"))
        cross = "\N{MULTIPLICATION SIGN} " if bad else ""
        axes.set_title(f"{cross}{text}", loc="center", fontsize=8, color=WRONG if bad else "black")
        if bad:
            _frame(axes)


def _frame(axes: Axes) -> None:
    for spine in axes.spines.values():
        spine.set_visible(True)
        spine.set_color(WRONG)
        spine.set_linewidth(2)


def _draw_tiles(part: SubFigure, sheet: Sheet) -> None:
    axes = part.subplots()
    bare(axes)
    columns = _columns(sheet)
    height, width = sheet.images.shape[1:3]
    gap = max(1, round(max(height, width) / 14))  # a small share of a tile
    colours = _colours(sheet)
    shown = axes.imshow(mosaic(sheet.images, columns, gap=gap), **colours)
    axes.set_anchor("NW")
    if any(sheet.wrong):
        _frame(axes)
    if sheet.axes is not None:
        rows = len(sheet.images) // columns
        axes.set_xlabel(sheet.axes[0])
        axes.set_ylabel(sheet.axes[1])
        axes.set_xticks([at * (width + gap) + (width - 1) / 2 for at in range(columns)], map(str, range(columns)))
        axes.set_yticks(
            [at * (height + gap) + (height - 1) / 2 for at in range(rows)], sheet.rows or map(str, range(rows))
        )
        axes.tick_params(length=0, labelsize=7)
    if sheet.kind == "values":
        part.colorbar(shown, ax=axes, shrink=0.9, aspect=18, fraction=0.04, pad=0.01).ax.tick_params(labelsize=7)


def mosaic(images: npt.NDArray[np.float32], columns: int, *, gap: int) -> npt.NDArray[np.float32]:
    """Return `images` in rows of `columns`, with `gap` pixels of nothing (NaN; white in colours) between them."""
    count, height, width = images.shape[:3]
    rows = math.ceil(count / columns)
    shape = (rows * (height + gap) - gap, columns * (width + gap) - gap, *images.shape[3:])
    whole = np.full(shape, 1.0 if images.ndim == _COLOURED else np.nan, dtype=np.float32)
    for at, image in enumerate(images):
        top, left = at // columns * (height + gap), at % columns * (width + gap)
        whole[top : top + height, left : left + width] = image
    return whole


def _colours(sheet: Sheet) -> dict[str, Any]:
    """Return how an image of the sheet is drawn: all of them on one scale."""
    if sheet.images.ndim == _COLOURED:
        return {"interpolation": "nearest"}
    if sheet.kind == "pixels":
        return {"cmap": "gray", "vmin": 0.0, "vmax": 1.0, "interpolation": "nearest"}
    low, high = float(sheet.images.min()), float(sheet.images.max())
    if low < 0:
        most = max(-low, high)
        return {"cmap": "RdBu_r", "vmin": -most, "vmax": most, "interpolation": "nearest"}
    return {"cmap": "viridis", "vmin": 0.0, "vmax": high or 1.0, "interpolation": "nearest"}
