"""Chart of speed-ups with their intervals and verdicts."""

from __future__ import annotations

import math

from cnnbench.analysis import Report
from cnnbench.quantities import show_range
from cnnbench.report.charts.parts import (
    MOST_DRAWN,
    Chart,
    Figure,
    Numbered,
    escape_label,
    first_of,
    height,
    layout,
    lines,
    names_of,
    points,
    whiskers,
)

# Colour and symbol of each verdict.
VERDICTS = {
    "FASTER": ("#009E73", "triangle-right"),
    "SAME": ("#0072B2", "circle"),
    "SLOWER": ("#D55E00", "triangle-left"),
    "NOT DISTINGUISHABLE": ("#8C8C8C", "circle-open"),
}

# Ticks of the axis, the few ticks of an axis longer than a decade, and the range around 1 that holds no other tick if
# the axis is longer than an octave.
_RATIOS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 0.7, 0.8, 0.9, 0.95, 1, 1.05, 1.1, 1.2, 1.5, 2, 3, 5, 10, 20, 50, 100)
_FEW = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100)
_CLOSE = (0.95, 1.05)


def speedup_chart(report: Report, rows: Numbered) -> Chart | None:
    """Return the chart of speed-ups, or None if there are none."""
    known = [(at, row) for at, row in rows if row.speedup is not None and row.verdict is not None]
    drawn = known[:MOST_DRAWN]
    if not drawn:
        return None

    names = names_of(drawn)
    traces = []
    # Each verdict is a trace of its own: it has its own colour and symbol, and the legend names it.
    for verdict, (colour, symbol) in VERDICTS.items():
        own = [(at, row) for at, row in drawn if row.verdict == verdict]
        if own:
            members = [row for _, row in own]
            told = [
                f"{escape_label(row.label())}<br>"
                f"{show_range(row.speedup, row.speedup_low, row.speedup_high, 'ratio')}<br>{verdict}"
                for row in members
            ]
            traces.append(
                {
                    **points(verdict, own, told, {"color": colour, "symbol": symbol, "size": 10}),
                    "x": [row.speedup for row in members],
                    "y": [names[at] for at, _ in own],
                    "error_x": whiskers(members, "speedup", ""),
                }
            )

    # The axis covers the intervals, too; `ends` leaves out missing bounds.
    ends = [x for _, row in drawn for x in (row.speedup, row.speedup_low, row.speedup_high) if x]
    x = {
        "title": {"text": "Speed-up (time of the reference / own time)"},
        "type": "log",
        **_ticks(min(ends), max(ends)),
    }
    # Without a reference, each row is compared with its own model as it is written.
    reference = "the same model's eager" if report.reference is None else report.reference

    return Chart(
        name="speedups",
        title="Speed-up",
        caption=(
            f"Against {reference}, with the intervals of the table: to the right of 1 is faster. "
            f"{first_of(len(drawn), len(known))}Colour and shape are the verdict, which compares the interval with the "
            "smallest difference that counts."
        ),
        figure={
            "data": traces,
            "layout": layout(
                x,
                lines([names[at] for at, _ in drawn]),
                height=height(len(drawn)),
                # a line over the whole height at 1, where both times are equal
                shapes=[{"type": "line", "x0": 1, "x1": 1, "yref": "paper", "y0": 0, "y1": 1, "line": {"width": 1}}],
            ),
        },
    )


def _ticks(low: float, high: float) -> Figure:
    """Return the ticks of a logarithmic axis of ratios from `low` to `high`, few enough to stand side by side."""
    # The axis always includes 1, and 2 % more on either side, so that no interval ends at the border.
    low, high = min(low, 1.0) / 1.02, max(high, 1.0) * 1.02
    inside = [ratio for ratio in _RATIOS if low <= ratio <= high]
    if high / low > 2:  # noqa: PLR2004 - an octave
        inside = [ratio for ratio in inside if ratio == 1 or not _CLOSE[0] <= ratio <= _CLOSE[1]]
    if high / low > 10:  # noqa: PLR2004 - a decade
        inside = [ratio for ratio in _FEW if low <= ratio <= high]

    # Plotly takes the range of a logarithmic axis as powers of ten.
    return {
        "tickvals": inside,
        "ticktext": [f"{ratio:g}x" for ratio in inside],
        "range": [math.log10(low), math.log10(high)],
    }
