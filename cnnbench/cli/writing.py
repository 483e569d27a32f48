"""Write the files of a report."""

from __future__ import annotations

from pathlib import Path

from cnnbench.analysis import Report
from cnnbench.report import WRITERS
from cnnbench.spec import CnnbenchError

FILES = ("markdown", "csv", "html")
"""Formats whose files a run folder gets."""


def write_files(report: Report, folder: Path, formats: tuple[str, ...]) -> list[Path]:
    """Write the report's files for `formats` into `folder` and return their paths.

    Raises:
        CnnbenchError: a file cannot be written.
    """
    paths = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name in formats:
            path = folder / WRITERS[name].file_name
            path.write_text(WRITERS[name].write(report), encoding="utf-8", newline="\n")
            paths.append(path)
    except OSError as error:
        raise CnnbenchError(f"Cannot write into '{folder}': {error.strerror}. The records are not touched.") from error
    return paths
