"""Images of a test: the confusion of classes, and the accuracy on moved images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from cnnbench.analysis.training_curves import Moved
from cnnbench.report.charts.parts import COLOURS
from cnnbench.report.drawing.parts import encode_figure, shorten, title, whole_numbers

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Most classes for which each cell shows its number of images.
MOST_NUMBERED = 20

# Most characters of a class's name.
LONGEST_NAME = 14

# Share of a row above which a cell is so dark that its number is white.
DARK_FROM = 0.55

# Height in inches of the image of accuracy on moved images.
SHIFT_IN = 3.4


def draw_confusion(heading: str, table: Sequence[Sequence[int]], names: Sequence[str], form: str) -> bytes:
    """Return an image file that shows which classes (rows) the model takes for which (columns).

    Colours are shares of a row. A column beyond the classes holds the model's other answers.
    """
    # A class without images has shares of 0.
    shares = [[count / max(1, sum(row)) for count in row] for row in table]
    columns = [shorten(name, LONGEST_NAME) for name in names] + ["other"] * (len(table[0]) - len(table))
    # Inches: each class takes the same room, within the limits of a readable image and of the page.
    side = min(7.5, max(3.4, 0.42 * len(table) + 1.5))

    def draw(figure: Figure) -> None:
        title(figure, heading, fontweight="bold")
        axes = figure.subplots()
        axes.grid(visible=False)
        shown = axes.imshow(shares, cmap="Blues", vmin=0.0, vmax=1.0)
        axes.set(xlabel="predicted class", ylabel="class")

        if len(table) <= MOST_NUMBERED:
            # Names longer than two characters are slanted, so that they do not run into each other.
            upright = max(map(len, columns)) > 2  # noqa: PLR2004 - digits stand side by side
            axes.set_xticks(
                range(len(columns)), columns, rotation=45 if upright else 0, ha="right" if upright else "center"
            )
            axes.set_yticks(range(len(table)), columns[: len(table)])

            # Zeros are grey, so that the other numbers stand out.
            for at, row in enumerate(table):
                for to, count in enumerate(row):
                    colour = "black" if count else "#b0b0b0"
                    if shares[at][to] > DARK_FROM:
                        colour = "white"
                    axes.text(to, at, str(count), ha="center", va="center", fontsize=7.5, color=colour)

        figure.colorbar(shown, ax=axes, shrink=0.8, aspect=25, label="share of the class")

    return encode_figure(draw, side, form)


def draw_shift(heading: str, moved: Sequence[Moved], form: str) -> bytes:
    """Return an image file of the accuracy by pixels moved: a line for each direction, with 95 % intervals."""

    def draw(figure: Figure) -> None:
        title(figure, heading, fontweight="bold")
        axes = figure.subplots()
        # Each marker points in the direction of its line: right, left, down, up.
        for at, (one, sign) in enumerate(zip(moved, "><v^", strict=True)):
            # Matplotlib takes error bars as lengths, here in percent.
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
