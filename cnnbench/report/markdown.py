"""Markdown report, for people who read it on a code host or in an editor."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import takewhile
from types import MappingProxyType

from cnnbench.analysis import Report, Row
from cnnbench.analysis.layers import LayerTable
from cnnbench.analysis.lineup import Lineup
from cnnbench.analysis.warnings import Warned, group_by_code
from cnnbench.report.about import about, facts
from cnnbench.report.charts import Chart
from cnnbench.report.column_help import reading
from cnnbench.report.layers import LAYER_HEADINGS, WHERE_TIME_GOES, layer_lines
from cnnbench.report.text.lineup import HEADINGS, lineup_cells, sentence_of, title_of
from cnnbench.report.text.noise import card_lines
from cnnbench.report.text.table import Table, detail_table, failed_rows, main_table
from cnnbench.text import number_of, one_line

# Most sentences above the table; if there are more, those on single models stand below it.
MOST_SENTENCES = 8

# Most rows of a warning that are listed openly; a longer list is folded.
MOST_OPEN_ROWS = 3

# Fewest words that all facts of a warning start with and that are then written once for all of them.
FEWEST_SHARED_WORDS = 4

# Characters of the bar of a layer that takes all of a model's time.
BAR_SIGNS = 20

_BAR = "\N{FULL BLOCK}"
# Characters that format text (an underscore does only at the edge of a word), and what starts a list or a heading.
_SPECIAL = re.compile(r"([\\`*\[\]|~]|(?<!\w)_|_(?!\w))")
_LIST_STARTS = re.compile(r"^(\d*)([.)]|[#+=-]+)(?=\s|$)")
_BACKSLASHED = r"\1\\\2"
_ENTITIES = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"})


def to_markdown(report: Report, *, images: Mapping[str, Chart] = MappingProxyType({})) -> str:
    """Return the report as Markdown; texts from records are escaped, so they appear literally.

    `images` are the charts that lie beside the report, by the names of their files.
    """
    below = report.differences if len(report.summary) > MOST_SENTENCES else ()

    # A section without content is an empty text, or no entry at all, and leaves no heading behind.
    sections = [
        f"# {escape(report.title)}",
        *(f"**{escape(line)}**" for line in report.headlines),
        escape(about(report)),
        *map(_lineup, report.lineups),
        bullets([sentence for sentence in report.summary if sentence not in below]),
        *_section("Noise", "" if report.noise is None else bullets(card_lines(report.noise))),
        "## Results",
        _format_table(main_table(report.rows)) or "No rows.",
        *(_illustration(file, chart) for file, chart in images.items()),
        *_section(f"What differs from {escape(report.reference or 'eager')}", bullets(below)),
        *_section("Where the time goes", _layers(report)),
        *_failures(report.rows),
        *_section("Warnings", _warnings(group_by_code(report.warnings))),
        *_section("Notes", bullets(report.notes)),
        *_section("How to read this", bullets(reading(report))),
        *_section("Details", _format_table(detail_table(report.rows))),
        *_section("Machine", _machine(report)),
        *_section("How to repeat", _code_block(report.command) if report.command.strip() else ""),
        # long lists that few readers need
        _fold("Notes on training before top-1 was tested", bullets(report.training)),
        _fold("Notes on counting parameters and multiply-adds", bullets(report.counting)),
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def _lineup(lineup: Lineup) -> str:
    """Return the comparison of the models: a sentence with the answer, and its table below."""
    rows = grid(HEADINGS, (False, False, True, True), lineup_cells(lineup))
    return f"**{escape(sentence_of(lineup))}**\n\n{escape(title_of(lineup))}:\n\n{rows}"


def _illustration(file: str, chart: Chart) -> str:
    title = escape(chart.title)
    return f"### {title}\n\n![{title}]({file})\n\n{escape(chart.caption)}"


def escape(text: str) -> str:
    """Return `text` as one line of Markdown that shows its exact characters, within a line or a table cell."""
    return _SPECIAL.sub(r"\\\1", one_line(text)).translate(_ENTITIES)


def _escape_html(text: str) -> str:
    """Return `text` as one line that shows its exact characters between HTML tags, where Markdown has no effect."""
    return one_line(text).translate(_ENTITIES)


def _section(heading: str, body: str) -> list[str]:
    return [f"## {heading}", body] if body else []


def _fold(heading: str, body: str) -> str:
    """Return `body` folded behind `heading`, which opens it; empty if there is no body."""
    return f"<details>\n<summary>{_escape_html(heading)}</summary>\n\n{body}\n\n</details>" if body else ""


def bullets(lines: Sequence[str]) -> str:
    """Return `lines` as a list; characters that would start a list or a heading within an entry are escaped, too."""
    return "\n".join(f"- {_LIST_STARTS.sub(_BACKSLASHED, escape(line))}" for line in lines)


def _indent(text: str) -> str:
    """Return `text` indented, so that it belongs to the list entry above it."""
    return "\n".join(f"  {line}" if line else "" for line in text.split("\n"))


def _code_block(text: str) -> str:
    """Return `text` as a block of code whose fence is longer than any run of backticks in the text."""
    line = one_line(text)
    fence = "`" * max(3, 1 + max(map(len, re.findall(r"`+", line)), default=0))
    return f"{fence}\n{line}\n{fence}"


def _format_table(table: Table) -> str:
    """Return a table, and above it the values that all its rows share."""
    common = f"In every row: {escape(', '.join(table.common))}." if table.common else ""
    rows = grid(table.headings, table.right, table.cells) if table.headings else ""
    return "\n\n".join(part for part in (common, rows) if part)


def grid(headings: Sequence[str], right: Sequence[bool], cells: Sequence[Sequence[str]]) -> str:
    """Return a table of texts, which are escaped; the columns that are `right` hold numbers and are right-aligned."""
    ruler = ["---:" if number else "---" for number in right]
    lines = [headings, ruler, *(map(escape, row) for row in cells)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _layers(report: Report) -> str:
    if not report.layers:
        return ""
    tables = [_layer_table(table) for table in report.layers]
    return "\n\n".join([escape(WHERE_TIME_GOES), *tables])


def _layer_table(table: LayerTable) -> str:
    lines = [list(LAYER_HEADINGS), ["---", "---", "---", ":---", ":---", ":---"]]
    for line in layer_lines(table):
        bars = (f"{_BAR * round(BAR_SIGNS * share)} {text}".strip() for text, share in line.bars)
        lines.append([escape(line.name), escape(line.kind), line.shape, *bars])
    heading = f"{table.model} ({table.device}, batch {table.batch_size}). {table.gist()}"
    return _fold(heading, "\n".join(f"| {' | '.join(line)} |" for line in lines))


def _failures(rows: Sequence[Row]) -> list[str]:
    lines = [
        f"- {escape(row.label())}: {row.status}. {escape(row.error or 'No reason was recorded.')}"
        for row in failed_rows(rows)
    ]
    return _section("Not measured", "\n".join(lines))


def _warnings(warned: Sequence[Warned]) -> str:
    """Return an entry for each code: the number of rows and the advice, and below them the facts of the rows."""
    return "\n".join(map(_warning, warned)).rstrip()


def _warning(warned: Warned) -> str:
    count = number_of(len(warned.rows), "row")
    shown = [(fact, "; ".join(rows)) for fact, rows in warned.facts]
    # A fact that holds for all rows stands in the entry itself, and the list below only names the rows.
    fact = f": {escape(shown[0][0])}" if len(shown) == 1 else ""
    entry = f"- **{escape(warned.code)}**, {count}{fact}. {escape(warned.advice)}".rstrip()
    open_rows = len(warned.rows) <= MOST_OPEN_ROWS
    shared = "" if open_rows else _shared_words([fact for fact, _ in shown])

    if len(shown) == 1:
        heading, lines = f"The {count}", list(warned.rows)
    elif shared:
        # The heading gives the words that all facts start with, and each line the rest of a fact.
        heading, lines = f"{shared} ...", [f"{rows}: ...{fact.removeprefix(shared)}" for fact, rows in shown]
    else:
        heading, lines = "What was seen in which row", [f"{rows}: {fact}" for fact, rows in shown]

    if open_rows:
        return f"{entry}\n{_indent(bullets(lines))}"

    # Markdown needs a blank line before and after the HTML of a folded list.
    return f"{entry}\n\n{_indent(_fold(heading, bullets(lines)))}\n"


def _shared_words(facts: Sequence[str]) -> str:
    """Return the words that all `facts` start with, or an empty text if there are only a few.

    The last word of a fact is never among them, so each fact keeps a rest.
    """
    columns = zip(*(fact.split()[:-1] for fact in facts), strict=False)
    words = [column[0] for column in takewhile(lambda column: len(set(column)) == 1, columns)]
    return " ".join(words) if len(words) >= FEWEST_SHARED_WORDS else ""


def _machine(report: Report) -> str:
    lines = [f"| {escape(name)} | {escape(value)} |" for name, value in facts(report.environment)]
    return "\n".join(["| | |", "| --- | --- |", *lines])
