"""How far can the gate be trusted: many identical runs of the public command line on a repository made for it.

    python bench/gate_trust.py gate --percent 10 --runs 8 --output slower10.jsonl
    python bench/gate_trust.py gate --percent 0 --runs 15 --output same.jsonl       # a revision against itself
    python bench/gate_trust.py gate --percent 10 --runs 3 --burst --output slower10-burst.jsonl
    python bench/gate_trust.py today --percent 10 --runs 3 --output today10.jsonl   # pytest-benchmark, twice in a row
    python bench/gate_trust.py default --runs 1 --output default.jsonl              # the three default models: how long
    python bench/gate_trust.py summary slower10.jsonl same.jsonl today10.jsonl

Each run is one line of the output file, written when it ends; a file that is there is gone on with. Nothing else should
run on the machine meanwhile; with --burst a process keeps the last core busy by turns.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from cnnbench.selftest.load_burst import bursts

ROOT = Path(__file__).resolve().parent.parent

TIMES = 100
"""Convolutions of the model that is compared; one more is 1 % more work. A wait would be no known slowdown: it leaves
caches colder."""

NET = """
from cnnbench.selftest.slowed_models import Repeated

def make():
    return Repeated({times})
"""

TODAY = """
import torch
from net import make

def test_net(benchmark):
    model, images = make().eval(), torch.randn(1, 3, 32, 32)
    with torch.no_grad():
        benchmark(model, images)
"""

REGRESSED = "Performance has regressed"
"""What pytest-benchmark says when --benchmark-compare-fail finds something."""


def repository(folder: Path, percent: int) -> Path:
    """Return a repository whose branch main holds a model, and whose branch change has it slowed."""
    folder.mkdir()
    git(folder, "init", "--quiet", "--initial-branch=main")
    for branch, more in (("main", 0), ("change", percent * TIMES // 100)):
        if branch == "change":
            git(folder, "checkout", "--quiet", "-b", branch)
        (folder / "net.py").write_text(NET.replace("{times}", str(TIMES + more)), encoding="utf-8")
        (folder / "test_net.py").write_text(TODAY, encoding="utf-8")
        git(folder, "add", "--all")
        git(folder, "commit", "--quiet", "--allow-empty", "--message", branch)
    return folder


def git(folder: Path, *words: str) -> None:
    identity = ["-c", "user.name=bench", "-c", "user.email=bench@example.org"]
    subprocess.run(["git", *identity, *words], cwd=folder, check=True)


def run_module(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-m", *words]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def gate(options: argparse.Namespace, repo: Path, scratch: Path) -> dict[str, object]:
    head = "change" if options.percent else "main"
    line = ["gate", "main", head, "--models", "net.py:make", "--input-shape", "3x32x32", "--budget", options.budget]
    return read_verdict(run_module(repo, "cnnbench", *line, "--format", "json", "--output", str(scratch / "run")))


def default(options: argparse.Namespace, repo: Path, scratch: Path) -> dict[str, object]:
    del repo
    line = ["gate", "HEAD", "HEAD", "--budget", options.budget, "--format", "json", "--output", str(scratch / "run")]
    return read_verdict(run_module(ROOT, "cnnbench", *line))


def read_verdict(done: subprocess.CompletedProcess[str]) -> dict[str, object]:
    if done.returncode not in (0, 1):
        sys.exit(f"{' '.join(done.args)} ended with {done.returncode}:\n{done.stderr}")
    found = json.loads(done.stdout)
    wanted = ("model", "verdict", "first", "again", "sentence")
    cells = [{name: cell[name] for name in wanted} for cell in found["cells"]]
    return {"verdict": found["verdict"], "exit": done.returncode, "cells": cells}


def run_pytest_benchmark(options: argparse.Namespace, repo: Path, scratch: Path) -> dict[str, object]:
    medians: list[float] = []
    storage = ["--benchmark-storage", f"file://{scratch / 'benchmarks'}", "-p", "no:cacheprovider"]
    for branch in ("main", "change" if options.percent else "main"):
        git(repo, "checkout", "--quiet", branch)
        file = scratch / f"{len(medians)}.json"
        second = ["--benchmark-compare=0001", "--benchmark-compare-fail=median:5%"] if medians else []
        line = ["test_net.py", "--benchmark-only", "--benchmark-autosave", f"--benchmark-json={file}"]
        done = run_module(repo, "pytest", *line, *storage, *second)
        said = done.stdout + done.stderr
        if not file.exists():
            sys.exit(f"pytest ended with {done.returncode}:\n{said}")
        medians.append(json.loads(file.read_text(encoding="utf-8"))["benchmarks"][0]["stats"]["median"])
    return {"verdict": "fail" if REGRESSED in said else "pass", "slowdown": medians[1] / medians[0] - 1}


def measure(options: argparse.Namespace) -> None:
    action = {"gate": gate, "default": default, "today": run_pytest_benchmark}[options.what]
    done = len(options.output.read_text(encoding="utf-8").splitlines()) if options.output.exists() else 0
    for at in range(done, options.runs):
        with tempfile.TemporaryDirectory() as folder:
            repo = repository(Path(folder) / "repo", options.percent)
            load: AbstractContextManager[None] = bursts(at) if options.burst else nullcontext()
            begin = time.monotonic()
            with load:
                found = action(options, repo, Path(folder))
        asked = {"what": options.what, "percent": options.percent, "burst": options.burst}
        line = {**asked, **found, "wall_s": round(time.monotonic() - begin, 1)}
        with options.output.open("a", encoding="utf-8") as out:
            out.write(json.dumps(line) + "\n")
        print(f"{at + 1}/{options.runs}: {line}", flush=True)


def summary(files: list[Path]) -> None:
    for file in files:
        runs = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
        verdicts = [run["verdict"] for run in runs]
        counts = ", ".join(f"{verdicts.count(v)} {v}" for v in dict.fromkeys(verdicts))
        wall = [run["wall_s"] for run in runs]
        took = f"{statistics.median(wall):.0f} s each, at most {max(wall):.0f}"
        print(f"{file.name}: {len(runs)} runs ({took}): {counts}")
        seen = sorted(slowdown for run in runs for slowdown in slowdowns(run))
        if seen:
            shown = ", ".join(f"{100 * x:+.1f}" for x in (seen[0], statistics.median(seen), seen[-1]))
            print(f"  slowdowns seen: least, median, most {shown} %")


def slowdowns(run: dict[str, object]) -> list[float]:
    if "slowdown" in run:
        return [float(str(run["slowdown"]))]
    cells = run["cells"]
    assert isinstance(cells, list)
    return [found["center"] for cell in cells for found in (cell["first"], cell["again"]) if found]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["gate", "today", "default", "summary"])
    parser.add_argument("files", nargs="*", type=Path, help="for summary")
    parser.add_argument("--runs", type=int, default=8)
    parser.add_argument("--percent", type=int, default=0, help="slowdown that is injected; 0: against itself")
    parser.add_argument("--budget", default="100s", help="of the gate")
    parser.add_argument("--burst", action="store_true", help="keep the last core busy by turns meanwhile")
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    if options.what == "summary":
        summary(options.files)
    elif options.output is None:
        parser.error("--output FILE is needed: each run is kept there")
    else:
        measure(options)


if __name__ == "__main__":
    main()
