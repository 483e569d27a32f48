"""Training curves: loss and accuracy by epoch, and the error rate by step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from cnnbench.analysis.training_curves import Curve
from cnnbench.report.charts.parts import COLOURS
from cnnbench.report.drawing.parts import encode_figure, few_marks, shorten, title, whole_numbers
from cnnbench.text import number_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

HEIGHT_IN = 3.4

# Most points of a curve that get a marker each; a curve with more points is a line alone.
MOST_MARKED = 40

# Ratio of the highest to the lowest error rate above which their axis is logarithmic.
LOG_FROM = 10.0


def draw_curves(heading: str, losses: Sequence[Curve], tops: Sequence[Curve], form: str) -> bytes:
    """Return an image file of loss and accuracy by epoch, side by side.

    Bands reach from the lowest to the highest seed.
    """

    def draw(figure: Figure) -> None:
        title(figure, heading + _seeds(losses), fontweight="bold")
        left, right = figure.subplots(1, 2)

        _lines(left, losses, 1.0)
        left.set(xlabel="epoch", ylabel="mean loss", title="Loss")
        _lines(right, tops, 100.0)
        right.set(xlabel="epoch", ylabel="top-1 (%)", title="Accuracy")
        for axes in (left, right):
            whole_numbers(axes)
        # Both halves use the same colours and markers, so one legend is enough.
        right.legend(fontsize=8)

    return encode_figure(draw, HEIGHT_IN, form)


def draw_steps(heading: str, tops: Sequence[Curve], form: str) -> bytes:
    """Return an image file of the error rate (1 - accuracy) by step."""
    # Low and high change places: the highest accuracy is the lowest error rate.
    errors = [
        Curve(
            name=curve.name,
            part=curve.part,
            seeds=curve.seeds,
            xs=curve.xs,
            middle=tuple(1 - share for share in curve.middle),
            low=tuple(1 - share for share in curve.high),
            high=tuple(1 - share for share in curve.low),
        )
        for curve in tops
    ]
    ends = [value for curve in errors for value in (*curve.low, *curve.high)]

    def draw(figure: Figure) -> None:
        title(figure, heading + _seeds(errors), fontweight="bold")
        axes = figure.subplots()
        _lines(axes, errors, 100.0)
        axes.set(xlabel="step", ylabel="error rate (%)")
        # A logarithmic axis cannot show an error rate of 0.
        if min(ends) > 0 and max(ends) / min(ends) > LOG_FROM:
            axes.set_yscale("log")
            few_marks(axes.yaxis)
        axes.legend(fontsize=8)

    return encode_figure(draw, HEIGHT_IN, form)


def _seeds(curves: Sequence[Curve]) -> str:
    most = max(curve.seeds for curve in curves)
    return "" if most == 1 else f", mean and range of {number_of(most, 'seed')}"


def _lines(axes: Axes, curves: Sequence[Curve], scale: float) -> None:
    names = list(dict.fromkeys(curve.name for curve in curves))
    for curve in curves:
        # Several models have a colour each; with a single model, the colour tells training from validation.
        kind = names.index(curve.name) if len(names) > 1 else int(curve.part == "validation")
        colour = COLOURS[kind % len(COLOURS)]
        trains = curve.part == "training"
        xs, (middle, low, high) = curve.xs, ([scale * y for y in ys] for ys in (curve.middle, curve.low, curve.high))
        marker = "s" if trains else "o"

        axes.plot(
            xs,
            middle,
            color=colour,
            linestyle="--" if trains else "-",
            marker=marker if len(xs) <= MOST_MARKED else None,
            markersize=3.5,
            linewidth=1.4,
            label=curve.part if len(names) == 1 else shorten(f"{curve.name}, {curve.part}", 36),
        )
        # The range of a single seed has no width.
        if curve.seeds > 1:
            axes.fill_between(xs, low, high, color=colour, alpha=0.18, linewidth=0)
