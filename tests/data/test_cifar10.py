"""CIFAR-10 as archive, as batches and as JPEG; pickles that are refused; archives that reach outside."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cnnbench.data import cifar10
from cnnbench.data.cifar10 import SPEC
from cnnbench.data.dataset import Counts, Read, ignore_progress
from cnnbench.data.unpickle import load_pickle
from cnnbench.spec import UsageError
from tests.data.files import cifar_batches, image, pickled, put_archive, put_batches


def read(place: Path) -> Read:
    source = SPEC.look((place,))
    assert source is not None
    return SPEC.read(source, SPEC.shape, ignore_progress)


def check_whole(found: Read) -> None:
    batches = cifar_batches()
    pixels = np.concatenate([batches[f"data_batch_{k}"][0] for k in range(1, 6)])
    labels = [label for k in range(1, 6) for label in batches[f"data_batch_{k}"][1]]
    assert found.train.images_NCHW.shape == (15, 3, 32, 32)
    assert (found.train.images_NCHW.reshape(15, -1) == pixels).all()
    assert found.train.labels_N.tolist() == labels
    assert found.test.labels_N.tolist() == batches["test_batch"][1]


@pytest.mark.parametrize("folder", ["cifar-10-batches-py", "cifar-10-batches-py/cifar-10-batches-py", "", "cifar10"])
def test_batches_are_read_wherever_they_lie(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: str) -> None:
    put_batches(tmp_path / folder, monkeypatch)
    check_whole(read(tmp_path))


def test_the_archive_is_read_without_unpacking(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put_batches(tmp_path / "elsewhere", monkeypatch)
    members = {f"cifar-10-batches-py/{name}": pickled(*batch) for name, batch in cifar_batches().items()}
    place = tmp_path / "data"
    place.mkdir()
    put_archive(place / cifar10.ARCHIVE, monkeypatch, {"cifar-10-batches-py/readme.html": b"x", **members})
    check_whole(read(place))
    assert [path.name for path in place.iterdir()] == [cifar10.ARCHIVE]


def test_an_archive_that_reaches_outside_its_folder_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / cifar10.ARCHIVE
    put_archive(path, monkeypatch, {"../x": b"bad"})
    with pytest.raises(UsageError) as caught:
        read(tmp_path)
    assert str(caught.value) == f"{path} holds '../x', which lies outside its folder; nothing was unpacked."
    assert not (tmp_path.parent / "x").exists()


def test_an_archive_with_another_checksum_is_not_even_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put_archive(tmp_path / cifar10.ARCHIVE, monkeypatch, {"../x": b"bad"}, known=False)
    with pytest.raises(UsageError, match="is damaged or not the published file: its md5 is"):
        read(tmp_path)


def test_an_archive_that_lacks_a_batch_says_which(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    members = {f"cifar-10-batches-py/{name}": pickled(*batch) for name, batch in cifar_batches().items()}
    del members["cifar-10-batches-py/data_batch_3"]
    put_archive(tmp_path / cifar10.ARCHIVE, monkeypatch, members)
    with pytest.raises(UsageError) as caught:
        read(tmp_path)
    assert str(caught.value) == f"{tmp_path / cifar10.ARCHIVE} lacks data_batch_3."


def test_a_cut_archive_is_damaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / cifar10.ARCHIVE
    put_archive(path, monkeypatch, {"cifar-10-batches-py/test_batch": os.urandom(9000)})
    path.write_bytes(path.read_bytes()[:4000])
    put = cifar10.ARCHIVE_MD5
    monkeypatch.setattr(cifar10, "check_md5", lambda *_: None)
    with pytest.raises(UsageError, match=f"^{path} is damaged: "):
        read(tmp_path)
    assert put == cifar10.ARCHIVE_MD5


# Pickles


class Evil:
    """Runs a command when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.system, (f"touch {self.marker}",)


def test_pickle_with_command_is_refused_and_runs_nothing(tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    with pytest.raises(UsageError) as caught:
        load_pickle(pickle.dumps({b"data": Evil(marker)}, protocol=4), "batch")
    assert str(caught.value) == (
        "batch is refused: it refers to posix.system, but a dataset's pickle may hold only arrays, lists, strings and "
        "numbers. No code in it was run."
    )
    assert not marker.exists()
    pickle.loads(pickle.dumps(Evil(marker)))  # the same one does run elsewhere, so the test can fail
    assert marker.exists()


@pytest.mark.parametrize("protocol", [3, 4])
def test_arrays_lists_strings_and_numbers_are_read(protocol: int) -> None:
    held = {b"data": np.arange(6, dtype=np.uint8).reshape(2, 3), b"labels": [1, 2], b"name": "a", b"pi": 3.5}
    found: Any = load_pickle(pickle.dumps(held, protocol=protocol), "batch")
    assert (found[b"data"] == held[b"data"]).all()
    assert {key: value for key, value in found.items() if key != b"data"} == {
        b"labels": [1, 2],
        b"name": "a",
        b"pi": 3.5,
    }


def test_a_damaged_pickle_says_so() -> None:
    with pytest.raises(UsageError, match=r"^batch is damaged: "):
        load_pickle(pickled(*cifar_batches()["test_batch"])[:200], "batch")


@pytest.mark.parametrize(
    ("held", "said"),
    [
        ({b"data": [1, 2]}, "is not a batch of CIFAR-10, because it lacks valid 'data' or 'labels'."),
        ([1], "is not a batch of CIFAR-10, because it lacks valid 'data' or 'labels'."),
        (
            {b"data": np.zeros((2, 5), dtype=np.uint8), b"labels": [1, 2]},
            "does not hold an array with 3,072 bytes for each of its 2 labels.",
        ),
    ],
)
def test_a_pickle_of_something_else_is_refused(held: object, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        cifar10._read_batch(pickle.dumps(held, protocol=4), "batch")
    assert str(caught.value) == f"batch {said}"


# JPEG archives


def put_jpeg(folder: Path, monkeypatch: pytest.MonkeyPatch, **changed: Any) -> None:
    """Write archives of three images in red, green and blue."""
    folder.mkdir(parents=True)
    streams = [image(colour, size=(32, 32)) for colour in ((200, 0, 0), (0, 200, 0), (0, 0, 200))]
    held: dict[str, Any] = {
        "jpeg": np.frombuffer(b"".join(streams), dtype=np.uint8),
        "offsets": np.cumsum([0, *map(len, streams)]),
        "labels": np.array([0, 1, 9]),
        "class_names": np.array(cifar10.CLASS_NAMES),
        **changed,
    }
    for name in cifar10._JPEG_FILES:
        np.savez(folder / name, **held)
    monkeypatch.setattr(cifar10, "COUNTS", Counts(train=3, val=3, test=3))


def test_jpeg_archives_are_read_and_named_as_what_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put_jpeg(tmp_path / "cifar-10-jpeg", monkeypatch)
    found = read(tmp_path)
    assert found.train.images_NCHW.shape == (3, 3, 32, 32)
    assert found.train.labels_N.tolist() == [0, 1, 9]
    brightest = found.train.images_NCHW.mean(axis=(2, 3)).argmax(axis=1)
    assert brightest.tolist() == [0, 1, 2]
    assert "JPEG-compressed CIFAR-10" in found.notes[1]


def test_real_cifar_beats_jpeg_and_first_place_beats_both(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put_jpeg(tmp_path / "one" / "cifar-10-jpeg", monkeypatch)
    put_jpeg(tmp_path / "two" / "cifar-10-jpeg", monkeypatch)
    put_batches(tmp_path / "two", monkeypatch)

    def form(*places: str) -> str:
        source = SPEC.look(tuple(tmp_path / place for place in places))
        assert source is not None
        return source.form

    assert form("none", "two") == "unpacked batches"
    assert form("one", "two") == "JPEG-compressed CIFAR-10"


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"labels": np.array([0, 1, 10])}, "label 2 is 10, but the 10 classes are 0 to 9."),
        ({"offsets": np.array([0, 5, 3, 9])}, "the offsets do not match the"),
        ({"offsets": np.array([0, 5])}, "does not hold bytes, 4 offsets and 3 labels, as whole numbers."),
        ({"labels": np.array([{}, 1, 2], dtype=object)}, "Object arrays cannot be loaded when allow_pickle=False"),
    ],
)
def test_wrong_archives_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changed: dict[str, Any], said: str
) -> None:
    put_jpeg(tmp_path / "cifar-10-jpeg", monkeypatch, **changed)
    with pytest.raises(UsageError) as caught:
        read(tmp_path)
    assert said in str(caught.value)


def test_a_picture_that_cannot_be_decoded_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    noise = np.zeros(30, dtype=np.uint8)
    put_jpeg(tmp_path / "cifar-10-jpeg", monkeypatch, jpeg=noise, offsets=np.array([0, 10, 20, 30]))
    with pytest.raises(UsageError, match=r"image 0 cannot be decoded: cannot identify image file$"):
        read(tmp_path)
