"""Small datasets on disk in the formats that are read, with the module's counts and checksums made to fit."""

from __future__ import annotations

import gzip
import hashlib
import io
import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from cnnbench.data import cifar10, mnist
from cnnbench.data.dataset import Counts

FILES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
SMALL = Counts(train=6, val=4, test=4)


def md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def idx(values: npt.NDArray[np.uint8]) -> bytes:
    dimensions = b"".join(n.to_bytes(4, "big") for n in values.shape)
    head = bytes([0, 0, 8, values.ndim]) + dimensions
    return head + bytes(values.tobytes())


def mnist_contents(seed: int = 0) -> dict[str, bytes]:
    """Return the four files of a tiny MNIST, not gzipped."""
    draw = np.random.default_rng(seed)
    contents = {}
    for name in FILES:
        count = SMALL.train if name.startswith("train") else SMALL.test
        images = "images" in name
        values = draw.integers(0, 256, (count, 28, 28)) if images else draw.integers(0, 10, count)
        contents[name] = idx(values.astype(np.uint8))
    return contents


def put_mnist(
    folder: Path, monkeypatch: pytest.MonkeyPatch, *, gzipped: bool = True, known: bool = True, seed: int = 0
) -> dict[str, bytes]:
    """Write a tiny MNIST into `folder`, and make the module expect it; `known`: its checksums as well."""
    folder.mkdir(parents=True, exist_ok=True)
    contents = mnist_contents(seed)
    zipped = {name: gzip.compress(content, mtime=0) for name, content in contents.items()}
    for name in FILES:
        (folder / (f"{name}.gz" if gzipped else name)).write_bytes((zipped if gzipped else contents)[name])
    monkeypatch.setattr(mnist, "COUNTS", SMALL)
    if known:
        sums = {
            "gzipped": tuple(md5(zipped[name]) for name in FILES),
            "unpacked": tuple(md5(contents[name]) for name in FILES),
        }
        monkeypatch.setattr(mnist, "MNIST", replace(mnist.MNIST, **sums))
    return contents


def cifar_batches(count: int = 3) -> dict[str, tuple[npt.NDArray[np.uint8], list[int]]]:
    draw = np.random.default_rng(1)
    names = (*(f"data_batch_{k}" for k in range(1, 6)), "test_batch")
    return {
        name: (draw.integers(0, 256, (count, 3072)).astype(np.uint8), draw.integers(0, 10, count).tolist())
        for name in names
    }


def pickled(pixels: npt.NDArray[np.uint8], labels: list[int]) -> bytes:
    """Return a batch as Python 2 pickled it, which is how CIFAR-10 was published: no Python 3 writes that any more."""
    rows, columns = pixels.shape
    raw = bytes(pixels.tobytes())
    kind = b"cnumpy\ndtype\n(U\x02u1K\x00K\x01tR(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    shape = b"K" + bytes([rows]) + b"M" + int(columns).to_bytes(2, "little") + b"\x86"
    state = b"(K\x01" + shape + kind + b"\x89T" + len(raw).to_bytes(4, "little") + raw + b"tb"
    array = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\nK\x00\x85U\x01btR" + state
    numbers = b"](" + b"".join(b"K" + bytes([label]) for label in labels) + b"e"
    return b"\x80\x02}(U\x04data" + array + b"U\x06labels" + numbers + b"u."


def put_batches(folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, tuple[npt.NDArray[np.uint8], list[int]]]:
    """Write a tiny CIFAR-10 as unpacked batches, and make the module expect it."""
    folder.mkdir(parents=True, exist_ok=True)
    batches = cifar_batches()
    contents = {name: pickled(*batch) for name, batch in batches.items()}
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    monkeypatch.setattr(cifar10, "_BATCHES", {name: md5(content) for name, content in contents.items()})
    return batches


def put_archive(path: Path, monkeypatch: pytest.MonkeyPatch, members: dict[str, bytes], *, known: bool = True) -> None:
    """Write a gzipped tar with `members` by name, and make the module expect its checksum if `known`."""
    with tarfile.open(path, "w:gz") as archive:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    if known:
        monkeypatch.setattr(cifar10, "ARCHIVE_MD5", md5(path.read_bytes()))


def image(colour: tuple[int, int, int], size: tuple[int, int] = (40, 30), kind: str = "JPEG") -> bytes:
    """Return an image file of one colour; `size` is width and height."""
    held = io.BytesIO()
    Image.new("RGB", size, colour).save(held, kind, **({"quality": 95} if kind == "JPEG" else {}))
    return held.getvalue()


def put_pictures(root: Path, classes: dict[str, tuple[int, int, int]], count: int = 10) -> None:
    """Write a folder of `count` images for each class, all of the class's colour."""
    for name, colour in classes.items():
        (root / name).mkdir(parents=True)
        for k in range(count):
            (root / name / f"{k}.jpg").write_bytes(image(colour, size=(40 + k, 30 + k)))
