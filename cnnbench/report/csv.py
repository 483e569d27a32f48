"""CSV with every column, unscaled and in full precision, for spreadsheets and scripts."""

from __future__ import annotations

import csv
import io
import math

from cnnbench.analysis import COLUMNS, NEVER, Report
from cnnbench.text import one_line

# A spreadsheet runs a cell that starts with one of these as a formula (OWASP, CSV injection).
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")


def to_csv(report: Report) -> str:
    """Return the rows as CSV with the columns of `report.csv`; an empty cell means not measured."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows([csv_cell(getattr(row, name)) for name in COLUMNS] for row in report.rows)
    return text.getvalue()


def csv_cell(value: object) -> str:
    """Return `value` as the text of a CSV cell.

    An apostrophe in front keeps a spreadsheet from running text as a formula. Control characters are escaped.
    Only the number of calls after which compiling pays can be infinite; the text is then `NEVER`.
    """
    if value is None:
        return ""
    if value == math.inf:
        return NEVER
    if isinstance(value, str):
        text = one_line(value)
        formula = value.startswith(FORMULA_STARTS) or text.startswith(FORMULA_STARTS)
        return f"'{text}" if formula else text
    return repr(value)
