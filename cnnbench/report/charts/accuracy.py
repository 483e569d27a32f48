"""Chart of accuracy against latency, with the front of the rows that no other row beats."""

from __future__ import annotations

import math

from cnnbench.analysis import Row
from cnnbench.analysis.pareto import front, has_place
from cnnbench.quantities import show, show_range
from cnnbench.report.charts.parts import (
    COLOURS,
    SYMBOLS,
    Chart,
    Figure,
    Numbered,
    escape_label,
    layout,
    points,
    whiskers,
)
from cnnbench.text import number_of

# Least and largest diameter of a bubble in pixels; areas grow with the number of parameters.
SMALLEST_PX, LARGEST_PX = 9.0, 34.0


def accuracy_charts(rows: Numbered) -> list[Chart]:
    """Return a chart for each device and batch size at which several models have an accuracy.

    Training steps get no chart.
    """
    groups: dict[tuple[str | None, int | None], list[tuple[int, Row]]] = {}
    for at, row in rows:
        if has_place(row) and row.task == "infer":
            groups.setdefault((row.device, row.batch_size), []).append((at, row))
    several = {where: group for where, group in groups.items() if len({row.model for _, row in group}) > 1}
    return [_accuracy(condition, group) for condition, group in several.items()]


def _accuracy(condition: tuple[str | None, int | None], rows: Numbered) -> Chart:
    device, batch = condition
    best = front([row for _, row in rows])
    # Only the fastest row of each model carries the model's name, so that names do not pile up.
    named = {row.model: row for row in reversed(best)}
    most = max((row.params or 0 for _, row in rows), default=0) or 1

    # Reports hold seconds and shares; the axes show milliseconds and percent.
    traces: list[Figure] = [
        {
            "type": "scatter",
            "mode": "lines",
            "name": "Pareto front",
            "x": [1e3 * (row.latency_s or 0.0) for row in best],
            "y": [100 * (row.top1 or 0.0) for row in best],
            "line": {"dash": "dot", "width": 1, "color": COLOURS[-1]},
            "hoverinfo": "skip",
        }
    ]

    # Each variant is a trace of its own, so that the legend can hide it.
    for kind, variant in enumerate(dict.fromkeys(row.variant for _, row in rows)):
        own = [(at, row) for at, row in rows if row.variant == variant]
        members = [row for _, row in own]
        marker = {
            "color": COLOURS[kind % len(COLOURS)],
            "symbol": SYMBOLS[kind % len(SYMBOLS)],
            "size": [_diameter(row.params, most) for row in members],
            "opacity": 0.75,
        }
        traces.append(
            {
                **points(escape_label(variant or "any"), own, [_placed_text(row) for row in members], marker),
                "mode": "markers+text",
                "x": [1e3 * (row.latency_s or 0.0) for row in members],
                "y": [100 * (row.top1 or 0.0) for row in members],
                "error_x": whiskers(members, "latency", "_s", 1e3),
                "error_y": whiskers(members, "top1", "", 100),
                "text": [escape_label(row.model) if named.get(row.model) is row else "" for row in members],
                "textposition": "top center",
            }
        )

    where = f"{device}, batch {batch}"
    return Chart(
        name=f"accuracy-{device}-{batch}",
        title=f"Accuracy against latency ({where})",
        caption=(
            f"{number_of(len(rows), 'row')}: to the left is faster, upwards is more accurate. Bars are 95 % intervals, "
            "and areas grow with the parameters. No other row beats the rows on the dotted line, as far as the "
            "intervals tell them apart. Click a point to go to its row."
        ),
        figure={
            "data": traces,
            "layout": layout(
                {"title": {"text": "Latency of a batch (ms)"}, "type": "log", "dtick": "D2"},
                {"title": {"text": "Top-1 (%)"}},
            ),
        },
    )


def _placed_text(row: Row) -> str:
    latency = show_range(row.latency_s, row.latency_low_s, row.latency_high_s, "seconds")
    top1 = show_range(row.top1, row.top1_low, row.top1_high, "share")
    return f"{escape_label(row.label())}<br>{latency}<br>top-1 {top1}<br>{show(row.params, 'count')} parameters"


def _diameter(params: int | None, most: int) -> float:
    return round(SMALLEST_PX + (LARGEST_PX - SMALLEST_PX) * math.sqrt((params or 0) / most), 1)
