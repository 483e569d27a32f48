"""`cnnbench expect` on a real model of a user's: green as it is, red when it changes, with what changed."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from tests.program import run, table

pytestmark = pytest.mark.slow

MODEL = """
import torch
from torch import nn


class Small(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(1, 8, 3, padding=1),
            nn.ReLU(),
            # more
            nn.MaxPool2d(4),
            nn.Flatten(),
            nn.Linear(32, 10),
        )

    def forward(self, images):
        # break
        return self.layers(images)


def small():
    return Small()
"""
LINE = "expect net.py:small --file expected"


def test_added_convolution_is_found_with_layer_macs_and_params(tmp_path: Path) -> None:
    net = tmp_path / "net.py"
    net.write_text(MODEL, encoding="utf-8")
    made = run(f"{LINE} --input-shape 1x8x8 --with trained --accept --format csv", tmp_path)
    assert made.returncode == 0, made.stderr
    (file,) = (tmp_path / "expected").iterdir()
    entry = tomllib.loads(file.read_text(encoding="utf-8"))["models"]["net.py:small"]
    assert (entry["params"], entry["macs"], entry["weight_bytes"]) == (410, 4928, 1640)
    assert entry["trained"]["tested"] == 359
    again = run(LINE, tmp_path)
    assert again.returncode == 0, again.stderr
    assert again.stdout.endswith(": 1 counted, 1 trained.\n")
    net.write_text(MODEL.replace("# more", "nn.Conv2d(8, 8, 3, padding=1),"), encoding="utf-8")
    changed = run(f"{LINE} --counts-only --format csv", tmp_path)
    assert changed.returncode == 1
    rows = {(row["layer"], row["quantity"]): (row["expected"], row["found"]) for row in table(changed.stdout)}
    assert rows == {
        ("", "params"): ("410", "994"),
        ("", "trainable_params"): ("410", "994"),
        ("", "macs"): ("4928", "41792"),
        ("", "operator_calls"): (str(entry["operator_calls"]), str(entry["operator_calls"] + 1)),
        ("", "weight_bytes"): ("1640", "3976"),
        ("layers.2", "layer"): ("", "Conv2d 1x8x8x8, params 584, macs 36,864"),
        ("layers.3 to layers.5", "name"): ("layers.2 to layers.4", "layers.3 to layers.5"),
    }


def test_a_graph_break_is_found(tmp_path: Path) -> None:
    net = tmp_path / "net.py"
    net.write_text(MODEL, encoding="utf-8")
    made = run(f"{LINE} --input-shape 1x8x8 --with compiled --accept", tmp_path)
    assert made.returncode == 0, made.stderr
    if "was not compiled" in made.stderr:
        pytest.skip("torch.compile needs a compiler")
    net.write_text(MODEL.replace("# break", "torch._dynamo.graph_break()"), encoding="utf-8")
    changed = run(f"{LINE} --format csv", tmp_path)
    assert changed.returncode == 1
    rows = {row["quantity"]: (row["expected"], row["found"]) for row in table(changed.stdout)}
    assert rows["graph_breaks"] == ("0", "1")


def test_a_training_that_learns_less_is_found(tmp_path: Path) -> None:
    net = tmp_path / "net.py"
    net.write_text(MODEL, encoding="utf-8")
    made = run(f"{LINE} --input-shape 1x8x8 --with trained --accept", tmp_path)
    assert made.returncode == 0, made.stderr
    net.write_text(MODEL.replace("nn.ReLU()", "nn.Hardtanh(0.0, 0.0001)"), encoding="utf-8")
    changed = run(f"{LINE} --format csv", tmp_path)
    assert changed.returncode == 1
    (row,) = [row for row in table(changed.stdout) if row["quantity"] == "correct"]
    assert int(row["found"]) < int(row["expected"]) - 2
