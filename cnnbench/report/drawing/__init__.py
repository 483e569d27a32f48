"""Image files: sheets that show the inside of a model, training curves, test results, and the charts of a report."""

from cnnbench.report.drawing.chart_images import draw_chart
from cnnbench.report.drawing.curves import draw_curves, draw_steps
from cnnbench.report.drawing.evaluation import draw_confusion, draw_shift
from cnnbench.report.drawing.image_grid import draw_sheets
from cnnbench.report.drawing.parts import FORMATS

__all__ = ["FORMATS", "draw_chart", "draw_confusion", "draw_curves", "draw_sheets", "draw_shift", "draw_steps"]
