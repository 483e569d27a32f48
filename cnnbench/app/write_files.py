"""Write the files of a report."""

from __future__ import annotations

from pathlib import Path

from cnnbench.analysis import Report
from cnnbench.atomic_write import writing_into
from cnnbench.report import WRITERS

# Formats that are written into a run folder.
FILES = ("markdown", "csv", "html")


def write_files(report: Report, folder: Path, formats: tuple[str, ...]) -> list[Path]:
    """Write the report's files for `formats` into `folder`, and return the paths of the files with the text.

    Raises:
        CnnbenchError: a file cannot be written.
    """
    paths = []
    with writing_into(folder):
        for name in formats:
            # A format can bring images beside its text; the returned path is that of the text.
            for file, content in WRITERS[name].files(report).items():
                (folder / file).write_bytes(content)
            paths.append(folder / WRITERS[name].file_name)
    return paths
