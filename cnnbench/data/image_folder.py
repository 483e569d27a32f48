"""Read photographs from a folder or zip with one folder per class; decode them once, and split them by their names."""

from __future__ import annotations

import hashlib
import math
import os
import re
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import msgspec
import numpy as np
import numpy.typing as npt

from cnnbench.data.cache import PIXELS, atomic_folder, cache_folder, key_of, map_pixels
from cnnbench.data.dataset import LabelledImages, LeftOut, OnProgress, Read, Source
from cnnbench.data.decode import RESIZE, decode_all
from cnnbench.spec import Shape, UsageError

# One in this many images of each class is held out as a test, always the same ones.
FOLDS = 5

# A file counts as an image if its name ends like this; its content decides how it is read.
SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".ppm", ".pgm", ".tif", ".tiff")

SAME_NOTE = "The validation images are the test images, a fixed fifth; nothing is chosen by them."


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """An image of the dataset: its name as CLASS/FILE, the number of its class, and whether it is held out."""

    name: str
    label: int
    test: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Kept:
    """What a cache folder holds besides the pixels, in the same order; the last `tests` images are held out."""

    labels: tuple[int, ...]
    tests: int
    left_out: tuple[LeftOut, ...]
    misnamed: tuple[str, ...]


class Folder:
    """Images below a folder."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def names(self) -> list[str]:
        """Return the names of all files two levels down, as CLASS/FILE."""
        return [
            f"{folder.name}/{file.name}"
            for folder in self._root.iterdir()
            if folder.is_dir()
            for file in folder.iterdir()
            if file.is_file()
        ]

    def content(self, name: str) -> bytes:
        """Return the bytes of an image."""
        return (self._root / name).read_bytes()

    def close(self) -> None:
        """Do nothing, because no file stays open."""


class Zip:
    """Images in a zip below its folder `top`, such as `PetImages`; nothing is ever unpacked to the disk."""

    def __init__(self, path: Path, top: str) -> None:
        self._top = top
        self._zip = zipfile.ZipFile(path)

    def names(self) -> list[str]:
        """Return the names of all files as CLASS/FILE."""
        # Exactly TOP/CLASS/FILE: a zip may also hold texts, and folders of another depth.
        paths = (PurePosixPath(name) for name in self._zip.namelist() if not name.endswith("/"))
        return [f"{path.parts[1]}/{path.parts[2]}" for path in paths if path.parts[:-2] == (self._top,)]

    def content(self, name: str) -> bytes:
        """Return the bytes of an image."""
        return self._zip.read(f"{self._top}/{name}")

    def close(self) -> None:
        """Close the file."""
        self._zip.close()


@contextmanager
def open_images(source: Source, top: str = "") -> Iterator[Folder | Zip]:
    """Open the images of `source`, which is one folder, or one zip that holds them below `top`.

    Raises:
        UsageError: the zip is damaged, or has a password.
    """
    path = source.files[0].path
    try:
        held: AbstractContextManager[Folder | Zip] = closing(Folder(path) if path.is_dir() else Zip(path, top))
        with held as images:
            yield images
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError) as error:  # RuntimeError: it has a password
        raise UsageError(f"{path} is damaged: {error}. Delete it and fetch it again.") from error


def entries(names: Sequence[str], classes: Sequence[str]) -> tuple[Entry, ...]:
    """Return the images among `names` (CLASS/FILE) in an order that mixes the classes and never changes.

    Every fifth image of each class is held out, counted in the order of the numbers in the names. All images are
    ordered by a checksum of their names, which mixes them as shuffling would.
    """
    found: list[Entry] = []
    for label, name in enumerate(classes):
        own = [n for n in names if n.partition("/")[0] == name and n.lower().endswith(SUFFIXES)]

        # Sorted by number: the order of a folder's files depends on the file system.
        found += [
            Entry(name=n, label=label, test=at % FOLDS == FOLDS - 1)
            for at, n in enumerate(sorted(own, key=_number_key))
        ]

    return tuple(sorted(found, key=lambda entry: hashlib.blake2b(os.fsencode(entry.name)).digest()))


def _number_key(name: str) -> tuple[int, str]:
    number = re.search(r"\d+", name.rpartition("/")[2])
    return (int(number[0]) if number else 0, name)


def read_images(  # what is read, as what, and where it is kept
    dataset: str,
    source: Source,
    classes: Sequence[str],
    shape: Shape,
    on_progress: OnProgress,
    *,
    top: str = "",
    cache: Path | None = None,
) -> Read:
    """Return the images of `classes` in `source` as bytes (N, C, H, W) of `shape`, decoded now or by an earlier run.

    The pixels are mapped from a file below `cache` (None: the user's cache folder). It is in a folder whose name is a
    checksum of all files and of how they are resized.

    Raises:
        UsageError: a class has too few images that can be read.
        CnnbenchError: the cache cannot be written.
    """
    with open_images(source, top) as files:
        wanted = entries(files.names(), classes)
        on_progress(f"looking at the files of {dataset}", 0.0)

        # The key covers the content of all files, so a changed file leads to another folder, and to decoding.
        folder = (cache or cache_folder()) / _key(files, wanted, shape)
        if not (folder / "index.json").is_file():
            _fill(
                folder,
                files,
                wanted,
                shape,
                lambda share: on_progress(f"decoding {len(wanted)} images once", share),
            )

    # Training images come first, then those that are held out.
    kept = msgspec.json.decode((folder / "index.json").read_bytes(), type=Kept)
    count, labels = len(kept.labels) - kept.tests, np.array(kept.labels, dtype=np.int64)

    # Images that cannot be decoded are left out, and may leave a class without any in one of the parts.
    in_both = set(labels[:count].tolist()) & set(labels[count:].tolist())
    few = [name for label, name in enumerate(classes) if label not in in_both]
    if few:
        raise UsageError(
            f"{source.files[0].path} holds too few readable images of {', '.join(few)}. One in {FOLDS} images is held "
            f"out for testing, so a class needs at least {FOLDS}."
        )

    images = map_pixels(folder, len(labels), shape)
    train = LabelledImages(images_NCHW=images[:count], labels_N=labels[:count])
    test = LabelledImages(images_NCHW=images[count:], labels_N=labels[count:])
    return Read(train=train, val=test, test=test, notes=_notes(kept), left_out=kept.left_out, misnamed=kept.misnamed)


def _notes(kept: Kept) -> tuple[str, ...]:
    if not kept.left_out:
        return (SAME_NOTE,)
    shown = ", ".join(f"{image.name} ({image.reason})" for image in kept.left_out[:3])
    more = f" and {len(kept.left_out) - 3} more" if len(kept.left_out) > 3 else ""  # noqa: PLR2004  # as shown
    return (SAME_NOTE, f"Left out because they cannot be decoded: {shown}{more}.")


def _key(images: Folder | Zip, wanted: Sequence[Entry], shape: Shape) -> str:
    """Return a checksum of the contents, names, classes and parts of all images, and of how they are resized."""

    def parts() -> Iterator[bytes]:
        yield f"{shape} {RESIZE}".encode()
        for entry in wanted:
            yield os.fsencode(entry.name) + f"\0{entry.label}\0{entry.test}".encode()
            yield hashlib.blake2b(_content(images, entry.name)).digest()

    return key_of(parts())


def _content(images: Folder | Zip, name: str) -> bytes:
    """Return the bytes of an image, or none if the file cannot be read; it is then left out like an empty one."""
    try:
        return images.content(name)
    except OSError:
        return b""


def _fill(
    folder: Path, images: Folder | Zip, wanted: Sequence[Entry], shape: Shape, on_progress: Callable[[float], None]
) -> None:
    """Decode all images into `folder`, completely or not at all, training images first."""
    ordered = sorted(wanted, key=lambda entry: entry.test)  # stable: the order within each part stays
    good: list[Entry] = []
    misnamed: list[str] = []
    with atomic_folder(folder, len(wanted) * math.prod(shape)) as part:
        with (part / PIXELS).open("wb") as file:

            def place(at: int, pixels: npt.NDArray[np.uint8]) -> None:
                # Called only for images that could be decoded, so `good` is in the order of the pixels.
                file.write(pixels.tobytes())
                good.append(ordered[at])

            # The files are read one by one, because together they may not fit into memory.
            contents = ((entry.name, _content(images, entry.name)) for entry in ordered)
            left_out = decode_all(_note_misnamed(contents, misnamed), len(ordered), shape, place, on_progress)

        kept = Kept(
            labels=tuple(entry.label for entry in good),
            tests=sum(entry.test for entry in good),
            left_out=left_out,
            misnamed=tuple(misnamed),
        )
        (part / "index.json").write_bytes(msgspec.json.encode(kept))

    on_progress(1.0)


# The first bytes of files in common formats, and the ends of their names.
_HEADS = {b"\xff\xd8\xff": (".jpg", ".jpeg"), b"\x89PNG": (".png",), b"GIF8": (".gif",), b"BM": (".bmp",)}


def _note_misnamed(contents: Iterator[tuple[str, bytes]], misnamed: list[str]) -> Iterator[tuple[str, bytes]]:
    """Yield `contents` unchanged, and note in `misnamed` the files whose format is not the one that their names say."""
    for name, content in contents:
        suffixes = next((s for head, s in _HEADS.items() if content.startswith(head)), None)
        if suffixes is not None and not name.lower().endswith(suffixes):
            misnamed.append(name)
        yield name, content
