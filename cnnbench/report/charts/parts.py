"""What charts share: their type, names of rows that are harmless and different, axes, error bars."""

from __future__ import annotations

import html
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cnnbench.analysis import Row
from cnnbench.text import one_line

# Rows that a chart draws; of more, the first ones. Up to so many rows every sample is drawn, beyond it quantiles. Our
# choice: a row takes a line of text.
MOST_DRAWN = 100

LINE_PX = 26
CHART_PX = 440

# Fit for the colour-blind (Okabe and Ito 2008), without black and yellow, which one of the two themes would hide.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8C8C8C")

SYMBOLS = ("circle", "square", "diamond", "triangle-up", "cross", "star", "x")

# What Plotly draws: `data` and `layout`.
Figure = dict[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class Chart:
    """A chart: a name for links, its title, what it shows and how to read it in words, and the figure."""

    name: str
    title: str
    caption: str
    figure: Figure


# Rows with their place in the report's table.
Numbered = Sequence[tuple[int, Row]]


def safe(text: str) -> str:
    """Return `text` so that Plotly, which reads some HTML in labels, shows its characters."""
    return html.escape(one_line(text), quote=False)


def names_of(rows: Numbered) -> dict[int, str]:
    """Return a short name for each row, different from all others: model, variant, and conditions that vary."""
    parts: tuple[Callable[[Row], str], ...] = (
        lambda row: row.device or "",
        lambda row: row.task or "",
        lambda row: "" if row.batch_size is None else f"batch {row.batch_size}",
    )
    varying = [part for part in parts if len({part(row) for _, row in rows}) > 1]
    several = len({row.model for _, row in rows}) > 1
    found: dict[int, str] = {}
    taken: dict[str, int] = {}

    for at, row in rows:
        own = ([row.model] if several or not row.variant else []) + ([row.variant] if row.variant else [])
        name = safe(" ".join(filter(None, (*own, *(part(row) for part in varying)))))
        taken[name] = taken.get(name, 0) + 1
        found[at] = name if taken[name] == 1 else f"{name} ({taken[name]})"

    return found


def layout(x: Mapping[str, object], y: Mapping[str, object], **more: object) -> Figure:
    """Return the layout of a figure with these axes; its colours are the page's."""
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
    """Return the error bars of a quantity with `_low` and `_high`."""
    plus, minus = [], []
    for row in rows:
        center, low, high = (getattr(row, f"{stem}{end}{unit}") for end in ("", "_low", "_high"))
        plus.append(0.0 if high is None else scale * (high - center))
        minus.append(0.0 if low is None else scale * (center - low))
    return {"type": "data", "symmetric": False, "array": plus, "arrayminus": minus, "thickness": 1, "width": 3}


def points(name: str, rows: Numbered, told: Sequence[str], marker: Figure) -> Figure:
    """Return a trace of a point a row, which tells `told` under the pointer and leads to its row, without x and y."""
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
    """Return the axis of rows, the first one on top."""
    return {
        "type": "category",
        "categoryorder": "array",
        "categoryarray": names[::-1],
        "range": [-0.6, len(names) - 0.4],
    }


def height(rows: int) -> int:
    """Return the pixels of a chart with a line a row."""
    return 140 + LINE_PX * rows


def first_of(drawn: int, known: int) -> str:
    """Return what to say of rows that are not drawn."""
    return "" if drawn == known else f"The first {drawn} of {known} rows. "
