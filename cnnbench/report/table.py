"""Table: what a terminal shows."""

from __future__ import annotations

from cnnbench.analysis import Report


def to_table(report: Report) -> str:
    """Return table, failures, summary, warnings and notes in short as plain text."""
    return f"{report}\n"
