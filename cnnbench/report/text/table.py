"""Show rows to a person: headings, scaled values with intervals, and only the columns that hold something."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, replace

from tabulate import tabulate

from cnnbench.analysis.row import Row
from cnnbench.quantities import DASH
from cnnbench.report.text.columns import COLUMNS_SHOWN, MORE_DETAILS, Column
from cnnbench.text import one_line

# Most characters of a line of the terminal table: most terminals have this width or can be widened to it.
TABLE_WIDTH = 120

# Most lines of notes in a terminal, so that the table and the summary stay in sight.
MOST_NOTES = 10

# Characters between two columns of tabulate's format "simple".
GAP = 2

# Characters by which tabulate makes a column at least wider than its heading.
HEADING_PADDING = 2

# Most characters of a note in a terminal; a longer list of models or rows is cut.
LONGEST_NOTE = 2 * TABLE_WIDTH


@dataclass(frozen=True, kw_only=True, slots=True)
class Table:
    """A table: headings, cells, alignment, what is the same in every row, and the headings left out for width."""

    headings: tuple[str, ...]
    right: tuple[bool, ...]
    cells: tuple[tuple[str, ...], ...]
    common: tuple[str, ...]
    left_out: tuple[str, ...] = ()
    fields: tuple[str, ...] = ()  # of `Row`, one for each heading


_NAMES = ("Model", "Variant", "Device", "Batch", "Task")
_MAIN = tuple(column for column in COLUMNS_SHOWN if not column.detail)
_DETAIL = tuple(column for column in COLUMNS_SHOWN if column.detail or column.heading in _NAMES) + MORE_DETAILS


def main_table(rows: Sequence[Row]) -> Table:
    """Return the table of what most readers look for, without columns that are empty in every row."""
    return _table(rows, _MAIN)


def detail_table(rows: Sequence[Row]) -> Table:
    """Return the table of the other columns: percentiles, parts of a step, counts of samples, and more.

    The table is empty if no row has a value in them.
    """
    table = _table(rows, _DETAIL)
    # The main table already says what all rows share of the columns that name a row.
    named = {name.lower() for name in _NAMES}
    common = tuple(text for text in table.common if text.partition(" ")[0] not in named)
    if all(heading in _NAMES for heading in table.headings):
        return Table(headings=(), right=(), cells=(), common=common)
    return replace(table, common=common)


def _table(rows: Sequence[Row], columns: Sequence[Column], width: int | None = None) -> Table:
    """Return the table of `rows` without columns that are empty in every row.

    What is the same in all of several rows is written once, in `common`. With a `width`, the least needed columns are
    left out until a line fits. If that is not enough, some texts are shortened.
    """
    if not rows:
        return Table(headings=(), right=(), cells=(), common=())

    texts = {column: [column.text(row) for row in rows] for column in columns}
    used = [column for column in columns if any(text != DASH for text in texts[column])]

    # Columns move to `common` before the width is checked, because they take no room in a line.
    shared = {column: _shared_text(column, texts[column]) for column in used}
    open_columns = [column for column in used if shared[column] is None]
    left_out = _columns_to_drop(open_columns, texts, width)
    kept = [column for column in open_columns if column not in left_out]
    # This changes `texts`, so the cells are read from it afterwards.
    missing = _shorten(kept, rows, texts, width)

    return Table(
        headings=tuple(column.heading for column in kept),
        right=tuple(column.right for column in kept),
        cells=tuple(tuple(texts[column][at] for column in kept) for at in range(len(rows))),
        common=tuple(f"{column.heading.lower()} {text}" for column, text in shared.items() if text is not None),
        left_out=(*(column.heading for column in left_out), *missing),
        fields=tuple(column.field for column in kept),
    )


def _shared_text(column: Column, texts: Sequence[str]) -> str | None:
    """Return the text that all of several rows share in a column that folds, or None."""
    different = set(texts) - ({DASH} if column.folds_over_none else set())
    return different.pop() if column.folds and len(texts) > 1 and len(different) == 1 else None


def _takes(column: Column, texts: dict[Column, list[str]]) -> int:
    """Return the width in characters of a column and of the gap after it."""
    return GAP + max(len(column.heading) + HEADING_PADDING, *(len(text) for text in texts[column]))


def _columns_to_drop(columns: Sequence[Column], texts: dict[Column, list[str]], width: int | None) -> list[Column]:
    """Return the columns to leave out, in table order, so that a line takes at most `width` characters."""
    total, out = sum(_takes(column, texts) for column in columns) - GAP, set[Column]()
    for column in sorted((c for c in columns if c.spare), key=lambda c: -c.spare):
        if width is None or total <= width:
            break
        out.add(column)
        total -= _takes(column, texts)
    return [column for column in columns if column in out]


def _shorten(
    columns: Sequence[Column], rows: Sequence[Row], texts: dict[Column, list[str]], width: int | None
) -> list[str]:
    """Put brief texts into `texts` until a line takes at most `width` characters; return what these texts lack."""
    missing = []
    for column in sorted(columns, key=lambda c: c.brief is not None and c.brief.late):
        if width is None or sum(_takes(c, texts) for c in columns) - GAP <= width:
            break
        if column.brief is None:
            continue
        # A brief text that equals the full one lacks nothing.
        before, texts[column] = texts[column], [column.brief.text(row) for row in rows]
        missing += [column.brief.missing] if texts[column] != before else []
    return missing


def text_table(rows: Sequence[Row], width: int = TABLE_WIDTH) -> tuple[str, ...]:
    """Return the table in plain text and what is not in it: the values that all rows share, and left-out columns."""
    if not rows:
        return ("No rows.",)
    table = _table(rows, COLUMNS_SHOWN, width)
    align = ["right" if right else "left" for right in table.right]
    about = [f"In every row: {', '.join(table.common)}."] if table.common else []
    if table.left_out:
        about.append(textwrap.fill(f"Left out for width: {', '.join(table.left_out)}.", width))
    grid = tabulate(table.cells, table.headings, tablefmt="simple", colalign=align, disable_numparse=True)
    return str(grid), "\n".join(about)


def short_notes(notes: Sequence[str]) -> list[str]:
    """Return at most `MOST_NOTES` lines: the first notes, cut if they are long, and how many more there are."""
    lines = [f"Note: {one_line(note)}" for note in notes]
    lines = [line if len(line) <= LONGEST_NOTE else f"{line[: LONGEST_NOTE - 3]}..." for line in lines]
    if len(lines) <= MOST_NOTES:
        return lines
    return [*lines[: MOST_NOTES - 1], f"{len(lines) - MOST_NOTES + 1} more notes are in the Markdown report."]


def html_table(rows: Sequence[Row]) -> str:
    """Return the table of `rows` as HTML with escaped texts."""
    table = _table(rows, COLUMNS_SHOWN)
    return str(tabulate(table.cells, table.headings, tablefmt="html", disable_numparse=True))


def failed_rows(rows: Sequence[Row]) -> tuple[Row, ...]:
    """Return the rows without a measurement."""
    return tuple(row for row in rows if row.status != "ok")
