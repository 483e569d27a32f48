"""Writers that turn a report into the text of a file, and the table that names them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from cnnbench.analysis import Report
from cnnbench.report.charts import charts
from cnnbench.report.csv import to_csv
from cnnbench.report.html import to_html
from cnnbench.report.json import to_json
from cnnbench.report.markdown import to_markdown
from cnnbench.report.terminal import to_table


@dataclass(frozen=True, kw_only=True, slots=True)
class Writer:
    """One format: the name of its file in a run folder, and the function that turns a report into the file's text.

    `printed`: the format is offered for standard output, too. `illustrated`, if set, returns the files of a run folder
    instead: the text and the images beside it.
    """

    file_name: str
    write: Callable[[Report], str]
    printed: bool = True
    illustrated: Callable[[Report], Mapping[str, bytes]] | None = None

    def files(self, report: Report) -> Mapping[str, bytes]:
        """Return the content of each file of a run folder, by file name."""
        if self.illustrated is not None:
            return self.illustrated(report)
        return {self.file_name: self.write(report).encode()}


def _markdown(report: Report) -> Mapping[str, bytes]:
    """Return the report as Markdown, with its charts as images beside it."""
    from cnnbench.report.drawing import draw_chart

    drawn = charts(report)
    images = {f"report-{chart.name}.png": draw_chart(chart, "png") for chart in drawn}
    text = to_markdown(report, images=dict(zip(images, drawn, strict=True)))
    return {"report.md": text.encode(), **images}


# Every format, by its name on the command line.
WRITERS = MappingProxyType(
    {
        "table": Writer(file_name="report.txt", write=to_table),
        "markdown": Writer(file_name="report.md", write=to_markdown, illustrated=_markdown),
        "html": Writer(file_name="report.html", write=to_html, printed=False),
        "csv": Writer(file_name="report.csv", write=to_csv),
        "json": Writer(file_name="report.json", write=to_json),
    }
)

__all__ = ["WRITERS", "Writer"]
