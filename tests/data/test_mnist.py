"""MNIST's files as people have them, and everything that can be wrong with them."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest

from cnnbench.data import mnist
from cnnbench.data.dataset import Read, ignore_progress
from cnnbench.data.idx import read_idx
from cnnbench.data.mnist import FASHION_SPEC, SPEC
from cnnbench.spec import UsageError
from tests.data.files import FILES, SMALL, idx, md5, mnist_contents, put_mnist


def read(place: Path) -> Read:
    source = SPEC.look((place,))
    assert source is not None
    return SPEC.read(source, SPEC.shape, ignore_progress)


@pytest.mark.parametrize("gzipped", [True, False])
@pytest.mark.parametrize("folder", ["MNIST/raw", "MNIST", "mnist", ""])
def test_files_are_read_wherever_they_lie(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: str, *, gzipped: bool
) -> None:
    contents = put_mnist(tmp_path / folder, monkeypatch, gzipped=gzipped)
    found = read(tmp_path)
    assert (len(found.train), len(found.test), found.val is found.test) == (SMALL.train, SMALL.test, True)
    assert found.train.images_NCHW.shape == (6, 1, 28, 28)
    assert found.train.images_NCHW.tobytes() == contents[FILES[0]][16:]
    assert found.test.labels_N.tolist() == list(contents[FILES[3]][8:])
    assert (str(found.train.images_NCHW.dtype), str(found.train.labels_N.dtype)) == ("uint8", "int64")


def test_names_with_a_dot_are_known_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put_mnist(tmp_path, monkeypatch, gzipped=False)
    for name in FILES:
        (tmp_path / name).rename(tmp_path / name.replace("-idx", ".idx"))
    assert len(read(tmp_path).train) == SMALL.train


def test_three_of_four_files_are_not_the_dataset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put_mnist(tmp_path, monkeypatch)
    (tmp_path / f"{FILES[2]}.gz").unlink()
    assert SPEC.look((tmp_path,)) is None


def test_the_first_place_that_has_it_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("one", "two"):
        put_mnist(tmp_path / name / "MNIST", monkeypatch)
    source = SPEC.look((tmp_path / "none", tmp_path / "two", tmp_path / "one"))
    assert source is not None
    assert {file.path.parent for file in source.files} == {tmp_path / "two" / "MNIST"}


def test_loose_files_belong_to_dataset_with_their_checksum(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put_mnist(tmp_path, monkeypatch)
    assert SPEC.look((tmp_path,)) is not None
    assert FASHION_SPEC.look((tmp_path,)) is None


def test_loose_files_of_another_dataset_are_not_called_damaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put_mnist(tmp_path / "known", monkeypatch, gzipped=False)
    put_mnist(tmp_path / "other", monkeypatch, gzipped=False, known=False, seed=8)
    assert SPEC.look((tmp_path / "other",)) is None
    assert FASHION_SPEC.look((tmp_path / "other",)) is not None  # whose unpacked checksums nobody publishes


def test_another_file_than_the_published_one_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put_mnist(tmp_path, monkeypatch)
    path = tmp_path / f"{FILES[0]}.gz"
    other = gzip.compress(mnist_contents(seed=5)[FILES[0]], mtime=0)
    path.write_bytes(other)
    with pytest.raises(UsageError) as caught:
        read(tmp_path)
    assert str(caught.value) == (
        f"{path} is damaged or not the published file: its md5 is {md5(other)}, but mnist's is "
        f"{mnist.MNIST.gzipped[0]}. Delete it and fetch it again with 'cnnbench data fetch mnist'."
    )


def test_a_label_out_of_range_is_refused(tmp_path: Path) -> None:
    labels = np.array([3, 11], dtype=np.uint8)
    path = tmp_path / "labels"
    path.write_bytes(idx(labels))
    from cnnbench.data.dataset import check_labels

    with pytest.raises(UsageError) as caught:
        check_labels(read_idx(path, (2,)).tolist(), 10, path)
    assert str(caught.value) == f"{path}: label 1 is 11, but the 10 classes are 0 to 9."


WHOLE = idx(np.arange(6, dtype=np.uint8).reshape(2, 3))


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a", WHOLE[:-1], "is cut short: 1 of 6 values are missing."),
        ("a", WHOLE + b"x", "holds more than the 6 values that its header declares."),
        ("a", WHOLE[:7], "is not an IDX file of bytes with 2 dimensions: it begins with 00000802."),
        ("a", b"<html>" * 9, "is not an IDX file of bytes with 2 dimensions: it begins with 3c68746d."),
        ("a", idx(np.zeros((3, 2), dtype=np.uint8)), "holds 3x2 values, but 2x3 are expected."),
        ("a.gz", WHOLE, "is damaged or cut short: Not a gzipped file (b'\\x00\\x00')"),
        (
            "a.gz",
            gzip.compress(WHOLE)[:-9],
            "is damaged or cut short: Compressed file ended before the end-of-stream marker was reached",
        ),
    ],
    ids=["short", "long", "head", "page", "shape", "not gzip", "cut gzip"],
)
def test_damaged_files_are_named(tmp_path: Path, name: str, content: bytes, said: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(UsageError) as caught:
        read_idx(path, (2, 3))
    assert str(caught.value) == f"{path} {said}"
