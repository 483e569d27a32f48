"""Write the report of a gate as plain text, as Markdown for a job summary, as CSV, and as JSON."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from types import MappingProxyType

import msgspec
from tabulate import tabulate

from cnnbench.gate.history import HISTORY_COLUMNS, Past
from cnnbench.gate.text import percent, slower_by
from cnnbench.gate.verdict import GateCell, GateReport
from cnnbench.quantities import DASH, show
from cnnbench.report.about import duration
from cnnbench.report.csv import csv_cell
from cnnbench.report.markdown import escape, grid
from cnnbench.stats import Slowdown

_HEADINGS = ("Model", "Variant", "Batch", "BASE", "HEAD", "HEAD is", "Measured again", "Verdict")
_PAST_HEADINGS = ("Model", "Variant", "Batch", "When", "BASE", "HEAD", "HEAD was", "Verdict")

PAST = "Earlier gates, each with its own revisions and machine. They do not affect the result above:"

READING = (
    "BASE and HEAD take turns in shuffled blocks of milliseconds, in several rounds with new processes each, so "
    "disturbances of the machine affect both. A slowdown is paired by block, and its bounds come from the rounds.",
    "at least, at most: each kind of bound holds with 99 % confidence for all cells of the gate at once. FAIL: the "
    "slowdown is at least the threshold, also in the second measurement by new processes. PASS: the slowdown is at "
    "most the threshold. INCONCLUSIVE: neither is certain. Use a larger --budget to learn more.",
    "Nothing is compared with a number from another run or another machine.",
)


def to_table(report: GateReport) -> str:
    """Return the report as plain text."""
    grid = tabulate([_row(cell) for cell in report.cells], _HEADINGS, tablefmt="simple", disable_numparse=True)
    notes = [f"Note: {note}" for note in report.notes]
    sentences = [cell.sentence for cell in report.cells]
    return "\n".join([str(grid), "", *sentences, *notes, *_past_table(report), "", report.sentence]) + "\n"


def _past_table(report: GateReport) -> tuple[str, ...]:
    if not report.past:
        return ()
    rows = [_past_row(one) for one in report.past]
    return "", PAST, "", str(tabulate(rows, _PAST_HEADINGS, tablefmt="simple", disable_numparse=True))


def to_markdown(report: GateReport) -> str:
    """Return the report as Markdown for the summary of a CI job."""
    # Sentences hold names and error messages, and Markdown would read their underscores and asterisks as markup.
    bullets = [f"- {escape(text)}" for text in (*(cell.sentence for cell in report.cells), *report.notes)]
    machine = report.environment
    where = (
        f"Measured in {duration(report.wall_s)} from {report.started} on {machine.cpu} ({machine.cores} cores) with "
        f"PyTorch {machine.torch} and cnnbench {machine.cnnbench}; BASE is {report.question.base}, HEAD is "
        f"{report.question.head}, the threshold {percent(report.question.threshold)}."
    )

    # Each part is a block of its own: Markdown needs a blank line around headings, tables and lists.
    parts = [
        f"## cnnbench gate: {'FAIL' if report.failed else 'PASS'}",
        f"**{escape(report.sentence)}**",
        _markdown(_HEADINGS, [_row(cell) for cell in report.cells]),
        "\n".join(bullets),
        escape(where),
        *([PAST, _markdown(_PAST_HEADINGS, [_past_row(one) for one in report.past])] if report.past else []),
        "<details>\n<summary>How to read this</summary>\n\n"
        + "\n".join(f"- {escape(line)}" for line in READING)
        + "\n\n</details>",
    ]
    return "\n\n".join(parts) + "\n"


def to_csv(report: GateReport) -> str:
    """Return one row for each cell under `HISTORY_COLUMNS`; an empty field was not measured."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(HISTORY_COLUMNS)

    question, machine = report.question, report.environment
    for cell in report.cells:
        # Three columns for each of the two measurements: the slowdown, its lower bound and its upper bound.
        slowdowns = [part for one in (cell.first, cell.again) for part in _parts(one)]
        values = (report.started, cell.model, cell.variant, cell.batch_size, cell.verdict, *slowdowns)
        sides = (cell.base_latency_s, cell.head_latency_s, question.base, question.head, question.threshold)
        writer.writerow([csv_cell(value) for value in (*values, *sides, machine.cpu, machine.torch, cell.sentence)])
    return text.getvalue()


def to_json(report: GateReport) -> str:
    """Return the whole report as one indented JSON object; null means not measured."""
    return msgspec.json.format(msgspec.json.encode(report), indent=2).decode() + "\n"


# The formats by the names that the command line takes.
GATE_WRITERS = MappingProxyType[str, Callable[[GateReport], str]](
    {"table": to_table, "markdown": to_markdown, "csv": to_csv, "json": to_json}
)


def _row(cell: GateCell) -> tuple[str, ...]:
    return (
        *_names(cell),
        show(cell.base_latency_s, "seconds"),
        show(cell.head_latency_s, "seconds"),
        _slowdown(cell.first),
        _slowdown(cell.again),
        cell.verdict.upper(),
    )


def _names(one: GateCell | Past) -> tuple[str, str, str]:
    """Return the first three columns of both tables: model, variant and batch size."""
    return one.model, one.variant or DASH, DASH if one.batch_size is None else str(one.batch_size)


def _past_row(one: Past) -> tuple[str, ...]:
    return (
        *_names(one),
        one.started,
        one.base,
        one.head,
        DASH if one.slowdown is None else slower_by(one.slowdown),
        one.verdict.upper(),
    )


def _markdown(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return grid(headings, [False] * len(headings), rows)


def _slowdown(found: Slowdown | None) -> str:
    return DASH if found is None else slower_by(found.center)


def _parts(found: Slowdown | None) -> tuple[float | None, ...]:
    return (None, None, None) if found is None else (found.center, found.low, found.high)
