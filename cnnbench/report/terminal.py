"""Plain text for a terminal: the table first, then the notes on it, and the answers last."""

from __future__ import annotations

from cnnbench.analysis import Report
from cnnbench.analysis.warnings import group_by_code
from cnnbench.quantities import DASH
from cnnbench.report.text.lineup import lineup_text
from cnnbench.report.text.noise import MOST_NAMED, card_lines
from cnnbench.report.text.table import failed_rows, short_notes, text_table
from cnnbench.text import one_line


def to_table(report: Report) -> str:
    """Return the report as plain text: table, failures and summary, with warnings and notes in short.

    The headlines, which must be read before any number, and the rows come first. What to know of the rows follows. The
    summary and the comparison of the models stand at the end, where the reader of a terminal looks.
    """
    noise = () if report.noise is None else card_lines(report.noise, MOST_NAMED)
    failed = (f"{one_line(row.label())}: {row.status}: {row.error or DASH}" for row in failed_rows(report.rows))
    parts = [
        "\n".join(map(one_line, report.headlines)),
        *text_table(report.rows),
        "\n".join(failed),
        "\n".join(short_notes(report.notes)),
        "\n".join(map(one_line, noise)),
        "\n".join(warning.in_short() for warning in group_by_code(report.warnings)),
        "\n".join(map(one_line, report.summary)),
        *map(lineup_text, report.lineups),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"
