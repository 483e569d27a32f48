"""Writers: a report to the text of one file each, and the table that names them."""

from collections.abc import Callable
from dataclasses import dataclass
from types import MappingProxyType

from cnnbench.analysis import Report
from cnnbench.report.csv import to_csv
from cnnbench.report.json import to_json
from cnnbench.report.markdown import to_markdown
from cnnbench.report.table import to_table


@dataclass(frozen=True, kw_only=True, slots=True)
class Writer:
    """One format: the name of its file in a run folder, and the function from a report to the file's text."""

    file_name: str
    write: Callable[[Report], str]


WRITERS = MappingProxyType(
    {
        "table": Writer(file_name="report.txt", write=to_table),
        "markdown": Writer(file_name="report.md", write=to_markdown),
        "csv": Writer(file_name="report.csv", write=to_csv),
        "json": Writer(file_name="report.json", write=to_json),
    }
)
"""Every format by the name that the command line takes."""

__all__ = ["WRITERS", "Writer"]
