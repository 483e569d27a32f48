"""Real runs through the command line: files, failures, interruptions, resuming, and nothing left behind."""

import csv
import io
import json
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

import cnnbench
from cnnbench.record import Record
from cnnbench.store import Store

pytestmark = pytest.mark.slow

COLUMNS = """
model, variant, device, precision, batch_size, task, input_shape, classes, dataset, status, params,
trainable_params, macs, top1, top1_low, top1_high, latency_s, latency_low_s, latency_high_s, latency_p95_s,
latency_p99_s, throughput_img_per_s, forward_s, backward_s, optimizer_s, reference, speedup, speedup_low,
speedup_high, verdict, smallest_detectable, peak_memory_bytes, compile_s, break_even_calls, flops_share_of_peak,
bound_by, numerics_error, top1_agreement, samples, launches, warnings, error
"""

NETWORKS = """
import os
from torch import nn


class Good(nn.Module):
    def __init__(self):
        super().__init__()
        print("building", flush=True)
        self.line = nn.Linear(28 * 28, 4)

    def forward(self, images):
        return self.line(images.flatten(1))


class Coloured(Good):
    def __init__(self):
        super().__init__()
        self.line = nn.Linear(3 * 8 * 8, 4)


class Raises(Good):
    def forward(self, images):
        raise ValueError("no such layer")


class Aborts(Good):
    def forward(self, images):
        os.abort()


class NaN(Good):
    def forward(self, images):
        return super().forward(images) * float("nan")
"""

PROGRAM = [sys.executable, "-m", "cnnbench"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return an empty folder to work in, but for a file of networks."""
    (tmp_path / "nets.py").write_text(NETWORKS, encoding="utf-8")
    return tmp_path


def run(line: str, folder: Path) -> subprocess.CompletedProcess[str]:
    words = [*PROGRAM, *shlex.split(line)]
    return subprocess.run(words, cwd=folder, capture_output=True, text=True, check=False, timeout=240)


def table(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def timed(records: Path) -> list[Record]:
    """Return the records of timed cells in a run folder."""
    return [record for record in Store(records).load().records if record.case.task in ("infer", "train")]


def test_a_comparison_and_its_report(folder: Path) -> None:
    line = "compare lenet perceptron --reference lenet --budget 15s --format csv --output out"
    done = run(line, folder)
    assert done.returncode == 0, done.stderr
    rows = table(done.stdout)
    assert list(rows[0]) == COLUMNS.replace(",", " ").split()
    assert [(row["model"], row["variant"], row["status"], row["reference"]) for row in rows] == [
        ("lenet", "eager", "ok", "lenet/eager"),
        ("lenet", "channels_last", "ok", "lenet/eager"),
        ("perceptron", "eager", "ok", "lenet/eager"),
        ("perceptron", "channels_last", "ok", "lenet/eager"),
    ]
    for row in rows:
        assert 0 < float(row["latency_low_s"]) <= float(row["latency_s"]) <= float(row["latency_high_s"]) < 1
    assert rows[0]["speedup"] == ""
    assert float(rows[2]["speedup_low"]) > 1
    out = folder / "out"
    assert (out / "report.csv").read_text(encoding="utf-8") == done.stdout
    assert done.stderr.endswith("Records and reports: out\n")
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    assert sorted(before) == ["records.jsonl", "report.csv", "report.md"]
    for name in ("report.csv", "report.md"):
        (out / name).unlink()
    again = run("report out", folder)
    assert (again.returncode, again.stdout, again.stderr) == (0, "out/report.md\nout/report.csv\n", "")
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before


def test_bad_networks_among_good_ones_are_rows_of_their_own(folder: Path) -> None:
    names = ("nets.py:Raises", "nets.py:Good", "nets.py:Aborts", "nets.py:NaN", "perceptron")
    line = f"compare {' '.join(names)} --variants eager --input-shape 1x28x28 --budget 15s --format csv"
    done = run(line, folder)
    assert done.returncode == 1, done.stderr
    rows = table(done.stdout)  # what the networks print is not in it
    assert {row["model"]: (row["status"], row["error"]) for row in rows} == {
        "nets.py:Raises": ("failed", "ValueError: no such layer (nets.py:24)"),
        "nets.py:Good": ("ok", ""),
        "nets.py:Aborts": ("failed", "the worker died of SIGABRT: building"),  # the last that it said
        "nets.py:NaN": ("invalid", "the output holds NaN or infinity on normally distributed input"),
        "perceptron": ("ok", ""),
    }
    assert len(rows) == 5
    assert (rows[1]["params"], rows[1]["macs"], rows[1]["classes"]) == ("3140", "3136", "4")
    assert [path.name for path in (folder / "results").iterdir() if path.is_symlink()] == ["latest"]
    assert (folder / "results" / "latest" / "report.csv").read_text(encoding="utf-8") == done.stdout


class Started:
    """A run that goes on in the background, and the processes that it has started."""

    def __init__(self, line: str, folder: Path) -> None:
        self.folder = folder
        self.errors = (folder / "stderr.txt").open("w+", encoding="utf-8")
        self.process = subprocess.Popen(
            [*PROGRAM, *shlex.split(line)], cwd=folder, stdout=subprocess.DEVNULL, stderr=self.errors
        )
        self.children: list[psutil.Process] = []

    def wait_for(self, reached: Callable[[], bool], within_s: float = 120.0) -> None:
        """Wait until `reached`, and remember the processes that live then."""
        until = time.monotonic() + within_s
        while not reached():
            assert self.process.poll() is None, self.said()
            assert time.monotonic() < until, self.said()
            time.sleep(0.02)
        self.children = psutil.Process(self.process.pid).children(recursive=True)

    def said(self) -> str:
        self.errors.seek(0)
        return self.errors.read()

    def left_over(self) -> list[psutil.Process]:
        """Return the remembered processes that live on."""
        return psutil.wait_procs(self.children, timeout=10)[1]


@pytest.fixture
def start(folder: Path) -> Iterator[Callable[[str], Started]]:
    started: list[Started] = []

    def begin(line: str) -> Started:
        started.append(Started(line, folder))
        return started[-1]

    yield begin
    for one in started:
        one.process.kill()
        one.process.wait()
        one.errors.close()


Start = Callable[[str], Started]

COMMAND = "compare perceptron lenet --variants eager --budget 12s"


def latest(folder: Path) -> Path | None:
    return next((path for path in (folder / "results").glob("2*")), None)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_is_resumed_by_the_command_that_it_prints(
    folder: Path, start: Start, number: signal.Signals
) -> None:
    going = start(COMMAND)
    going.wait_for(lambda: (found := latest(folder)) is not None and len(timed(found)) == 1)
    going.process.send_signal(number)
    assert going.process.wait(30) == 130
    out = latest(folder)
    assert out is not None
    said, resume = going.said(), f"cnnbench {COMMAND} --output results/{out.name}"
    assert said.endswith(
        f"Records and reports: results/{out.name}\nInterrupted. What was measured is kept. Go on with:\n  {resume}\n"
    )
    assert "Traceback" not in said
    assert going.left_over() == []
    before = (out / "records.jsonl").read_bytes()
    rows = table((out / "report.csv").read_text(encoding="utf-8"))
    assert [row["model"] for row in rows if row["latency_s"]] == ["perceptron"]
    if number == signal.SIGTERM:
        return
    done = run(resume.removeprefix("cnnbench "), folder)
    assert done.returncode == 0, done.stderr
    assert (out / "records.jsonl").read_bytes().startswith(before)
    assert [(r.case.model, r.status) for r in timed(out)] == [("perceptron", "ok"), ("lenet", "ok")]
    assert latest(folder) == out


def test_a_killed_run_goes_on_without_loss_or_repetition(folder: Path, start: Start) -> None:
    line = f"{COMMAND} --launches 2 --output out"
    out = folder / "out"
    going = start(line)
    going.wait_for(lambda: len(timed(out)) == 3)
    going.process.send_signal(signal.SIGKILL)
    going.process.wait(30)
    assert len(going.children) >= 1
    assert going.left_over() == []
    before = Store(out).load()
    assert before.cautions == ()
    done = run(line, folder)
    assert done.returncode == 0, done.stderr
    after = Store(out).load()
    assert after.cautions == ()
    assert after.records[: len(before.records)] == before.records
    identities = [record.case.identity() for record in after.records]
    assert len(set(identities)) == len(identities)
    assert [(r.case.model, r.launch, r.case.seed, r.status) for r in timed(out)] == [
        ("perceptron", 0, 0, "ok"),
        ("lenet", 0, 0, "ok"),
        ("perceptron", 1, 1, "ok"),
        ("lenet", 1, 1, "ok"),
    ]
    rows = table((out / "report.csv").read_text(encoding="utf-8"))
    assert [(row["model"], row["launches"]) for row in rows] == [("perceptron", "2"), ("lenet", "2")]


def test_from_python(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    report = cnnbench.compare(
        ["perceptron", "./nets.py:Good"], variants=("eager",), budget_s=12.0, input_shape=(1, 28, 28)
    )
    frame = report.to_dataframe()
    assert list(frame.columns) == COLUMNS.replace(",", " ").split()
    assert list(frame["model"]) == ["perceptron", "./nets.py:Good"]
    assert list(frame["status"]) == ["ok", "ok"]
    assert "perceptron" in str(report)
    assert report._repr_html_().startswith("<table>")
    assert sorted(path.name for path in folder.iterdir() if path.name != "__pycache__") == ["nets.py"]


def test_a_description_in_json(folder: Path) -> None:
    done = run("describe ./nets.py:Coloured --input-size 8 --format json", folder)
    assert (done.returncode, done.stderr) == (0, "")
    known = json.loads(done.stdout)
    assert {"name", "params", "trainable_params", "macs", "counters", "layers", "source"} <= set(known)
    assert (known["name"], known["source"], known["input_shape"]) == (
        "./nets.py:Coloured",
        "./nets.py:Coloured",
        [3, 8, 8],
    )
    assert (known["params"], known["trainable_params"], known["macs"], known["classes"]) == (772, 772, 768, 4)
    assert known["counters"] == {"torch": 768, "fvcore": 768, "torchinfo": 772}
    assert known["layers"] == [{"name": "line", "kind": "Linear", "output_shape": [1, 4], "params": 772, "macs": 768}]


def test_training_and_testing_a_checkpoint(folder: Path) -> None:
    done = run("train perceptron --epochs 2 --seeds 2 --output out --format csv", folder)
    assert done.returncode == 0, done.stderr
    rows = table(done.stdout)
    assert [(row["seed"], row["status"], row["epochs"], row["checkpoint"]) for row in rows] == [
        ("0", "ok", "2", "out/perceptron-seed0.safetensors"),
        ("1", "ok", "2", "out/perceptron-seed1.safetensors"),
    ]
    out = folder / "out"
    curves = table((out / "curves.csv").read_text(encoding="utf-8"))
    assert [(row["seed"], row["epoch"]) for row in curves] == [("0", "1"), ("0", "2"), ("1", "1"), ("1", "2")]
    assert [record.case.seed for record in Store(out).load().records] == [0, 1]
    tested = run(f"evaluate {rows[1]['checkpoint']} --variants eager,channels_last --format json", folder)
    assert (tested.returncode, tested.stderr) == (0, "")
    tables = json.loads(tested.stdout)
    assert [(one["variant"], one["status"], one["tested"]) for one in tables] == [
        ("eager", "ok", 359),
        ("channels_last", "ok", 359),
    ]
    assert str(tables[0]["top1"]) == rows[1]["top1"]  # what training had tested at its end
    assert sum(map(sum, tables[0]["confusion"])) == 359


def test_a_plan_file(folder: Path) -> None:
    plan = folder / "mine.toml"
    plan.write_text(
        'description = "one"\nbudget = "10s"\n[[measure]]\nmodels = ["perceptron"]\ntasks = ["infer", "train"]\n'
        'variants = ["eager"]\nbatch_sizes = [4]\n',
        encoding="utf-8",
    )
    dry = run("run mine.toml --dry-run", folder)
    assert (dry.returncode, dry.stderr) == (0, "")
    assert dry.stdout.startswith(
        "model       variant    device    task    batch    note\n"
        "----------  ---------  --------  ------  -------  ------\n"
        "perceptron  eager      cpu       infer   4\n"
        "perceptron  eager      cpu       train   4\n"
        "\n"
        "2 cells, 1 launch; takes about 0:"
    )
    assert not (folder / "results").exists()
    done = run("run mine.toml --batch-size 2 --format csv", folder)
    assert done.returncode == 0, done.stderr
    assert [(row["model"], row["task"], row["batch_size"], row["status"]) for row in table(done.stdout)] == [
        ("perceptron", "infer", "2", "ok"),
        ("perceptron", "train", "2", "ok"),
    ]
    out = latest(folder)
    assert out is not None
    assert out.name.endswith("Z-mine")
    assert (folder / "results" / "latest").readlink() == Path(out.name)
