"""Pictures as files: sheets of a look into a network, curves of trainings, tests, and the charts of a report."""

from cnnbench.report.drawing.charts import draw_chart
from cnnbench.report.drawing.curves import draw_curves, draw_steps
from cnnbench.report.drawing.parts import FORMATS
from cnnbench.report.drawing.sheets import draw_sheets
from cnnbench.report.drawing.tested import draw_confusion, draw_shift

__all__ = ["FORMATS", "draw_chart", "draw_confusion", "draw_curves", "draw_sheets", "draw_shift", "draw_steps"]
