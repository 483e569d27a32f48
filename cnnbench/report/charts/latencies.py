"""Chart of the distribution of latencies."""

from __future__ import annotations

from collections.abc import Mapping

from cnnbench.report.charts.parts import (
    COLOURS,
    MOST_DRAWN,
    Chart,
    Figure,
    Numbered,
    first_of,
    height,
    layout,
    lines,
    names_of,
)
from cnnbench.stats import quantiles


def latency_chart(rows: Numbered) -> Chart | None:
    """Return the chart of all samples by row, or None if nothing was timed."""
    # The samples behind a latency leave out rejected ones, so a row may have none.
    known = [(at, row) for at, row in rows if row.status == "ok" and row.detail.latencies_s]
    drawn = known[:MOST_DRAWN]
    if not drawn:
        return None

    names = names_of(drawn)
    # A report with more rows than the chart draws shows quantiles, so that the page stays small.
    every = len(known) <= MOST_DRAWN
    trace = _every_sample(drawn, names) if every else _quantiles(drawn, names)
    whiskers = "the dots all samples" if every else "whiskers the 5th and the 95th percentile"

    return Chart(
        name="latencies",
        title="Distribution of latencies",
        caption=(
            f"{first_of(len(drawn), len(known))}Each sample is the median of the passes taken together at one time; "
            f"the box holds the middle half of them, the line is their median, {whiskers}. Samples that a "
            "counter of the environment rejected are left out, but none because of its time."
        ),
        figure={
            "data": [trace],
            "layout": layout(
                {"title": {"text": "Latency of a batch (ms)"}, "type": "log", "dtick": "D2"},
                lines([names[at] for at, _ in drawn]),
                height=height(len(drawn)),
                showlegend=False,
            ),
        },
    )


def _every_sample(rows: Numbered, names: Mapping[int, str]) -> Figure:
    samples = [(names[at], at, value) for at, row in rows for value in row.detail.latencies_s]
    return {
        **_BOX,
        "x": [round(1e3 * value, 6) for _, _, value in samples],
        "y": [name for name, _, _ in samples],
        "customdata": [at for _, at, _ in samples],
        "boxpoints": "all",
        "jitter": 0.5,
        "pointpos": 0,
    }


def _quantiles(rows: Numbered, names: Mapping[int, str]) -> Figure:
    five = [quantiles(row.detail.latencies_s, (0.05, 0.25, 0.5, 0.75, 0.95)) for _, row in rows]
    columns = [[round(1e3 * value, 6) for value in column] for column in zip(*five, strict=True)]
    ends = dict(zip(("lowerfence", "q1", "median", "q3", "upperfence"), columns, strict=True))
    return {**_BOX, **ends, "y": [names[at] for at, _ in rows], "customdata": [at for at, _ in rows]}


_BOX: Figure = {
    "type": "box",
    "orientation": "h",
    "marker": {"color": COLOURS[0], "size": 3, "opacity": 0.35},
    "line": {"width": 1, "color": COLOURS[0]},
    "hoverinfo": "x",
}
