"""Sheets of images side by side, with names or as tiles of one large image."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from cnnbench.image_types import ImageGrid
from cnnbench.report.drawing.parts import WIDTH_IN, WRONG, encode_figure, hide_frame, shorten, title

if TYPE_CHECKING:
    import numpy.typing as npt
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

# Largest width of a tile, and the height of a sheet to which its tiles are made to fit, in inches.
TILE_IN = 1.0
TALLEST_IN = 5.0

# Inches for a line of names, the title of a sheet, the margin beside its tiles, their labels, and the colour scale.
LINE_IN = 0.19
TITLE_IN = 0.38
SIDE_IN = 0.06
LABELS_IN = 0.55
SCALE_IN = 0.6

# Colour between tiles of values; it is not in their colour scales.
GAP_COLOUR = "#c8c8c8"

NAMES_IN_ROW = 8
LONGEST_NAME = 17

# Number of dimensions of colour images: N, height, width, 3.
_COLOURED = 4


def draw_sheets(heading: str, sheets: Sequence[ImageGrid], form: str) -> bytes:
    """Return an image file of `sheets`, one below the other, under `heading`.

    Pixels are shown as they are. Values are blue below 0 and red above it if any of them is negative; otherwise they go
    from dark to light. The colour scale of a sheet stands beside its values. Wrong images have a frame and a cross.
    """
    # Inches; as ratios they give each sheet the share of the figure that its tiles need.
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

    return encode_figure(draw, sum(heights) + TITLE_IN, form)


def _columns(sheet: ImageGrid) -> int:
    count = len(sheet.images)
    if sheet.columns:
        return sheet.columns
    if sheet.names:
        return min(count, NAMES_IN_ROW)
    return next((most for most in (8, 16) if count <= most * most // 2), 16) if count > 8 else count  # noqa: PLR2004


def _tile_in(sheet: ImageGrid) -> tuple[float, float]:
    """Return the width and the height of a tile in inches."""
    height, width = sheet.images.shape[1:3]
    left, right = _margins_in(sheet)
    # The last of the three limits is the width at which the rows together are as high as they may be.
    across = min(TILE_IN, (WIDTH_IN - left - right) / _columns(sheet), TALLEST_IN / _rows(sheet) * width / height)
    if len(sheet.images) == 1:
        across = 1.2 * TILE_IN
    return across, across * height / width


def _margins_in(sheet: ImageGrid) -> tuple[float, float]:
    """Return the inches to the left and to the right of the tiles of a sheet."""
    return LABELS_IN if sheet.axes else SIDE_IN, SCALE_IN if sheet.kind == "values" else SIDE_IN


def _rows(sheet: ImageGrid) -> int:
    return math.ceil(len(sheet.images) / _columns(sheet))


def _height(sheet: ImageGrid) -> float:
    names = LINE_IN * _lines(sheet) + 0.1 if sheet.names else 0.0
    return TITLE_IN + _rows(sheet) * (_tile_in(sheet)[1] + names) + _below_in(sheet)


def _below_in(sheet: ImageGrid) -> float:
    return 2 * LINE_IN if sheet.axes else 2 * SIDE_IN


def _lines(sheet: ImageGrid) -> int:
    return max(len(name.split("\n")) for name in sheet.names)


def _draw_named(part: SubFigure, sheet: ImageGrid) -> None:
    columns = _columns(sheet)
    rows = math.ceil(len(sheet.images) / columns)
    grid = part.subplots(rows, columns, squeeze=False)
    wrong = sheet.wrong or (False,) * len(sheet.images)
    # The grid may have more places than there are images; those stay empty.
    for axes in grid.flat:
        axes.set_axis_off()

    for axes, image, name, bad in zip(grid.flat, sheet.images, sheet.names, wrong, strict=False):
        axes.set_axis_on()
        hide_frame(axes)
        axes.imshow(image, **_colours(sheet))
        text = "\n".join(shorten(line, LONGEST_NAME) for line in name.split("\n"))
        # Wrong images are marked by a sign, too, for readers who do not see the colour.
        cross = "\N{MULTIPLICATION SIGN} " if bad else ""
        axes.set_title(f"{cross}{text}", loc="center", fontsize=8, color=WRONG if bad else "black")
        if bad:
            _frame(axes)


def _frame(axes: Axes) -> None:
    for spine in axes.spines.values():
        spine.set_visible(True)
        spine.set_color(WRONG)
        spine.set_linewidth(2)


def _draw_tiles(part: SubFigure, sheet: ImageGrid) -> None:
    """Draw the tiles at the left below the title, and their colour scale beside them."""
    columns, rows = _columns(sheet), _rows(sheet)
    height, width = sheet.images.shape[1:3]
    gap = max(1, round(max(height, width) / 14))  # a small share of a tile
    whole = mosaic(sheet.images, columns, gap=gap)

    # Sizes are in inches; Matplotlib takes positions as shares of the part's width and height.
    tile, high = _tile_in(sheet), _height(sheet)
    across_in, along_in = columns * tile[0], rows * tile[1]
    left, bottom = _margins_in(sheet)[0] / WIDTH_IN, _below_in(sheet) / high
    axes = part.add_axes((left, bottom, across_in / WIDTH_IN, along_in / high))
    hide_frame(axes)
    # The axes already have the proportions of the tiles, but for the gaps.
    shown = axes.imshow(whole, aspect="auto", **_colours(sheet))
    if any(sheet.wrong):
        _frame(axes)

    # Labels stand at the middle of each tile, in pixels of the mosaic. Pixel 0 has its centre at 0.
    if sheet.axes is not None:
        axes.set_xlabel(sheet.axes[0])
        axes.set_ylabel(sheet.axes[1])
        axes.set_xticks([at * (width + gap) + (width - 1) / 2 for at in range(columns)], map(str, range(columns)))
        names = sheet.rows or [*map(str, range(rows))]
        axes.set_yticks([at * (height + gap) + (height - 1) / 2 for at in range(rows)], names)
        axes.tick_params(length=0, labelsize=7)

    # The colour scale ends at the top of the tiles and is at most two of the largest tiles high.
    if sheet.kind == "values":
        beside, tall = left + (across_in + 0.1) / WIDTH_IN, min(along_in, 2 * TILE_IN) / high
        scale = part.add_axes((beside, bottom + along_in / high - tall, 0.12 / WIDTH_IN, tall))
        part.colorbar(shown, cax=scale).ax.tick_params(labelsize=7)


def mosaic(images: npt.NDArray[np.float32], columns: int, *, gap: int) -> npt.NDArray[np.float32]:
    """Return `images` in rows of `columns` as one image, with `gap` pixels between them.

    The gaps are NaN, or white if the images have colours.
    """
    count, height, width = images.shape[:3]
    rows = math.ceil(count / columns)
    shape = (rows * (height + gap) - gap, columns * (width + gap) - gap, *images.shape[3:])
    whole = np.full(shape, 1.0 if images.ndim == _COLOURED else np.nan, dtype=np.float32)
    for at, image in enumerate(images):
        top, left = at // columns * (height + gap), at % columns * (width + gap)
        whole[top : top + height, left : left + width] = image
    return whole


def _colours(sheet: ImageGrid) -> dict[str, Any]:
    """Return the arguments of `imshow` for every image of the sheet; all share one scale."""
    if sheet.images.ndim == _COLOURED:
        return {"interpolation": "nearest"}
    if sheet.kind == "pixels":
        return {"cmap": "gray", "vmin": 0.0, "vmax": 1.0, "interpolation": "nearest"}
    import matplotlib as mpl

    low, high = float(sheet.images.min()), float(sheet.images.max())
    name = "RdBu_r" if low < 0 else "viridis"
    colours = mpl.colormaps[name].with_extremes(bad=GAP_COLOUR)
    # Scales with negative values are symmetric, so that 0 is white. Values that are all 0 still need a range.
    most = max(-low, high) or 1.0
    return {"cmap": colours, "vmin": -most if low < 0 else 0.0, "vmax": most, "interpolation": "nearest"}
