"""CSV: every column, full precision, nothing scaled; for spreadsheets and scripts."""

from __future__ import annotations

import csv
import io
import math

from cnnbench.analysis import COLUMNS, NEVER, Report

# A spreadsheet takes a cell that starts so for a formula and runs it (OWASP, CSV injection).
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")


def to_csv(report: Report) -> str:
    """Return the rows as CSV with the columns of `report.csv`; empty means not measured."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows([plain(getattr(row, name)) for name in COLUMNS] for row in report.rows)
    return text.getvalue()


def plain(value: object) -> str:
    """Return `value` as CSV holds it; an apostrophe in front keeps a spreadsheet from running text as a formula.

    Infinite are only calls until a compilation pays: never.
    """
    if value is None:
        return ""
    if value == math.inf:
        return NEVER
    if isinstance(value, str):
        return f"'{value}" if value.startswith(FORMULA_STARTS) else value
    return repr(value)
