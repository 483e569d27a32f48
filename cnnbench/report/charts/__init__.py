"""Charts of a report as Plotly figures: plain data that the browser draws."""

from __future__ import annotations

from cnnbench.analysis import Report
from cnnbench.report.charts.accuracy import accuracy_charts
from cnnbench.report.charts.latencies import latency_chart
from cnnbench.report.charts.parts import Chart
from cnnbench.report.charts.roofline import roofline_chart
from cnnbench.report.charts.speedups import speedup_chart

__all__ = ["Chart", "charts"]


def charts(report: Report) -> list[Chart]:
    """Return the charts that the report has numbers for."""
    rows = list(enumerate(report.rows))
    found = [*accuracy_charts(rows), speedup_chart(report, rows), latency_chart(rows), roofline_chart(rows)]
    return [chart for chart in found if chart is not None]
