"""Plain listings as text, Markdown, CSV or JSON."""

from __future__ import annotations

from collections.abc import Sequence


def render(headers: Sequence[str], rows: Sequence[Sequence[object]], output_format: str) -> str:
    """Return the table in `output_format`: `table` (for people), `markdown`, `csv` or `json`.

    None is a dash for people, an empty cell in CSV, and null in JSON.
    """
    # Programs get values as they are; only people get thousands separators.
    if output_format == "json":
        import json

        return json.dumps([dict(zip(headers, row, strict=True)) for row in rows], indent=2)
    if output_format == "csv":
        import csv
        import io

        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows([headers, *rows])
        return text.getvalue().rstrip("\n")

    # The first known value of a column decides how the column is aligned.
    cells = [["-" if value is None else _cell_value(value) for value in row] for row in rows]
    kinds = [next((row[k] for row in rows if row[k] is not None), None) for k in range(len(headers))]
    align = ["right" if isinstance(kind, int) else "left" for kind in kinds]
    if output_format == "markdown":
        from cnnbench.report.markdown import grid

        return grid(headers, [kind == "right" for kind in align], [[str(cell) for cell in row] for row in cells])

    from tabulate import tabulate

    return tabulate(cells, headers=headers, colalign=align if rows else None, disable_numparse=True)


def _cell_value(value: object) -> object:
    return f"{value:,}" if isinstance(value, int) else value
