"""Pure analysis: records in, a report out; needs neither torch nor the machine that measured."""

from cnnbench.analysis.analyse import analyse, cell_status
from cnnbench.analysis.cautions import RowCaution
from cnnbench.analysis.noise import NoiseCard
from cnnbench.analysis.result import Report, Totals
from cnnbench.analysis.row import COLUMNS, NEVER, Detail, Row

__all__ = ["COLUMNS", "NEVER", "Detail", "NoiseCard", "Report", "Row", "RowCaution", "Totals", "analyse", "cell_status"]
