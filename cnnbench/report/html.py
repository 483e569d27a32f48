"""HTML report: one file that opens from disk and loads nothing else, to read, sort, filter and print."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from typing import TYPE_CHECKING

from cnnbench.analysis import Report, Row
from cnnbench.analysis.warnings import group_by_code
from cnnbench.report.about import about, facts
from cnnbench.report.charts import charts
from cnnbench.report.column_help import reading
from cnnbench.report.layers import LAYER_HEADINGS, WHERE_TIME_GOES, layer_lines
from cnnbench.report.text.lineup import HEADINGS, lineup_cells, sentence_of, title_of
from cnnbench.report.text.noise import card_lines
from cnnbench.report.text.table import Table, detail_table, failed_rows, main_table
from cnnbench.text import one_line

if TYPE_CHECKING:
    from jinja2 import Environment

# Columns that a reader can filter by one value; a column with only one value is not offered.
FILTERED = ("variant", "device", "batch_size", "task", "verdict", "status")


@dataclass(frozen=True, kw_only=True, slots=True)
class HtmlCell:
    """A cell of a table: its text, the number to sort it by (empty: its text), and whether it is right-aligned."""

    text: str
    key: str
    right: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Line:
    """A row of the main table; `at` is its number in links, and `tags` are its values of the `FILTERED` columns."""

    at: int
    cells: tuple[HtmlCell, ...]
    tags: tuple[tuple[str, str], ...]


def to_html(report: Report) -> str:
    """Return the report as one page; texts from records are escaped, so they appear literally.

    Without JavaScript the page shows everything but the charts.
    """
    table = main_table(report.rows)
    # Plotly takes about 5 MB, so a page without charts does not contain it.
    drawn = charts(report)

    text: str = (
        _environment()
        .get_template("report.html.j2")
        .render(
            report=report,
            about=about(report),
            lineups=[(sentence_of(one), title_of(one), lineup_cells(one)) for one in report.lineups],
            lineup_headings=HEADINGS,
            noise=() if report.noise is None else card_lines(report.noise),
            table=table,
            lines=[_line(at, row, table) for at, row in enumerate(report.rows)],
            filters=_filters(report.rows),
            details=detail_table(report.rows),
            layers=[(table, layer_lines(table)) for table in report.layers],
            layer_headings=LAYER_HEADINGS,
            layers_say=WHERE_TIME_GOES,
            failed=failed_rows(report.rows),
            warned=group_by_code(report.warnings),
            reading=reading(report),
            facts=facts(report.environment),
            command=one_line(report.command),
            charts=drawn,
            figures={chart.name: chart.figure for chart in drawn},
            plotly=_plotly() if drawn else "",
            style=_page("report.css"),
            script=_page("report.js"),
        )
    )
    return text


def _environment() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    # `StrictUndefined` makes a misspelt name in the template an error instead of an empty text.
    made = Environment(
        loader=PackageLoader("cnnbench.report", "page"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        undefined=StrictUndefined,
    )

    made.filters["one_line"] = one_line
    # Equal reports give equal pages because keys are sorted. Browsers cannot parse NaN, so it is an error here.
    made.policies["json.dumps_kwargs"] = {"sort_keys": True, "separators": (",", ":"), "allow_nan": False}
    return made


def _page(name: str) -> str:
    return (resources.files("cnnbench.report") / "page" / name).read_text(encoding="utf-8")


def _plotly() -> str:
    """Return Plotly's program for browsers from its Python package; the package's figures are not loaded."""
    return (resources.files("plotly") / "package_data" / "plotly.min.js").read_text(encoding="utf-8")


def _line(at: int, row: Row, table: Table) -> Line:
    cells = tuple(
        HtmlCell(text=text, key=_key(row, field), right=right)
        for text, field, right in zip(table.cells[at], table.fields, table.right, strict=True)
    )
    return Line(at=at, cells=cells, tags=tuple((name, _tag(row, name)) for name in FILTERED))


def _key(row: Row, field: str) -> str:
    value = getattr(row, field) if field else None
    return repr(value) if isinstance(value, int | float) else ""


def _tag(row: Row, name: str) -> str:
    value = getattr(row, name)
    return "" if value is None else one_line(str(value))


def _filters(rows: Sequence[Row]) -> list[tuple[str, tuple[str, ...]]]:
    """Return the `FILTERED` columns that have several values, each with its values in the order of the rows."""
    values = {name: tuple(dict.fromkeys(_tag(row, name) for row in rows if _tag(row, name))) for name in FILTERED}
    return [(name, own) for name, own in values.items() if len(own) > 1]
