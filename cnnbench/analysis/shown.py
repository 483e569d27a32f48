"""Rows as a person reads them: headings, scaled units with intervals, and only the columns that say something."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from tabulate import tabulate

from cnnbench.analysis.cautions import Warned
from cnnbench.analysis.row import Row
from cnnbench.analysis.words import one_line
from cnnbench.quantity import DASH, Shown, show, show_range

TABLE_WIDTH = 120
"""Characters that the terminal table may take: what most terminals are set to or can be widened to."""


MOST_NOTES = 10
"""Lines of notes that a terminal gets, so that table and summary stay in sight. Our choice."""

LONGEST_NOTE = 2 * TABLE_WIDTH
"""Characters of a note that a terminal gets: a list of many models or rows is cut. Our choice."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Column:
    """A column for readers: heading, the text of a row's cell, and whether it goes right (numbers)."""

    heading: str
    text: Callable[[Row], str]
    right: bool = True
    folds: bool = False  # said once above the table where it is the same in every row
    spare: int = 0  # the highest goes first where the table is too wide; 0 stays


@dataclass(frozen=True, kw_only=True, slots=True)
class Table:
    """Headings, cells and alignment of a table, what is the same in every row, and headings left out for width."""

    headings: tuple[str, ...]
    right: tuple[bool, ...]
    cells: tuple[tuple[str, ...], ...]
    common: tuple[str, ...]
    left_out: tuple[str, ...] = ()


def _word(field: str) -> Callable[[Row], str]:
    def text(row: Row) -> str:
        value = getattr(row, field)
        return DASH if value is None else one_line(str(value))

    return text


def _value(field: str, shown: Shown) -> Callable[[Row], str]:
    return lambda row: show(getattr(row, field), shown)


def _range(stem: str, unit: str, shown: Shown) -> Callable[[Row], str]:
    names = (f"{stem}{unit}", f"{stem}_low{unit}", f"{stem}_high{unit}")

    def text(row: Row) -> str:
        center, low, high = (getattr(row, name) for name in names)
        return show_range(center, low, high, shown)

    return text


def _speedup(row: Row) -> str:
    if row.latency_s is not None and row.reference == f"{row.model}/{row.variant}":
        return "reference"
    return show_range(row.speedup, row.speedup_low, row.speedup_high, "ratio")


_COLUMNS = (
    Column(heading="Model", text=_word("model"), right=False),
    Column(heading="Variant", text=_word("variant"), right=False),
    Column(heading="Device", text=_word("device"), right=False, folds=True),
    Column(heading="Precision", text=_word("precision"), right=False, folds=True, spare=5),
    Column(heading="Batch", text=_word("batch_size"), folds=True),
    Column(heading="Task", text=_word("task"), right=False, folds=True),
    Column(heading="Input", text=_word("input_shape"), folds=True, spare=8),
    Column(heading="Classes", text=_word("classes"), folds=True, spare=11),
    Column(heading="Data set", text=_word("dataset"), right=False, folds=True, spare=1),
    Column(heading="Top-1", text=_range("top1", "", "share")),
    Column(heading="Latency", text=_range("latency", "_s", "seconds")),
    Column(heading="p95", text=_value("latency_p95_s", "seconds"), spare=6),
    Column(heading="p99", text=_value("latency_p99_s", "seconds"), spare=7),
    Column(heading="Images/s", text=_value("throughput_img_per_s", "rate")),
    Column(heading="Speed-up", text=_speedup),
    Column(heading="Verdict", text=_word("verdict"), right=False),
    Column(heading="Detectable", text=_value("smallest_detectable", "share"), spare=9),
    Column(heading="Forward", text=_value("forward_s", "seconds"), spare=2),
    Column(heading="Backward", text=_value("backward_s", "seconds"), spare=2),
    Column(heading="Optimiser", text=_value("optimizer_s", "seconds"), spare=2),
    Column(heading="Params", text=_value("params", "count")),
    Column(heading="MACs", text=_value("macs", "count"), spare=1),
    Column(heading="Peak memory", text=_value("peak_memory_bytes", "bytes"), spare=3),
    Column(heading="Compile", text=_value("compile_s", "seconds"), spare=4),
    Column(heading="Break-even", text=_value("break_even_calls", "count"), spare=10),
    Column(heading="Of peak", text=_value("flops_share_of_peak", "share"), spare=10),
    Column(heading="Bound by", text=_word("bound_by"), right=False, spare=10),
    Column(heading="Error", text=_value("numerics_error", "number"), spare=10),
    Column(heading="Agreement", text=_value("top1_agreement", "share"), spare=10),
    Column(heading="Samples", text=_word("samples"), spare=12),
    Column(heading="Launches", text=_word("launches"), folds=True, spare=13),
    Column(heading="Status", text=_word("status"), right=False, folds=True),
)


_NAMES = ("Model", "Variant", "Device", "Batch", "Task")
_MAIN = tuple(column for column in _COLUMNS if column.spare <= 1)
_DETAIL = tuple(column for column in _COLUMNS if column.spare > 1 or column.heading in _NAMES)


def main_table(rows: Sequence[Row]) -> Table:
    """Return the table of what most readers look for, without columns that are empty everywhere."""
    return _table(rows, _MAIN)


def detail_table(rows: Sequence[Row]) -> Table:
    """Return the table of the rest (percentiles, parts of a step, counts of samples), empty if there is nothing."""
    table = _table(rows, _DETAIL)
    named = {name.lower() for name in _NAMES}
    common = tuple(text for text in table.common if text.partition(" ")[0] not in named)
    if all(heading in _NAMES for heading in table.headings):
        return Table(headings=(), right=(), cells=(), common=common)
    return replace(table, common=common)


def _table(rows: Sequence[Row], columns: Sequence[Column], width: int | None = None) -> Table:
    """Return the table of `rows` without columns that are empty everywhere.

    What is the same in every one of several rows is said once, in `common`. With a `width`, the least needed columns
    are left out until a line fits.
    """
    if not rows:
        return Table(headings=(), right=(), cells=(), common=())
    texts = {column: [column.text(row) for row in rows] for column in columns}
    used = [column for column in columns if any(text != DASH for text in texts[column])]
    folded = [column for column in used if column.folds and len(rows) > 1 and len(set(texts[column])) == 1]
    open_columns = [column for column in used if column not in folded]
    left_out = _too_wide(open_columns, texts, width)
    kept = [column for column in open_columns if column not in left_out]
    return Table(
        headings=tuple(column.heading for column in kept),
        right=tuple(column.right for column in kept),
        cells=tuple(tuple(texts[column][at] for column in kept) for at in range(len(rows))),
        common=tuple(f"{column.heading.lower()} {texts[column][0]}" for column in folded),
        left_out=tuple(column.heading for column in left_out),
    )


def _too_wide(columns: Sequence[Column], texts: dict[Column, list[str]], width: int | None) -> list[Column]:
    """Return the columns to leave out, in table order, so that a line takes at most `width` characters."""
    gap = 2
    takes = {column: gap + max(len(column.heading), *(len(text) for text in texts[column])) for column in columns}
    total, out = sum(takes.values()) - gap, set[Column]()
    for column in sorted((c for c in columns if c.spare), key=lambda c: -c.spare):
        if width is None or total <= width:
            break
        out.add(column)
        total -= takes[column]
    return [column for column in columns if column in out]


def plain_text(
    rows: Sequence[Row],
    summary: Sequence[str],
    warned: Sequence[Warned] = (),
    notes: Sequence[str] = (),
    width: int = TABLE_WIDTH,
) -> str:
    """Return rows, reasons of those that are not ok, summary, warnings and notes as text for a terminal."""
    parts = [
        *_text_table(rows, width),
        "\n".join(f"{one_line(row.label())}: {row.status}: {row.error or DASH}" for row in not_ok(rows)),
        "\n".join(one_line(sentence) for sentence in summary),
        "\n".join(warning.in_short() for warning in warned),
        "\n".join(_short_notes(notes)),
    ]
    return "\n\n".join(part for part in parts if part)


def _text_table(rows: Sequence[Row], width: int) -> tuple[str, ...]:
    """Return the table in plain text and what is not in it: what its rows share, and columns without room."""
    if not rows:
        return ("No rows.",)
    table = _table(rows, _COLUMNS, width)
    align = ["right" if right else "left" for right in table.right]
    about = [f"In every row: {', '.join(table.common)}."] if table.common else []
    about += [f"Left out for width: {', '.join(table.left_out)}."] if table.left_out else []
    grid = tabulate(table.cells, table.headings, tablefmt="simple", colalign=align, disable_numparse=True)
    return str(grid), "\n".join(about)


def _short_notes(notes: Sequence[str]) -> list[str]:
    """Return at most `MOST_NOTES` lines: the first notes, cut where they are long, and how many more there are."""
    lines = [f"Note: {one_line(note)}" for note in notes]
    lines = [line if len(line) <= LONGEST_NOTE else f"{line[: LONGEST_NOTE - 3]}..." for line in lines]
    if len(lines) <= MOST_NOTES:
        return lines
    return [*lines[: MOST_NOTES - 1], f"{len(lines) - MOST_NOTES + 1} more notes stand in the Markdown report."]


def html_table(rows: Sequence[Row]) -> str:
    """Return the table of `rows` as HTML, its texts escaped."""
    table = _table(rows, _COLUMNS)
    return str(tabulate(table.cells, table.headings, tablefmt="html", disable_numparse=True))


def not_ok(rows: Sequence[Row]) -> tuple[Row, ...]:
    """Return the rows without a measurement."""
    return tuple(row for row in rows if row.status != "ok")
