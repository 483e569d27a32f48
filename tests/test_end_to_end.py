"""Real runs through the command line and from Python: files, failures, descriptions, training, plans."""

import json
import os
import pty
import re
import shutil
import subprocess
import sys
import time
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

import pytest

import cnnbench
from cnnbench.store import Store
from tests.data.files import put_pictures
from tests.program import PROGRAM, latest, run, table

pytestmark = pytest.mark.slow

COLUMNS = """ model, variant, device, precision, batch_size, task, input_shape, classes, dataset, status, params,
trainable_params, macs, top1, top1_low, top1_high, latency_s, latency_low_s, latency_high_s, latency_p95_s,
latency_p99_s, throughput_img_per_s, forward_s, backward_s, optimizer_s, reference, speedup, speedup_low, speedup_high,
verdict, minimum_detectable_effect, peak_memory_bytes, compile_s, break_even_calls, peak_flops_utilisation, bound_by,
max_relative_error, top1_agreement, samples, rounds, warnings, error """

MODEL_FILE = """
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


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return an empty folder to work in, but for a file of models."""
    (tmp_path / "nets.py").write_text(MODEL_FILE, encoding="utf-8")
    return tmp_path


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
    assert float(rows[2]["latency_s"]) < float(rows[0]["latency_s"])
    assert float(rows[2]["speedup"]) > 1
    if rows[2]["speedup_low"] == "":  # correlated blocks of a busy machine leave no interval, and that is said
        assert rows[2]["verdict"] == "NOT DISTINGUISHABLE"
    else:
        assert float(rows[2]["speedup_low"]) > 1
    out = folder / "out"
    assert (out / "report.csv").read_text(encoding="utf-8") == done.stdout
    assert done.stderr.endswith("Records and reports: out\n")
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    images = ["report-latencies.png", "report-speedups.png"]
    assert sorted(before) == ["records.jsonl", *images, "report.csv", "report.html", "report.md"]
    for name in (*images, "report.csv", "report.html", "report.md"):
        (out / name).unlink()
    again = run("report out", folder)
    assert (again.returncode, again.stdout, again.stderr) == (0, "out/report.md\nout/report.csv\nout/report.html\n", "")
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before


def test_bad_networks_among_good_ones_are_rows_of_their_own(folder: Path) -> None:
    names = ("nets.py:Raises", "nets.py:Good", "nets.py:Aborts", "nets.py:NaN", "perceptron")
    line = f"compare {' '.join(names)} --variants eager --input-shape 1x28x28 --budget 12s --format csv"
    done = run(line, folder)
    assert done.returncode == 1, done.stderr
    rows = table(done.stdout)  # what the models print is not in it
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


HANGING = """
import time
from pathlib import Path

from torch import nn


class Sleeps(nn.Module):
    def __init__(self):
        super().__init__()
        self.line = nn.Linear(3 * 8 * 8, 4)

    def forward(self, images):
        with Path("asked.txt").open("a") as file:
            file.write("forward\\n")
        time.sleep(600)


def build():
    return Sleeps()
"""

HANGING_IMPORT = """
import time
from pathlib import Path

with Path("asked.txt").open("a") as file:
    file.write("import\\n")
time.sleep(600)


def build():
    raise AssertionError
"""


@pytest.mark.parametrize(
    ("text", "asked", "why"),
    [
        (HANGING, "forward\n", "no answer within 10 s (--timeout)"),
        (HANGING_IMPORT, "import\n", "no answer within 10 s (--timeout)"),
    ],
)
def test_a_network_that_hangs_is_asked_once(tmp_path: Path, text: str, asked: str, why: str) -> None:
    (tmp_path / "late.py").write_text(text, encoding="utf-8")
    begin = time.monotonic()
    done = run("compare late.py:build --input-shape 3x8x8 --budget 30s --format csv --output out", tmp_path)
    assert time.monotonic() - begin < 60.0
    assert done.returncode == 1, done.stderr
    rows = table(done.stdout)
    assert [(row["variant"], row["status"], row["error"]) for row in rows] == [
        ("eager", "timeout", why),
        ("channels_last", "timeout", why),
    ]
    assert (tmp_path / "asked.txt").read_text(encoding="utf-8") == asked


def test_a_network_that_hangs_leaves_the_others_their_time(tmp_path: Path) -> None:
    (tmp_path / "late.py").write_text(HANGING.replace("3 * 8 * 8", "28 * 28"), encoding="utf-8")
    line = "compare late.py:build perceptron --input-shape 1x28x28 --budget 20s --variants eager --format csv"
    done = run(f"{line} --output out", tmp_path)
    assert done.returncode == 1, done.stderr
    late, other = table(done.stdout)
    assert (late["model"], late["status"], late["latency_s"]) == ("late.py:build", "timeout", "")
    assert (other["model"], other["status"]) == ("perceptron", "ok")
    assert int(other["rounds"]) >= 3
    assert (tmp_path / "asked.txt").read_text(encoding="utf-8") == "forward\n"


def test_the_clock_of_a_terminal_ticks_every_second(tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    words = [*PROGRAM, "compare", "perceptron", "--budget", "8s", "--variants", "eager", "--output", "out"]
    with subprocess.Popen(words, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=theirs) as process:
        os.close(theirs)
        said = b""
        with suppress(OSError):  # the terminal's end
            while part := os.read(ours, 65536):
                said += part
        os.close(ours)
        process.wait(60)
    clocks = [int(second) for second in re.findall(r"0:(\d\d) / \d:\d\d", said.decode())]
    assert clocks == sorted(clocks)
    assert clocks[-1] >= 6
    assert max(later - before for before, later in pairwise(clocks)) <= 2  # it may tick a little late


def test_from_python(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    report = cnnbench.compare(
        ["perceptron", "./nets.py:Good"], variants=("eager",), budget_s=8.0, input_shape=(1, 28, 28)
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
    assert tested.returncode == 0, tested.stderr
    tables = json.loads(tested.stdout)
    assert [(one["variant"], one["status"], one["tested"]) for one in tables] == [
        ("eager", "ok", 359),
        ("channels_last", "ok", 359),
    ]
    assert str(tables[0]["top1"]) == rows[1]["top1"]  # what training had tested at its end
    assert sum(map(sum, tables[0]["confusion"])) == 359


def test_a_deterministic_training_gives_the_same_file_again(folder: Path) -> None:
    for name in ("one", "two"):
        done = run(f"train simple_cnn --epochs 1 --deterministic --variant channels_last --output {name}", folder)
        assert done.returncode == 0, done.stderr
    files = [(folder / name / "simple_cnn-seed0.safetensors").read_bytes() for name in ("one", "two")]
    assert files[0] == files[1]
    (record,) = Store(folder / "one").load().records
    assert record.notes[0].endswith(", under channels_last, by deterministic algorithms.")
    assert record.case.variant.name == "channels_last"


TORCHRUN = (sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone", "-m", "cnnbench")


def test_two_processes_train_like_one(folder: Path) -> None:
    line = "train multilayer_cnn --epochs 3 --threads 1"
    alone = run(f"{line} --output alone", folder)
    assert alone.returncode == 0, alone.stderr
    done = subprocess.run(
        [*TORCHRUN, *line.split(), "--output", "both"],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    one, both = (Store(folder / name).load().records for name in ("alone", "both"))
    assert (len(one), len(both)) == (1, 1)
    losses = [record.samples("train_loss") for record in (*one, *both)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)
    assert both[0].samples("tested") == (359.0,)
    assert both[0].notes[0].endswith(", by 2 processes.")
    assert done.stdout.count("multilayer_cnn-seed0.safetensors") == 1


def test_a_variant_that_cannot_be_had_here_is_told(folder: Path) -> None:
    done = run("train lenet --epochs 1 --variant tf32 --output out --format csv", folder)
    assert done.returncode == 1
    assert "tf32 needs a CUDA device, but the device is cpu" in done.stderr
    assert [row["status"] for row in table(done.stdout)] == ["unsupported"]


def test_training_on_a_folder_of_photographs(folder: Path) -> None:
    put_pictures(folder / "own", {"rose": (200, 30, 30), "iris": (30, 30, 200)}, count=20)
    (folder / "own" / "rose" / "bad.jpg").write_bytes(b"")
    line = "train ./nets.py:Coloured --dataset folder:own --epochs 3 --output out --format csv"
    done = run(f"{line} --input-shape 3x8x8", folder)
    assert done.returncode == 2  # only `compare` takes a shape
    net = MODEL_FILE.replace("3 * 8 * 8", "3 * 224 * 224")
    (folder / "nets.py").write_text(net, encoding="utf-8")
    done = run(line, folder)
    assert done.returncode == 0, done.stderr
    (row,) = table(done.stdout)
    assert (row["status"], row["epochs"]) == ("ok", "3")
    (record,) = Store(folder / "out").load().records
    assert record.notes[1:] == (
        "The validation images are the test images, a fixed fifth; nothing is chosen by them.",
        "Left out because they cannot be decoded: rose/bad.jpg (the file is empty, or cannot be read).",
    )
    assert record.samples("tested") == (8.0,)


def test_transfer_by_features_and_by_unfreezing(folder: Path) -> None:
    put_pictures(folder / "photos" / "PetImages", {"Cat": (200, 30, 30), "Dog": (30, 30, 200)}, count=10)
    on = "--dataset cats_dogs --data-dir photos --format csv"
    linear = run(f"train vgg16_linear {on} --epochs 2 --output linear", folder)
    assert linear.returncode == 0, linear.stderr
    (row,) = table(linear.stdout)
    (record,) = Store(folder / "linear").load().records
    assert "2 epochs, in stored order, normalised, no augmentation, on features computed once, " in record.notes[0]
    assert record.samples("features_s")[0] > 0.0
    tested = run(f"evaluate {row['checkpoint']} --data-dir photos --format json", folder)
    assert tested.returncode == 0, tested.stderr
    assert str(json.loads(tested.stdout)[0]["top1"]) == row["top1"]
    whole = run(f"train vgg16_transfer {on} --output whole", folder)
    assert whole.returncode == 0, whole.stderr
    (record,) = Store(folder / "whole").load().records
    assert record.samples("learning_rate") == (0.01, 0.0001)
    assert record.notes[0].endswith(", then 1 epoch with all layers at 0.0001.")
    both = run(f"train mobilenet_v2_transfer {on} --cache-features --epochs 3 --unfreeze 1 --output both", folder)
    assert both.returncode == 0, both.stderr
    (record,) = Store(folder / "both").load().records
    assert record.samples("learning_rate") == (0.01, 0.01, 0.01, 0.0001)


def test_records_within_epochs_and_the_fast_recipe(folder: Path) -> None:
    done = run("train digit_cnn --recipe fast --epochs 2 --log-every 10 --output out --format csv", folder)
    assert done.returncode == 0, done.stderr
    rows = table((folder / "out" / "steps.csv").read_text(encoding="utf-8"))
    assert [row["step"] for row in rows] == ["10", "20", "30", "34", "44", "54", "64", "68"]
    (record,) = Store(folder / "out").load().records
    assert (record.case.recipe, record.case.batch_size, record.case.variant.name) == ("fast", 32, "eager")
    refused = run("train ./nets.py:Coloured --dataset synthetic --recipe fast --output no", folder)
    assert refused.returncode == 2
    assert "There is no fast recipe for synthetic, only for digits, mnist, " in refused.stderr + refused.stdout


def test_as_published_network_is_tested_as_it_was_trained(folder: Path) -> None:
    trained = run("train mlp --recipe as-published --epochs 2 --output out --format csv", folder)
    assert trained.returncode == 0, trained.stderr
    tested = run("evaluate out/mlp-seed0.safetensors --format csv", folder)
    assert tested.returncode == 0, tested.stderr
    assert table(tested.stdout)[0]["top1"] == table(trained.stdout)[0]["top1"]


def test_a_plan_file(folder: Path) -> None:
    plan = folder / "mine.toml"
    plan.write_text(
        'description = "one"\nbudget = "8s"\n[[measure]]\nmodels = ["perceptron"]\ntasks = ["infer", "train"]\n'
        'variants = ["eager"]\nbatch_sizes = [4]\n',
        encoding="utf-8",
    )
    dry = run("run mine.toml --dry-run", folder)
    assert (dry.returncode, dry.stderr) == (0, "")
    assert dry.stdout == (
        "model       variant    device    task    batch    note\n"
        "----------  ---------  --------  ------  -------  ------\n"
        "perceptron  eager      cpu       infer   4\n"
        "perceptron  eager      cpu       train   4\n"
        "\n"
        "2 cells; takes about 8 s. Nothing was measured.\n"
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


RECORDING = """#!/bin/sh
echo "$0 $*" >> "$CALLS"
while [ $# -gt 0 ]; do
    if [ "$1" = --output ]; then mkdir -p "$2" && touch "$2/report.md" "$2/report.csv" "$2/report.html"; fi
    shift
done
"""


def test_ci_measures_into_folders_of_its_own_and_removes_them(tmp_path: Path) -> None:
    calls, temporary = tmp_path / "calls", tmp_path / "temporary"
    temporary.mkdir()
    for name in ("bin/make", "bin/chromium", ".venv/bin/python"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(RECORDING, encoding="utf-8")
        path.chmod(0o755)
    (tmp_path / ".ci").mkdir()
    shutil.copy(Path(__file__).parent.parent / ".ci" / "run", tmp_path / ".ci" / "run")
    search = f"{tmp_path / 'bin'}:{os.environ['PATH']}"
    environment = {**os.environ, "PATH": search, "CALLS": str(calls), "TMPDIR": str(temporary)}
    folders = []
    for _ in range(2):
        calls.unlink(missing_ok=True)
        subprocess.run([tmp_path / ".ci" / "run"], env=environment, capture_output=True, check=True, timeout=60)
        made = next(line for line in calls.read_text(encoding="utf-8").splitlines() if "compare" in line)
        folders.append(made.rpartition("--output ")[2])
    assert all(Path(folder).is_relative_to(temporary) for folder in folders)
    assert folders[0] != folders[1]
    assert list(temporary.iterdir()) == []
    assert not (tmp_path / "results").exists()
