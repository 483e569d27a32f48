"""The real datasets, in the folder that CNNBENCH_DATA names: MNIST, CIFAR-10 as JPEG, photographs of cats and dogs."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from cnnbench import data
from cnnbench.data.check import inspect
from cnnbench.data.dataset import Read, ignore_progress

DATA = os.environ.get("CNNBENCH_DATA", "missing")

pytestmark = pytest.mark.data


def read(name: str, shape: tuple[int, ...] | None = None) -> Read:
    spec = data.find(name)
    return data.read(spec, shape or spec.shape, data_dir=DATA)


def test_mnist_is_what_the_page_says() -> None:
    found = read("mnist")
    assert (len(found.train), len(found.test)) == (60_000, 10_000)
    assert found.train.labels_N[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]
    assert (found.train.images_NCHW.min(), found.train.images_NCHW.max()) == (0, 255)
    mean = found.train.images_NCHW.mean() / 255
    assert round(float(mean), 4) == 0.1307  # known everywhere that MNIST is normalised


def test_mnist_s_checksums_are_the_published_ones() -> None:
    spec = data.find("mnist")
    facts = inspect(spec, data.locate(spec, data.places(DATA)), ignore_progress)
    assert [file.as_published for file in facts.files] == [True] * 4
    assert facts.parts[1].by_class == (980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009)


def test_unpacked_mnist_has_the_checksums_that_are_known(tmp_path: Path) -> None:
    import gzip

    for path in (Path(DATA) / "MNIST" / "raw").glob("*.gz"):
        (tmp_path / path.stem).write_bytes(gzip.decompress(path.read_bytes()))
    spec = data.find("mnist")
    source = spec.look((tmp_path,))
    assert source is not None
    assert source.form == "unpacked files"
    found = spec.read(source, spec.shape, ignore_progress)  # refuses other checksums
    assert (found.train.images_NCHW == read("mnist").train.images_NCHW).all()


def test_cifar_as_jpeg_holds_ten_equal_classes() -> None:
    found = read("cifar10")
    assert found.train.images_NCHW.shape == (50_000, 3, 32, 32)
    assert np.bincount(found.train.labels_N).tolist() == [5_000] * 10
    assert np.bincount(found.test.labels_N).tolist() == [1_000] * 10
    assert found.train.labels_N[:5].tolist() == [6, 9, 9, 4, 1]  # frog, truck, truck, deer, car
    means = found.train.images_NCHW.mean(axis=(0, 2, 3)) / 255
    assert means == pytest.approx([0.4914, 0.4822, 0.4465], abs=0.003)


def test_photographs_are_split_into_four_fifths_and_one() -> None:
    found = read("cats_dogs", (3, 64, 64))
    assert len(found.train) + len(found.test) + len(found.left_out) == 1_056
    assert found.left_out == ()
    assert np.bincount(found.test.labels_N).tolist() == [105, 105]
    assert found.train.images_NCHW.shape == (846, 3, 64, 64)


MEMORY = """
import json, sys
import torch
from cnnbench import data
from cnnbench.data.batches import splits_of
from cnnbench.inspection.memory import _status_bytes

before = _status_bytes()
spec = data.find(sys.argv[1])
held = splits_of(data.read(spec, spec.shape, data_dir=sys.argv[2]), 10)
after = _status_bytes()
print(json.dumps([after["RssAnon"] - before["RssAnon"], len(held.train)]))  # without pages of libraries
"""


@pytest.mark.parametrize(("name", "most_mb"), [("mnist", 60), ("cifar10", 200)])
def test_datasets_fit_into_their_memory(name: str, most_mb: int) -> None:
    done = subprocess.run(
        [sys.executable, "-c", MEMORY, name, DATA], capture_output=True, text=True, check=True, timeout=120
    )
    rose, count = json.loads(done.stdout)
    assert count >= 50_000
    assert rose <= most_mb * 1_000_000


def test_the_fast_recipe_reaches_what_the_page_prints(tmp_path: Path) -> None:
    command = "train one_conv --dataset mnist --recipe fast --format csv --output"
    done = subprocess.run(
        [sys.executable, "-m", "cnnbench", *command.split(), str(tmp_path / "out")],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (row,) = csv.DictReader(done.stdout.splitlines())
    assert float(row["top1"]) >= 0.973
