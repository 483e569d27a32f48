"""Show two runs side by side: what changed, which rows only one has, and that they were not measured together."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from types import MappingProxyType

import msgspec
from tabulate import tabulate

from cnnbench.analysis.diff import Change, Diff, Side, Value
from cnnbench.analysis.row import Row
from cnnbench.quantities import DASH, show_range
from cnnbench.report.csv import csv_cell
from cnnbench.report.markdown import bullets, escape, grid
from cnnbench.text import number_of, one_line

# Columns of the CSV file. A row that only one run has gets the quantity `row`, and its status as that run's value.
COLUMNS = (
    *("model", "variant", "device", "batch_size", "task", "quantity"),
    *("base", "base_low", "base_high", "head", "head_low", "head_high"),
    *("ratio", "ratio_low", "ratio_high", "changed"),
)

_HEADINGS = ("Row", "Quantity", "BASE", "HEAD", "HEAD / BASE")
_RIGHT = (False, False, True, True, True)


def banner(diff: Diff) -> tuple[str, ...]:
    """Return the notes to read before any number: unlike conditions, and that nothing was measured together."""
    unlike = [f"UNLIKE CONDITIONS, allowed by --allow: {one_line(str(condition))}." for condition in diff.allowed]
    return (
        *unlike,
        "BASE and HEAD were not measured together, so changes of the machine affect every ratio of times, and no "
        "interval covers them. For a verdict, measure both in one job: cnnbench gate BASE HEAD.",
    )


def _summary(diff: Diff) -> list[str]:
    """Return how many changes and common rows there are, and which rows only one run has."""
    changed = sum(change.changed for change in diff.changes)
    said = [
        f"{number_of(changed, 'change')}; {number_of(diff.rows, 'row')} {'is' if diff.rows == 1 else 'are'} in both."
    ]
    for side, alone in (("BASE", diff.only_base), ("HEAD", diff.only_head)):
        if alone:
            said.append(f"Only in {side}: {'; '.join(map(_row_label, alone))}.")
    return said


def _reading(diff: Diff) -> list[str]:
    if not diff.changes:
        return []
    return [
        "Brackets hold 95 % intervals. The interval of a ratio is the widest that both allow, so it holds in at least "
        "90 % of cases."
    ]


def _row_label(row: Row) -> str:
    status = "" if row.status == "ok" else f" ({row.status})"
    return f"{one_line(row.label())}{status}"


def _side(name: str, side: Side) -> str:
    when = side.started.removesuffix("Z").removesuffix("+00:00").replace("T", " ")
    return f"{name}: {one_line(side.place)}, {one_line(side.title)}, {when} UTC"


def _text(value: Value | None, change: Change) -> str:
    if value is None:
        return DASH
    if isinstance(value.center, str) or change.shown is None:
        return str(value.center)
    if change.shown == "count" and value is not change.ratio:
        return f"{value.center:,.0f}"  # exact: three digits would hide what changed
    shown = "ratio" if value is change.ratio else change.shown
    return show_range(value.center, value.low, value.high, shown)


def _cells(change: Change) -> tuple[str, ...]:
    values = (change.base, change.head, change.ratio)
    return one_line(change.row.label()), change.quantity, *(_text(value, change) for value in values)


def to_table(diff: Diff) -> str:
    """Return the changes as plain text."""
    rows = [_cells(change) for change in diff.changes]
    align = ["right" if right else "left" for right in _RIGHT]
    # Without changes there is no table, not even its headings.
    table = tabulate(rows, _HEADINGS, tablefmt="simple", colalign=align, disable_numparse=True) if rows else ""
    head = "\n".join((_side("BASE", diff.base), _side("HEAD", diff.head), *banner(diff)))
    parts = (head, table, "\n".join([*_summary(diff), *_reading(diff)]))
    return "\n\n".join(part for part in parts if part) + "\n"


def to_markdown(diff: Diff) -> str:
    """Return the changes as Markdown; texts from records are escaped."""
    sides = (_side("BASE", diff.base), _side("HEAD", diff.head))
    rows = [_cells(change) for change in diff.changes]
    parts = (
        "# What changed",
        bullets(sides),
        "\n>\n".join(f"> **{escape(line)}**" for line in banner(diff)),
        grid(_HEADINGS, _RIGHT, rows) if rows else "",
        bullets([*_summary(diff), *_reading(diff)]),
    )
    return "\n\n".join(part for part in parts if part) + "\n"


def to_csv(diff: Diff) -> str:
    """Return the changes as CSV in SI units and full precision; an empty cell means not measured."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)

    # BASE, HEAD and their ratio take three cells each: the value and the two ends of its interval.
    for change in diff.changes:
        values = (change.base, change.head, change.ratio)
        numbers = [number for value in values for number in _numbers(value)]
        writer.writerow(map(csv_cell, (*_key(change.row), change.quantity, *numbers, change.changed)))

    # The status of a row that only one run has stands in the first of that run's three cells.
    for side, rows in enumerate((diff.only_base, diff.only_head)):
        for row in rows:
            numbers = [None] * 9
            numbers[3 * side] = row.status
            writer.writerow(map(csv_cell, (*_key(row), "row", *numbers, True)))

    return text.getvalue()


def _key(row: Row) -> tuple[object, ...]:
    return row.model, row.variant, row.device, row.batch_size, row.task


def _numbers(value: Value | None) -> Sequence[object]:
    return (None, None, None) if value is None else (value.center, value.low, value.high)


def to_json(diff: Diff) -> str:
    """Return the whole comparison as one indented JSON object; null means not measured."""
    whole = {
        "base": msgspec.to_builtins(diff.base),
        "head": msgspec.to_builtins(diff.head),
        "notes": banner(diff),
        "unlike": [msgspec.to_builtins(condition) for condition in diff.allowed],
        "rows": diff.rows,
        # the key of a row fills the first columns, so `zip` ends before the others
        "changes": [
            {**dict(zip(COLUMNS, _key(change.row), strict=False)), **_change_values(change)} for change in diff.changes
        ],
        "only_base": [_row_label(row) for row in diff.only_base],
        "only_head": [_row_label(row) for row in diff.only_head],
    }
    return msgspec.json.format(msgspec.json.encode(whole), indent=2).decode() + "\n"


def _change_values(change: Change) -> dict[str, object]:
    values = {"base": change.base, "head": change.head, "ratio": change.ratio}
    pairs = {name: msgspec.to_builtins(value) for name, value in values.items()}
    return {"quantity": change.quantity, **pairs, "changed": change.changed}


# Every format of a comparison, by its name on the command line.
DIFF_WRITERS: MappingProxyType[str, Callable[[Diff], str]] = MappingProxyType(
    {"table": to_table, "markdown": to_markdown, "csv": to_csv, "json": to_json}
)
