"""How far can printed speed-ups and verdicts be trusted: many identical runs of the public command line.

    python bench/trust.py spread --runs 20 --output spread.jsonl  # compare, and torch.s Timer
    python bench/trust.py same --runs 60 --output same.jsonl      # a network against itself
    python bench/trust.py slower --percent 10 --runs 30 --output slower10.jsonl
    python bench/trust.py summary spread.jsonl same.jsonl slower10.jsonl

Each run is one line of the output file, written when it ends; a file that is there is gone on with. Nothing else should
run on the machine meanwhile.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

TIMER_S = 25.0
"""Seconds of a process that times one network with torch's Timer, its start included."""

INVALID = 1
"""Exit code of a comparison in which a row cannot be used."""

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

NETWORKS = """
import time
from torch import nn
from cnnbench.models import MODELS

class Slowed(nn.Module):
    def __init__(self, share):
        super().__init__()
        self.net, self.share = MODELS["lenet"].build(), share

    def forward(self, images):
        begin = time.perf_counter_ns()
        scores = self.net(images)
        end = begin + (time.perf_counter_ns() - begin) * (1 + self.share)
        while time.perf_counter_ns() < end:
            pass
        return scores

def plain():
    return Slowed(0.0)

def slowed():
    return Slowed({share})

def same():
    return MODELS["lenet"].build()
"""


def compare(*arguments: str) -> list[dict[str, str]]:
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "cnnbench", "compare", *arguments, "--format", "csv", "--output", folder]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode not in (0, INVALID):
        sys.exit(f"{' '.join(command)} ended with {done.returncode}:\n{done.stderr}")
    return list(csv.DictReader(done.stdout.splitlines()))


def shown(row: dict[str, str]) -> dict[str, object]:
    if row["status"] != "ok":  # such as a machine whose cores were given to others
        return {"verdict": row["status"], "error": row["error"]}
    names = ("speedup", "speedup_low", "speedup_high", "smallest_detectable")
    return {"verdict": row["verdict"], **{n: float(row[n]) if row[n] else None for n in names}}


def timer_s(variant: str) -> float:
    threads = len(__import__("os").sched_getaffinity(0))
    command = [sys.executable, "-c", TIMER, variant, str(TIMER_S), str(threads)]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def spread(_: argparse.Namespace, __: Path) -> dict[str, object]:
    rows = compare("resnet18", "--variants", "eager,channels_last", "--budget", "60s")
    ours = shown(next(row for row in rows if row["variant"] == "channels_last"))
    return {**ours, "timer_speedup": timer_s("eager") / timer_s("channels_last")}


def same(options: argparse.Namespace, file: Path) -> dict[str, object]:
    rows = compare(f"{file}:same", "--reference", "lenet", "--variants", "eager", *small(options))
    return shown(next(row for row in rows if row["model"] != "lenet"))


def slower(options: argparse.Namespace, file: Path) -> dict[str, object]:
    rows = compare(f"{file}:slowed", "--reference", f"{file}:plain", "--variants", "eager", *small(options))
    return shown(next(row for row in rows if row["model"].endswith("slowed")))


def small(options: argparse.Namespace) -> tuple[str, ...]:
    return "--input-shape", "3x32x32", "--budget", options.budget


def measure(options: argparse.Namespace) -> None:
    action = {"spread": spread, "same": same, "slower": slower}[options.what]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "networks.py"
        file.write_text(NETWORKS.replace("{share}", str(options.percent / 100)), encoding="utf-8")
        done = len(options.output.read_text(encoding="utf-8").splitlines()) if options.output.exists() else 0
        for at in range(done, options.runs):
            begin = time.monotonic()
            found = {"what": options.what, "percent": options.percent, **action(options, file)}
            found["wall_s"] = round(time.monotonic() - begin, 1)
            with options.output.open("a", encoding="utf-8") as out:
                out.write(json.dumps(found) + "\n")
            print(f"{at + 1}/{options.runs}: {found}", flush=True)


def summary(files: list[Path]) -> None:
    for file in files:
        runs = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
        verdicts = [run["verdict"] for run in runs]
        counts = ", ".join(f"{verdicts.count(v)} {v}" for v in dict.fromkeys(verdicts))
        wall = statistics.median(run["wall_s"] for run in runs)
        print(f"{file.name}: {len(runs)} runs ({wall:.0f} s each): {counts}")
        ours = spread_of([run["speedup"] for run in runs if "speedup" in run])
        if "timer_speedup" in runs[0]:
            timer = spread_of([run["timer_speedup"] for run in runs])
            print(f"  Timer {timer[1]}\n  ratio of standard deviations {timer[0] / ours[0]:.1f}")
        print(f"  ours  {ours[1]}")


def spread_of(ratios: list[float]) -> tuple[float, str]:
    sd = statistics.stdev([math.log(ratio) for ratio in ratios])
    low, middle, high = min(ratios), statistics.median(ratios), max(ratios)
    return sd, f"median {middle:.3f}, {low:.3f} to {high:.3f}, standard deviation {100 * sd:.2f} %"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["spread", "same", "slower", "summary"])
    parser.add_argument("files", nargs="*", type=Path, help="for summary")
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--percent", type=float, default=0.0, help="slowdown that is injected")
    parser.add_argument("--budget", default="30s")
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
