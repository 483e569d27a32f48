"""Pure analysis: records in, a report out; needs neither torch nor the machine that measured."""

from cnnbench.analysis.analyse import analyse
from cnnbench.analysis.cautions import RowCaution
from cnnbench.analysis.cells import cell_status
from cnnbench.analysis.result import Report, Totals
from cnnbench.analysis.row import COLUMNS, Row

__all__ = ["COLUMNS", "Report", "Row", "RowCaution", "Totals", "analyse", "cell_status"]
