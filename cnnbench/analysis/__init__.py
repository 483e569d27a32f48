"""Analyse records and return a report; this needs neither torch nor the machine that measured."""

from cnnbench.analysis.analyse import analyse, cell_status
from cnnbench.analysis.noise import NoiseCard
from cnnbench.analysis.report import Report, Totals
from cnnbench.analysis.row import COLUMNS, NEVER, Detail, Row
from cnnbench.analysis.warnings import RowWarning

__all__ = ["COLUMNS", "NEVER", "Detail", "NoiseCard", "Report", "Row", "RowWarning", "Totals", "analyse", "cell_status"]
