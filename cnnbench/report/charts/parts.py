"""Parts that charts share: the chart type, safe and distinct names of rows, axes, and error bars."""

from __future__ import annotations

import html
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cnnbench.analysis import Row
from cnnbench.text import one_line

# Most rows that a chart draws; it takes the first ones. If there are more, the chart of latencies draws quantiles in
# place of every sample. There is a limit because each row takes a line of text.
MOST_DRAWN = 100

# Height in pixels of a row's line, and of a chart without such lines.
LINE_PX = 26
CHART_PX = 440

# Colours for colour-blind readers (Okabe and Ito 2008). Black and yellow are left out: one of the two themes would hide
# them.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8C8C8C")

SYMBOLS = ("circle", "square", "diamond", "triangle-up", "cross", "star", "x")

# A Plotly figure, which has `data` and `layout`, or a part of one.
Figure = dict[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class Chart:
    """A chart: its name in links, its title, a caption that says what it shows and how to read it, and the figure."""

    name: str
    title: str
    caption: str
    figure: Figure


# Rows, each with its index in the report's table.
Numbered = Sequence[tuple[int, Row]]


def escape_label(text: str) -> str:
    """Return `text` escaped, so that Plotly shows its exact characters; Plotly interprets some HTML in labels."""
    return html.escape(one_line(text), quote=False)


def names_of(rows: Numbered) -> dict[int, str]:
    """Return a short and unique name for each row: the model, the variant, and the conditions that vary."""
    parts: tuple[Callable[[Row], str], ...] = (
        lambda row: row.device or "",
        lambda row: row.task or "",
        lambda row: "" if row.batch_size is None else f"batch {row.batch_size}",
    )
    # A condition that all rows share does not tell them apart.
    varying = [part for part in parts if len({part(row) for _, row in rows}) > 1]
    several = len({row.model for _, row in rows}) > 1
    found: dict[int, str] = {}
    taken: dict[str, int] = {}

    for at, row in rows:
        # The variant alone is the name if there is only one model.
        own = ([row.model] if several or not row.variant else []) + ([row.variant] if row.variant else [])
        name = escape_label(" ".join(filter(None, (*own, *(part(row) for part in varying)))))
        # Rows can still share a name, for example if only their input differs. Plotly would draw them on one line.
        taken[name] = taken.get(name, 0) + 1
        found[at] = name if taken[name] == 1 else f"{name} ({taken[name]})"

    return found


def layout(x: Mapping[str, object], y: Mapping[str, object], **more: object) -> Figure:
    """Return the layout of a figure with these axes, without colours; the page sets those."""
    return {
        "xaxis": {"automargin": True, "zeroline": False, **x},
        "yaxis": {"automargin": True, "zeroline": False, **y},
        "height": CHART_PX,
        "margin": {"l": 60, "r": 20, "t": 20, "b": 60},
        "hovermode": "closest",
        "legend": {"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0},
        **more,
    }


def whiskers(rows: Iterable[Row], stem: str, unit: str, scale: float = 1.0) -> Figure:
    """Return the error bars of a quantity from its `_low` and `_high` fields, multiplied by `scale`.

    A missing bound gives a bar of length 0.
    """
    plus, minus = [], []
    for row in rows:
        center, low, high = (getattr(row, f"{stem}{end}{unit}") for end in ("", "_low", "_high"))
        plus.append(0.0 if high is None else scale * (high - center))
        minus.append(0.0 if low is None else scale * (center - low))
    return {"type": "data", "symmetric": False, "array": plus, "arrayminus": minus, "thickness": 1, "width": 3}


def points(name: str, rows: Numbered, told: Sequence[str], marker: Figure) -> Figure:
    """Return a trace that draws a point for each row, still without x and y.

    A point shows its text of `told` under the pointer and leads to its row.
    """
    return {
        "type": "scatter",
        "mode": "markers",
        "name": name,
        "customdata": [at for at, _ in rows],
        "hovertext": told,
        "hoverinfo": "text",
        "marker": marker,
    }


def lines(names: list[str]) -> Figure:
    """Return the axis that lists the rows, the first one on top."""
    return {
        "type": "category",
        "categoryorder": "array",
        "categoryarray": names[::-1],
        "range": [-0.6, len(names) - 0.4],
    }


def height(rows: int) -> int:
    """Return the height in pixels of a chart with a line for each row."""
    return 140 + LINE_PX * rows


def first_of(drawn: int, known: int) -> str:
    """Return the sentence that says how many rows are drawn, or an empty text if all are."""
    return "" if drawn == known else f"The first {drawn} of {known} rows. "
