"""Chart of the roofline: what rows achieve, below the most that the machine can do."""

from __future__ import annotations

from collections.abc import Sequence

from cnnbench.analysis import Row
from cnnbench.quantities import show
from cnnbench.report.charts.parts import COLOURS, Chart, Figure, Numbered, escape_label, layout, points

# Colour and symbol of each bound.
BOUNDS = {"compute": ("#D55E00", "circle"), "memory": ("#0072B2", "square"), "launches": ("#CC79A7", "diamond")}


def roofline_chart(rows: Numbered) -> Chart | None:
    """Return the chart of achieved FLOP/s by intensity, or None if the machine's ceilings are not known."""
    known = [
        (at, row) for at, row in rows if row.status == "ok" and row.detail.flops_per_byte and row.detail.flop_per_s
    ]
    if not known:
        return None

    intensities = [row.detail.flops_per_byte or 0.0 for _, row in known]
    # The roof goes from half the least intensity to twice the largest, so that no point lies at its end.
    traces = [*_ceilings([row for _, row in known], min(intensities) / 2, max(intensities) * 2)]

    # Each bound is a trace of its own: the legend names it. Bounds without rows would only lengthen the legend.
    for bound, (colour, symbol) in BOUNDS.items():
        own = [(at, row) for at, row in known if row.bound_by == bound]
        if own:
            told = [
                f"{escape_label(row.label())}<br>{show(row.detail.flop_per_s, 'per_second')} achieved, "
                f"{show(row.detail.roof_share, 'share')} of the roof<br>"
                f"{row.detail.flops_per_byte:.3g} FLOP a byte"
                for _, row in own
            ]
            marker = {"color": colour, "symbol": symbol, "size": 8, "opacity": 0.75}
            traces.append(
                {
                    **points(f"bound by {bound}", own, told, marker),
                    "x": [row.detail.flops_per_byte for _, row in own],
                    "y": [row.detail.flop_per_s for _, row in own],
                }
            )

    return Chart(
        name="roofline",
        title="Roofline",
        caption=(
            "What each row achieves, below the ceilings of this machine as measured with torch alone: the slope is its "
            "bandwidth, the flat part its peak. Neither limits a row far below the roof; calls of operators or other "
            "work on the machine do. Bytes are estimated as if every layer's output were written and read once."
        ),
        figure={
            "data": traces,
            "layout": layout(
                {"title": {"text": "FLOP a byte"}, "type": "log", "dtick": "D2"},
                {"title": {"text": "FLOP/s"}, "type": "log", "dtick": "D2", "exponentformat": "SI"},
            ),
        },
    )


def _ceilings(rows: Sequence[Row], low: float, high: float) -> list[Figure]:
    """Return the roof of each device and precision as a line."""
    # Precisions with equal ceilings share one line, whose label names all of them.
    roofs: dict[tuple[float, float], list[str]] = {}
    for row in rows:
        peak, bandwidth = row.detail.peak_flop_per_s, row.detail.bytes_per_s
        if peak and bandwidth:
            name = " ".join(filter(None, (row.device, row.precision)))
            if name not in roofs.setdefault((peak, bandwidth), []):
                roofs[peak, bandwidth].append(name)

    found = []
    for at, ((peak, bandwidth), names) in enumerate(roofs.items()):
        # At the ridge (FLOP per byte) bandwidth and peak allow the same. The line bends there, so it needs a point
        # there, and one on either side even if all rows lie on the same side.
        ridge = peak / bandwidth
        xs = sorted({min(low, ridge / 2), ridge, max(high, 2 * ridge)})
        found.append(
            {
                "type": "scatter",
                "mode": "lines",
                "name": escape_label(
                    f"roof {', '.join(names)}: {show(peak, 'per_second')}, {show(bandwidth, 'bytes_per_s')}"
                ),
                "x": xs,
                "y": [min(peak, x * bandwidth) for x in xs],
                "line": {"color": COLOURS[-1], "width": 2, "dash": ("solid", "dash", "dot")[at % 3]},
                "hoverinfo": "name",
            }
        )

    return found
