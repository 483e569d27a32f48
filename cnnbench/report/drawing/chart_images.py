"""Draw the charts of a report as images for readers of Markdown, from the same figures as the page."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from cnnbench.report.charts import Chart
from cnnbench.report.charts.parts import Figure as Drawn
from cnnbench.report.drawing.parts import DPI, GREY, MARKERS, encode_figure, few_marks, title

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Pixels of a marker on the page for each point of a marker in an image.
PX_PER_PT = 1.25

# Most inches that a chart is high; a chart with more rows gets narrower lines.
LONGEST_IN = 14.0

_DASHES = {"solid": "-", "dash": "--", "dot": ":"}
_SIDES = {"triangle-right": ">", "triangle-left": "<", "circle-open": "o"}


def draw_chart(chart: Chart, form: str) -> bytes:
    """Return a chart of the report as an image file; only the page reacts to the pointer and to clicks."""
    layout = chart.figure["layout"]
    rows = layout["yaxis"].get("categoryarray")

    def draw(figure: Figure) -> None:
        title(figure, chart.title, fontweight="bold")
        axes = figure.subplots()
        # Each row stands at its index on the axis of rows. Charts without such an axis have no places.
        places = {name: at for at, name in enumerate(rows or ())}
        for trace in chart.figure["data"]:
            _DRAW[trace["type"]](axes, trace, places)
        _axis(axes, layout["xaxis"], "x")
        _axis(axes, layout["yaxis"], "y")
        # The only shapes of charts are vertical lines.
        for shape in layout.get("shapes", ()):
            axes.axvline(shape["x0"], color=GREY, linewidth=0.8)
        if layout.get("showlegend", True) and axes.get_legend_handles_labels()[1]:
            figure.legend(loc="outside lower left", ncols=4, fontsize=7.5)

    height = layout["height"] / DPI
    return encode_figure(draw, min(LONGEST_IN, height), form)


def _axis(axes: Axes, given: Mapping[str, Any], which: str) -> None:
    axis = axes.xaxis if which == "x" else axes.yaxis
    # Texts are escaped for Plotly. Matplotlib shows them literally, so they are unescaped here and below.
    if text := given.get("title", {}).get("text"):
        axis.set_label_text(html.unescape(text))

    if given.get("type") == "log":
        axes.set(**{f"{which}scale": "log"})
        few_marks(axis, prefixes=given.get("exponentformat") == "SI")

    if "tickvals" in given:
        axis.set_ticks(given["tickvals"], given["ticktext"])
        axis.set_ticks([], minor=True)
        # Plotly gives the range of a logarithmic axis as powers of ten.
        axes.set(**{f"{which}lim": tuple(10**end for end in given["range"])})

    if given.get("type") == "category":
        names = given["categoryarray"]
        axis.set_ticks(range(len(names)), [html.unescape(name) for name in names])
        axes.set(**{f"{which}lim": tuple(given["range"])})
        axis.set_tick_params(labelsize=7.5)


def _scatter(axes: Axes, trace: Drawn, places: Mapping[str, int]) -> None:
    xs = trace["x"]
    ys = [places[y] for y in trace["y"]] if places else trace["y"]
    label = html.unescape(trace["name"])

    # A line, such as the Pareto front or a roof, has no markers.
    if trace["mode"] == "lines":
        line = trace["line"]
        axes.plot(
            xs,
            ys,
            color=line["color"],
            linewidth=line["width"],
            linestyle=_DASHES[line.get("dash", "solid")],
            label=label,
        )
        return

    marker = trace["marker"]
    symbol = marker["symbol"]
    # A trace has one size for all its points, or one for each.
    sizes = marker["size"] if isinstance(marker["size"], Sequence) else [marker["size"]] * len(xs)
    sign, colour, alpha = MARKERS.get(symbol) or _SIDES[symbol], marker["color"], marker.get("opacity", 1.0)
    across, along = _ends(trace, "error_x"), _ends(trace, "error_y")

    if across or along:
        axes.errorbar(
            xs, ys, xerr=across, yerr=along, color=colour, alpha=alpha, elinewidth=0.8, capsize=2, linestyle="none"
        )

    # Plotly takes diameters in pixels, Matplotlib areas in square points. Markers are drawn above lines and bars.
    axes.scatter(
        xs,
        ys,
        s=[(size / PX_PER_PT) ** 2 for size in sizes],
        marker=sign,
        facecolors="none" if symbol.endswith("-open") else colour,
        edgecolors=colour,
        alpha=alpha,
        zorder=2.5,
    )

    # The legend gets a marker of its usual size, since those of the chart may be large.
    axes.plot([], [], color=colour, marker=sign, linestyle="none", label=label)
    for x, y, size, text in zip(xs, ys, sizes, trace.get("text", ()), strict=False):
        if text:
            axes.annotate(
                html.unescape(text),
                (x, y),
                xytext=(0, 2 + size / PX_PER_PT / 2),
                textcoords="offset points",
                ha="center",
                fontsize=7.5,
            )


def _ends(trace: Drawn, name: str) -> list[list[float]] | None:
    """Return the error bars of a trace as Matplotlib takes them: the lengths below and those above, or None."""
    bars = trace.get(name)
    return None if bars is None else [[max(0.0, end) for end in bars[side]] for side in ("arrayminus", "array")]


def _box(axes: Axes, trace: Drawn, places: Mapping[str, int]) -> None:
    colour = trace["marker"]["color"]
    look: dict[str, Any] = {
        "orientation": "horizontal",
        "widths": 0.6,
        "patch_artist": False,
        "boxprops": {"color": colour},
        "medianprops": {"color": colour},
        "whiskerprops": {"color": colour},
        "capprops": {"color": colour},
    }

    # A trace of quantiles holds the five numbers of each box instead of its samples.
    if "q1" in trace:
        boxes = [
            {"whislo": low, "q1": q1, "med": median, "q3": q3, "whishi": high}
            for low, q1, median, q3, high in zip(
                *(trace[end] for end in ("lowerfence", "q1", "median", "q3", "upperfence")), strict=True
            )
        ]
        axes.bxp(boxes, positions=[places[name] for name in trace["y"]], showfliers=False, **look)
        return

    # A trace of samples holds those of all rows in one list, each with the name of its row.
    samples: dict[str, list[float]] = {}
    for name, value in zip(trace["y"], trace["x"], strict=True):
        samples.setdefault(name, []).append(value)

    positions = [places[name] for name in samples]
    # Whiskers reach to the extreme samples, because the dots show every sample.
    axes.boxplot(list(samples.values()), positions=positions, showfliers=False, whis=(0, 100), **look)
    for name, values in samples.items():
        # Spread the dots evenly by their order: equal values do not hide each other, and every drawing is the same.
        offsets = [0.2 * (2 * ((7 * at) % 11) / 10 - 1) for at in range(len(values))]
        axes.plot(
            values,
            [places[name] + offset for offset in offsets],
            color=colour,
            marker="o",
            markersize=2.2,
            alpha=trace["marker"]["opacity"],
            linestyle="none",
            markeredgewidth=0,
        )


_DRAW = {"scatter": _scatter, "box": _box}
