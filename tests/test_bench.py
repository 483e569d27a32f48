"""The pytest-benchmark suite: what it holds, and that pytest-benchmark's own options work with it."""

from __future__ import annotations

import json
import math
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from cnnbench.models import MODELS

ROOT = Path(__file__).parent.parent
VARIANTS = ("eager", "channels_last", "amp", "bf16", "compile")


def suite(*options: str) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, "-m", "pytest", "bench", "-p", "no:cacheprovider", *options]
    return subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False, timeout=280)


def collected(*options: str) -> list[str]:
    done = suite("--collect-only", "-q", *options)
    assert done.returncode == 0, done.stdout
    return [line.partition("::")[2] for line in done.stdout.splitlines() if "::" in line]


def test_suite_holds_every_model_variant_and_task() -> None:
    assert collected() == [
        f"test_{task}[{name}-{v}]" for task in ("infer", "train") for name in MODELS for v in VARIANTS
    ]


def test_the_small_tier_is_small_networks_in_plain_variants() -> None:
    small = [name for name, spec in MODELS.items() if spec.macs is not None and spec.macs <= 20_000_000]
    assert len(small) == 11
    assert collected("-m", "small") == [
        f"test_{task}[{name}-{v}]" for task in ("infer", "train") for name in small for v in ("eager", "channels_last")
    ]


def test_the_tests_of_the_repository_do_not_hold_the_suite() -> None:
    options = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["pytest"]["ini_options"]
    assert options["testpaths"] == ["tests"]
    assert not any("benchmark" in option for option in options["addopts"])  # --benchmark-only would be refused


PERCEPTRON = ("-k", "perceptron and eager", "--benchmark-only")


@pytest.mark.slow
def test_rounds_are_samples_and_extra_info_holds_context(tmp_path: Path) -> None:
    done = suite(*PERCEPTRON, "--benchmark-max-time=0.2", f"--benchmark-json={tmp_path / 'out.json'}")
    assert done.returncode == 0, done.stdout
    found: dict[str, Any] = json.loads((tmp_path / "out.json").read_text(encoding="utf-8"))
    infer, train = found["benchmarks"]
    assert [b["fullname"] for b in (infer, train)] == [
        "bench/test_passes.py::test_infer[perceptron-eager]",
        "bench/test_passes.py::test_train[perceptron-eager]",
    ]
    assert (infer["group"], train["group"]) == ("perceptron infer batch 1", "perceptron train batch 8")
    for one, task, batch in ((infer, "infer", 1), (train, "train", 8)):
        stats, info = one["stats"], one["extra_info"]
        assert len(stats["data"]) == stats["rounds"] >= 6
        assert stats["iterations"] * info["iteration_s"] > 0.0099  # a sample fills 10 ms as the warm-up expects it
        assert stats["rounds"] == max(6, math.ceil(0.2 / (stats["iterations"] * info["iteration_s"])))
        assert one["options"]["disable_gc"] is True
        case = info["case"]
        assert (case["model"], case["task"], case["batch_size"]) == ("perceptron", task, batch)
        assert (case["input_shape"], case["variant"]["name"], case["device"]) == ([1, 28, 28], "eager", "cpu")
        assert info["environment"]["torch"].startswith(found["machine_info"]["cnnbench"]["torch"].partition("+")[0])
        assert info["first_call_s"] > 0
        assert info["warmup_s"] >= 0.05


@pytest.mark.slow
def test_runs_are_stored_and_compared_as_pytest_benchmark_does(tmp_path: Path) -> None:
    storage = f"--benchmark-storage={tmp_path}"
    quick = (*PERCEPTRON, "-k", "perceptron and eager and infer", "--benchmark-max-time=0.1", storage)
    assert suite(*quick, "--benchmark-autosave").returncode == 0
    (saved,) = tmp_path.rglob("0001_*.json")
    same = suite(*quick, "--benchmark-compare", "--benchmark-compare-fail=median:100000%")
    assert same.returncode == 0, same.stdout
    assert re.search(r"test_infer\[perceptron-eager\] \(NOW\)", same.stdout)
    stored = json.loads(saved.read_text(encoding="utf-8"))
    stats = stored["benchmarks"][0]["stats"]
    for name in ("min", "median", "mean"):
        stats[name] /= 1000
    saved.write_text(json.dumps(stored), encoding="utf-8")
    slower = suite(*quick, "--benchmark-compare", "--benchmark-compare-fail=median:5%")
    assert slower.returncode != 0
    assert "Performance has regressed" in slower.stderr + slower.stdout


@pytest.mark.slow
def test_every_small_cell_works() -> None:
    done = suite("-q", "-m", "small", "--benchmark-disable")
    assert done.returncode == 0, done.stdout
    assert re.search(r"^44 passed, 126 deselected", done.stdout, flags=re.MULTILINE)
