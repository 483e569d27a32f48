"""Measure something, delete its reports, rebuild them from the records, and compare every byte (V18)."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from cnnbench.selftest import Found, Setting
from cnnbench.spec import EXIT_FAILED, CnnbenchError

REPORTS = ("report.csv", "report.md")

# What is measured: two models in two variants, which takes seconds.
MEASURED = ("compare", "lenet", "perceptron", "--reference", "perceptron", "--budget", "10s")


def rebuild_reports(_part: str, setting: Setting) -> Found:
    """Count the reports that differ after a process of its own rebuilt them from the records of a run (V18)."""
    with tempfile.TemporaryDirectory(prefix="cnnbench-") as scratch:
        folder = Path(scratch) / "run"
        setting.on_progress("measuring", 0.0)
        _cnnbench(*MEASURED, "--seed", str(setting.seed), "--output", str(folder))

        # Rebuilding must not find the old files: leaving them as they are would pass for success.
        before = {name: (folder / name).read_bytes() for name in REPORTS}
        for name in REPORTS:
            (folder / name).unlink()
        setting.on_progress("rebuilding", 0.8)
        _cnnbench("report", str(folder))
        differ = sum((folder / name).read_bytes() != before[name] for name in REPORTS)

    return Found(
        measured="reports (CSV and Markdown) that differ after they were deleted and rebuilt from the records",
        values=(float(differ),),
        shown=f"{differ} of {len(REPORTS)}, {sum(map(len, before.values()))} bytes",
        bound="0",
        holds=differ == 0,
    )


def _cnnbench(*arguments: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "cnnbench", *arguments], capture_output=True, text=True, check=False, timeout=300
    )
    if done.returncode not in (0, EXIT_FAILED):  # a cell that failed on a busy machine still has a row
        said = done.stderr.strip().splitlines() or ["no message"]
        raise CnnbenchError(f"'cnnbench {' '.join(arguments)}' ended with {done.returncode}: {said[-1]}")
