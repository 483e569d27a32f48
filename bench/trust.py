"""How far can printed speed-ups and verdicts be trusted: many identical runs of the public command line.

    python bench/trust.py spread --runs 20 --output spread.jsonl  # compare resnet18, and torch's Timer beside it
    python bench/trust.py same --runs 60 --output same.jsonl      # a model against itself
    python bench/trust.py slower --percent 10 --runs 30 --output slower10.jsonl
    python bench/trust.py compare --runs 10 --output compare.jsonl  # three models, 60 s: first table, rounds, verdicts
    python bench/trust.py bench --runs 2 --output bench.jsonl       # `run quick`: verdicts, A/A controls, warnings
    python bench/trust.py summary spread.jsonl same.jsonl slower10.jsonl compare.jsonl bench.jsonl

Each run is one line of the output file, written when it ends; a file that is there is gone on with. `compare` and
`bench` keep their run folders in --keep DIR, by default beside the output file (compare.runs/). Nothing else should run
on the machine meanwhile.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from datetime import datetime
from pathlib import Path

from trust_runs import Found, deviation, first_table_s, lines_of, said, spread_of, tally

from cnnbench.analysis import analyse
from cnnbench.record import Record
from cnnbench.store import load

TIMER_S = 25.0
"""Seconds of a process that times one model with torch's Timer, its start included."""

INVALID = 1
"""Exit code of a run in which a row cannot be used."""

THREE = ("compare", "lenet", "vgg16", "mobilenet_v2")
QUICK = ("run", "quick")
"""What the modes `compare` and `bench` do, with the budgets that these have by themselves."""

TIMER = """
import sys, time
begin = time.monotonic()
import torch
from torch.utils.benchmark import Timer
from torchvision.models import resnet18
model, images = resnet18().eval(), torch.randn(1, 3, 224, 224)
if sys.argv[1] == "channels_last":
    model, images = (x.to(memory_format=torch.channels_last) for x in (model, images))
with torch.no_grad():
    timer = Timer("model(images)", globals={"model": model, "images": images}, num_threads=int(sys.argv[3]))
    left = float(sys.argv[2]) - (time.monotonic() - begin)
    print(timer.blocked_autorange(min_run_time=left).median)
"""

MODEL_FILE = """
from cnnbench.models import MODELS
from cnnbench.selftest.slowed_models import Repeated

def plain():
    return Repeated(100)

def slowed():
    return Repeated(100 + {percent})

def same():
    return MODELS["lenet"].build()
"""
"""One convolution more of a hundred is 1 % more work. A wait would be no known slowdown: it leaves caches colder."""


def run_cnnbench(arguments: Sequence[str], folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "cnnbench", *arguments, "--format", "csv", "--output", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode not in (0, INVALID):
        sys.exit(f"{' '.join(command)} ended with {done.returncode}:\n{done.stderr}")
    return done


def rows_of(*arguments: str) -> list[dict[str, str]]:
    with tempfile.TemporaryDirectory() as folder:
        return list(csv.DictReader(run_cnnbench(("compare", *arguments), Path(folder)).stdout.splitlines()))


def row_values(row: dict[str, str]) -> Found:
    if row["status"] != "ok":  # such as a machine whose cores were given to others
        return {"verdict": row["status"], "error": row["error"]}
    names = ("speedup", "speedup_low", "speedup_high", "minimum_detectable_effect", "rounds")
    return {"verdict": row["verdict"], **{n: float(row[n]) if row[n] else None for n in names}}


def timer_s(variant: str) -> float:
    threads = len(os.sched_getaffinity(0))
    command = [sys.executable, "-c", TIMER, variant, str(TIMER_S), str(threads)]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def spread(_: argparse.Namespace, __: Path) -> Found:
    rows = rows_of("resnet18", "--variants", "eager,channels_last", "--budget", "60s")
    ours = row_values(next(row for row in rows if row["variant"] == "channels_last"))
    return {**ours, "timer_speedup": timer_s("eager") / timer_s("channels_last")}


def same(options: argparse.Namespace, file: Path) -> Found:
    rows = rows_of(f"{file}:same", "--reference", "lenet", "--variants", "eager", *small_options(options))
    return row_values(next(row for row in rows if row["model"] != "lenet"))


def slower(options: argparse.Namespace, file: Path) -> Found:
    rows = rows_of(f"{file}:slowed", "--reference", f"{file}:plain", "--variants", "eager", *small_options(options))
    return row_values(next(row for row in rows if row["model"].endswith("slowed")))


def small_options(options: argparse.Namespace) -> tuple[str, ...]:
    return "--input-shape", "3x32x32", "--budget", options.budget


def run_mode(options: argparse.Namespace, _: Path) -> Found:
    """Do a run of the mode `compare` or `bench`, and return what its records and its report say."""
    kept = options.keep or options.output.with_suffix(".runs")
    folder = kept / f"{options.what}-{datetime.now():%Y%m%dT%H%M%S}"
    begin = time.time()
    done = run_cnnbench(THREE if options.what == "compare" else QUICK, folder)
    took_s = time.time() - begin
    items = load(folder).items
    first_s = first_table_s((item for item in items if isinstance(item, Record)), begin)
    return {"exit": done.returncode, "took_s": round(took_s, 1), "first_table_s": first_s, **said(analyse(items))}


ACTIONS = {"spread": spread, "same": same, "slower": slower, "compare": run_mode, "bench": run_mode}


def measure(options: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "networks.py"
        file.write_text(MODEL_FILE.replace("{percent}", str(options.percent)), encoding="utf-8")
        done = len(options.output.read_text(encoding="utf-8").splitlines()) if options.output.exists() else 0
        for at in range(done, options.runs):
            begin = time.monotonic()
            found = {"what": options.what, "percent": options.percent, **ACTIONS[options.what](options, file)}
            found["wall_s"] = round(time.monotonic() - begin, 1)
            with options.output.open("a", encoding="utf-8") as out:
                out.write(json.dumps(found) + "\n")
            print(f"{at + 1}/{options.runs}: {found}", flush=True)
    summary([options.output])


def summary(files: Iterable[Path]) -> None:
    for file in files:
        runs = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
        lines = [] if not runs else lines_of(runs) if "rows" in runs[0] else lines_of_one(runs)
        print("\n".join([f"{file.name}: {len(runs)} runs", *(f"  {line}" for line in lines)]))


def lines_of_one(runs: Sequence[Found]) -> list[str]:
    """Return the summary of runs of which one ratio is kept."""
    wall_s = statistics.median(run["wall_s"] for run in runs)
    lines = [f"{wall_s:.0f} s each: {tally(run['verdict'] for run in runs)}"]
    ours = [run["speedup"] for run in runs if run.get("speedup") is not None]
    lines.append(f"ours  {spread_of(ours)}")
    if "timer_speedup" in runs[0]:
        timer = [run["timer_speedup"] for run in runs]
        lines.append(f"Timer {spread_of(timer)}")
        if min(len(ours), len(timer)) > 1:
            lines.append(f"ratio of standard deviations {deviation(timer) / deviation(ours):.1f}")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=[*ACTIONS, "summary"])
    parser.add_argument("files", nargs="*", type=Path, help="for summary")
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--percent", type=int, default=0, help="slowdown that is injected")
    parser.add_argument("--budget", default="30s", help="of `same` and `slower`")
    parser.add_argument("--output", type=Path)
    parser.add_argument("--keep", type=Path, metavar="DIR", help="where run folders of `compare` and `bench` stay")
    options = parser.parse_args()
    if options.what == "summary":
        summary(options.files)
    elif options.output is None:
        parser.error("--output FILE is needed: each run is kept there")
    else:
        measure(options)


if __name__ == "__main__":
    main()
