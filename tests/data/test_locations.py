"""Where datasets are looked for, what is said when they are not there, and how they get there."""

from __future__ import annotations

from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest
import torchvision.datasets.utils

from cnnbench import data
from cnnbench.data import locations as finding
from cnnbench.data import mnist
from cnnbench.data.check import Checked, inspect
from cnnbench.data.dataset import ignore_progress
from cnnbench.data.fetch import fetch, take_over
from cnnbench.spec import CnnbenchError, MissingError, UsageError
from tests.data.files import FILES, put_mnist, put_pictures


def test_places_are_the_option_then_the_variable_then_data(tmp_path: Path) -> None:
    assert finding.places(None, {}) == (Path("data"),)
    assert finding.places(str(tmp_path), {"CNNBENCH_DATA": "/d"}) == (tmp_path, Path("/d"), Path("data"))
    assert finding.places(None, {"CNNBENCH_DATA": "data"}) == (Path("data"),)


def test_a_data_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        finding.places(str(tmp_path / "none"), {})
    assert str(caught.value) == (
        f"There is no data folder '{tmp_path / 'none'}'. Give the folder that holds the datasets."
    )


def test_a_missing_dataset_says_how_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(MissingError) as caught:
        data.locate(data.find("mnist"), (tmp_path,))
    assert str(caught.value) == (
        f"Dataset 'mnist' is not in {tmp_path} (--data-dir, CNNBENCH_DATA, ./data). Get it with 'cnnbench data fetch "
        "mnist', or put these files into data/MNIST/raw: "
        "train-images-idx3-ubyte.gz (md5 f68b3c2dcbeaaa9fbdd348bbdeb94873), "
        "train-labels-idx1-ubyte.gz (md5 d53e105ee54ea40749a09fcbcd1e9432), "
        "t10k-images-idx3-ubyte.gz (md5 9fb629c4189551a2d022fa330f9573f3), "
        "t10k-labels-idx1-ubyte.gz (md5 ec29112dd5afa0611ce80d1b7f02629c); "
        "they are published at https://ossci-datasets.s3.amazonaws.com/mnist/"
    )


# Fetching


class Network:
    """Stands for torchvision's download: gives `content` by name, or fails."""

    def __init__(self, contents: dict[str, bytes] | None) -> None:
        self.contents = contents
        self.asked: list[str] = []

    def __call__(self, url: str, root: str, filename: str, md5: str | None) -> None:
        self.asked.append(url)
        if self.contents is None:
            raise URLError("no model")
        if "lecun" not in url:
            raise RuntimeError("File not found or corrupted.")
        (Path(root) / filename).write_bytes(self.contents[filename])


@pytest.fixture
def make_model(monkeypatch: pytest.MonkeyPatch) -> Network:
    found = Network({f"{name}.gz": name.encode() for name in FILES})
    monkeypatch.setattr(torchvision.datasets.utils, "download_url", found)
    return found


def test_fetching_tries_the_mirrors_and_skips_what_is_there(tmp_path: Path, make_model: Network) -> None:
    home = tmp_path / "MNIST" / "raw"
    home.mkdir(parents=True)
    (home / f"{FILES[0]}.gz").write_bytes(b"here already")
    new = fetch(mnist.SPEC, tmp_path)
    assert [path.name for path in new] == [f"{name}.gz" for name in FILES[1:]]
    assert [path.read_bytes() for path in new] == [name.encode() for name in FILES[1:]]
    assert (home / f"{FILES[0]}.gz").read_bytes() == b"here already"
    assert len(make_model.asked) == 6
    assert sorted(path.name for path in home.iterdir()) == sorted(f"{name}.gz" for name in FILES)


def test_without_a_network_it_says_what_to_put_where(tmp_path: Path, make_model: Network) -> None:
    make_model.contents = None
    with pytest.raises(MissingError) as caught:
        fetch(mnist.FASHION_SPEC, tmp_path)
    address = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/train-images-idx3-ubyte.gz"
    assert str(caught.value).startswith(
        f"'train-images-idx3-ubyte.gz' could not be downloaded ({address}: <urlopen error no model>). "
        "Get it with 'cnnbench data fetch fashion_mnist', or put these files into "
        f"{tmp_path / 'FashionMNIST' / 'raw'}: train-images-idx3-ubyte.gz (md5 8d4fb7e6c68d591d4c3dfef9ec88bf0d), "
    )
    assert list((tmp_path / "FashionMNIST" / "raw").iterdir()) == []


def test_a_zip_that_was_cut_short_is_not_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def cut(_: str, root: str, filename: str, md5: str | None) -> None:
        assert md5 is None  # none is published
        (Path(root) / filename).write_bytes(b"PK\x03\x04 the rest is missing")

    monkeypatch.setattr(torchvision.datasets.utils, "download_url", cut)
    with pytest.raises(MissingError, match=r"could not be downloaded \(.*: the downloaded zip is incomplete\)"):
        fetch(data.find("cats_dogs"), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_what_needs_no_files_cannot_be_fetched(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"^There is nothing to fetch for 'digits': it needs no files\.$"):
        fetch(data.find("digits"), tmp_path)


def test_a_folder_that_cannot_be_written_says_so(tmp_path: Path, make_model: Network) -> None:
    (tmp_path / "MNIST").write_text("a file")
    with pytest.raises(CnnbenchError, match=f"^Cannot write into '{tmp_path / 'MNIST' / 'raw'}': Not a directory\\.$"):
        fetch(mnist.SPEC, tmp_path)


# Taking over


def test_files_are_taken_over_to_where_they_are_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put_mnist(tmp_path / "downloads", monkeypatch)
    source = mnist.SPEC.look((tmp_path / "downloads",))
    assert source is not None
    copies = take_over(source, tmp_path / "data")
    assert [path.parent for path in copies] == [tmp_path / "data" / "MNIST" / "raw"] * 4
    again = mnist.SPEC.look((tmp_path / "data",))
    assert again is not None
    assert (mnist.SPEC.read(again, (1, 28, 28), ignore_progress).train.images_NCHW.shape) == (6, 1, 28, 28)
    with pytest.raises(UsageError, match=r"already exists\. Move it away, or use another --data-dir\.$"):
        take_over(source, tmp_path / "data")


def test_a_folder_of_pictures_is_taken_over_whole(tmp_path: Path) -> None:
    put_pictures(tmp_path / "here" / "PetImages", {"Cat": (9, 9, 9), "Dog": (200, 9, 9)}, count=2)
    spec = data.find("cats_dogs")
    source = spec.look((tmp_path / "here",))
    assert source is not None
    take_over(source, tmp_path / "data")
    assert sorted(path.name for path in (tmp_path / "data" / "PetImages" / "Dog").iterdir()) == ["0.jpg", "1.jpg"]


# Looking whether it is whole


def test_facts_are_those_of_the_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    contents = put_mnist(tmp_path, monkeypatch)
    source = mnist.SPEC.look((tmp_path,))
    assert source is not None
    facts = inspect(mnist.SPEC, source, ignore_progress)
    assert facts.files == tuple(
        Checked(path=tmp_path / f"{name}.gz", md5=mnist.MNIST.gzipped[at], as_published=True)
        for at, name in enumerate(FILES)
    )
    assert [(part.name, part.images, part.shape) for part in facts.parts] == [
        ("train", 6, (1, 28, 28)),
        ("test", 4, (1, 28, 28)),
    ]
    pixels = np.frombuffer(contents[FILES[0]][16:], dtype=np.uint8)
    assert (facts.parts[0].low, facts.parts[0].high) == (float(pixels.min()), float(pixels.max()))
    labels = list(contents[FILES[1]][8:])
    assert facts.parts[0].by_class == tuple(labels.count(k) for k in range(10))


def test_synthetic_pictures_are_repeatable_and_separable() -> None:
    spec = data.find("synthetic")
    one, other = data.read(spec, (3, 32, 32)), data.read(spec, (3, 32, 32))
    assert (one.train.images_NCHW == other.train.images_NCHW).all()
    assert one.train.images_NCHW.shape == (5000, 3, 32, 32)
    means = np.stack([one.train.images_NCHW[one.train.labels_N == k].mean(axis=0) for k in range(10)])
    near = ((one.test.images_NCHW[:, None].astype(float) - means[None]) ** 2).sum(axis=(2, 3, 4)).argmin(axis=1)
    assert (near == one.test.labels_N).mean() > 0.99
