"""Images of a test: what is taken for what, and how much is still right when images are moved."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from cnnbench.analysis.curves import Moved
from cnnbench.report.charts.parts import COLOURS
from cnnbench.report.drawing.parts import encode_figure, shortened, title, whole_numbers

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Classes up to which each cell says its number of images. Our choice.
MOST_NUMBERED = 20

# Share of a row from which a cell is so dark that its number is white.
LONGEST_NAME = 14
DARK_FROM = 0.55

SHIFT_IN = 3.4


def draw_confusion(heading: str, table: Sequence[Sequence[int]], names: Sequence[str], form: str) -> bytes:
    """Return which classes (rows) are taken for which (columns) as a file; colours are shares of a row.

    A column beyond the classes holds what else the model said.
    """
    shares = [[count / max(1, sum(row)) for count in row] for row in table]
    columns = [shortened(name, LONGEST_NAME) for name in names] + ["other"] * (len(table[0]) - len(table))
    side = min(7.5, max(3.4, 0.42 * len(table) + 1.5))

    def draw(figure: Figure) -> None:
        title(figure, heading, fontweight="bold")
        axes = figure.subplots()
        axes.grid(visible=False)
        shown = axes.imshow(shares, cmap="Blues", vmin=0.0, vmax=1.0)
        axes.set(xlabel="predicted class", ylabel="class")

        if len(table) <= MOST_NUMBERED:
            upright = max(map(len, columns)) > 2  # noqa: PLR2004 - digits stand side by side
            axes.set_xticks(
                range(len(columns)), columns, rotation=45 if upright else 0, ha="right" if upright else "center"
            )
            axes.set_yticks(range(len(table)), columns[: len(table)])
            for at, row in enumerate(table):
                for to, count in enumerate(row):
                    colour = "black" if count else "#b0b0b0"
                    if shares[at][to] > DARK_FROM:
                        colour = "white"
                    axes.text(to, at, str(count), ha="center", va="center", fontsize=7.5, color=colour)

        figure.colorbar(shown, ax=axes, shrink=0.8, aspect=25, label="share of the class")

    return encode_figure(draw, side, form)


def draw_shift(heading: str, moved: Sequence[Moved], form: str) -> bytes:
    """Return the share that is right by pixels moved, a line for each direction with 95 % intervals, as a file."""

    def draw(figure: Figure) -> None:
        title(figure, heading, fontweight="bold")
        axes = figure.subplots()
        for at, (one, sign) in enumerate(zip(moved, "><v^", strict=True)):
            centers = [100 * share.center for share in one.shares]
            below = [100 * (share.center - (share.low or 0.0)) for share in one.shares]
            above = [100 * ((share.high or 1.0) - share.center) for share in one.shares]
            axes.errorbar(
                range(len(centers)),
                centers,
                yerr=(below, above),
                color=COLOURS[at],
                marker=sign,
                markersize=5,
                linewidth=1.3,
                capsize=2,
                elinewidth=0.8,
                label=f"to the {one.direction}" if one.direction in ("left", "right") else one.direction,
            )

        axes.set(xlabel="pixels moved", ylabel="top-1 (%)")
        whole_numbers(axes)
        axes.set_ylim(bottom=0)
        axes.legend(fontsize=8)

    return encode_figure(draw, SHIFT_IN, form)
