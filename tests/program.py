"""cnnbench as a program: start it, and read what it wrote."""

import csv
import io
import shlex
import subprocess
import sys
from pathlib import Path

from cnnbench.record import Record
from cnnbench.store import Store

PROGRAM = [sys.executable, "-m", "cnnbench"]


def run(line: str, folder: Path) -> subprocess.CompletedProcess[str]:
    words = [*PROGRAM, *shlex.split(line)]
    return subprocess.run(words, cwd=folder, capture_output=True, text=True, check=False, timeout=240)


def table(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def timed(records: Path) -> list[Record]:
    """Return the records of timed cells in a run folder."""
    found = Store(records).load().records
    return [record for record in found if record.case.role == "timed" and record.case.task in ("infer", "train")]


def latest(folder: Path) -> Path | None:
    """Return the one run folder below `folder`, if there is one."""
    return next((path for path in (folder / "results").glob("2*")), None)
