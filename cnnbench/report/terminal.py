"""Plain text for a terminal: the table first, then the notes on it, and the answers last."""

from __future__ import annotations

from cnnbench.analysis import Report
from cnnbench.analysis.warnings import by_code
from cnnbench.report.text.lineup import lineup_text
from cnnbench.report.text.noise import MOST_NAMED, card_lines
from cnnbench.report.text.table import plain_text


def to_table(report: Report) -> str:
    """Return the report as plain text: table, failures and summary, with warnings and notes in short."""
    noise = () if report.noise is None else card_lines(report.noise, MOST_NAMED)
    text = plain_text(
        report.rows,
        report.summary,
        headlines=report.headlines,
        noise=noise,
        warned=by_code(report.warnings),
        notes=report.notes,
        lineups=tuple(map(lineup_text, report.lineups)),
    )
    return f"{text}\n"
