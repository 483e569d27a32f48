"""Read photographs from a folder or zip with one folder per class; decode them once, and split them by their names."""

from __future__ import annotations

import hashlib
import itertools
import math
import os
import re
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import msgspec
import numpy as np
import numpy.typing as npt

from cnnbench.data.cache import PIXELS, atomic_folder, cache_folder, key_of, map_pixels
from cnnbench.data.dataset import PARTS, LabelledImages, LeftOut, OnProgress, Read, Source
from cnnbench.data.decode import RESIZE, decode_all
from cnnbench.spec import Shape, UsageError
from cnnbench.text import valid_text

# One in this many images of each class is held out as a test, always the same ones.
FOLDS = 5

# A file counts as an image if its name ends like this; its content decides how it is read.
SUFFIXES = (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".gif", ".webp", ".ppm", ".pgm", ".tif", ".tiff")

SAME_NOTE = "The validation images are the test images, a fixed fifth; nothing is chosen by them."
ONE_PART_NOTE = "The validation images are the test images; nothing is chosen by them."


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """An image of the dataset: its name as CLASS/FILE or PART/CLASS/FILE, the number of its class, and its part."""

    name: str
    label: int
    part: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Kept:
    """What a cache folder holds besides the pixels, in the same order.

    After the training images come `vals` images for validation, and last `tests` images for the test.
    """

    labels: tuple[int, ...]
    vals: int
    tests: int
    left_out: tuple[LeftOut, ...]
    misnamed: tuple[str, ...]


class Folder:
    """Images below a folder, or below its folders `parts`."""

    def __init__(self, root: Path, parts: Sequence[str] = ()) -> None:
        self._root = root
        self._parts = parts

    def names(self) -> list[str]:
        """Return the names of all files, as CLASS/FILE, or as PART/CLASS/FILE if there are parts."""
        return [
            file.relative_to(self._root).as_posix()
            for top in ([self._root / part for part in self._parts] or [self._root])
            for folder in top.iterdir()
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
        held: AbstractContextManager[Folder | Zip] = closing(
            Folder(path, source.parts) if path.is_dir() else Zip(path, top)
        )
        with held as images:
            yield images
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError) as error:  # RuntimeError: it has a password
        raise UsageError(f"{path} is damaged: {error}. Delete it and fetch it again.") from error


def entries(names: Sequence[str], classes: Sequence[str]) -> tuple[Entry, ...]:
    """Return the images among `names` in an order that mixes the classes and never changes.

    A name is PART/CLASS/FILE, whose part says what the image is for, or CLASS/FILE. Then every fifth image of each
    class is held out for the test, counted in the order of the numbers in the names. All images are ordered by a
    checksum of their names, which mixes them as shuffling would.
    """
    found: list[Entry] = []
    for label, name in enumerate(classes):
        own = [n for n in names if n.split("/")[-2] == name and _is_image(n.rpartition("/")[2])]

        # Sorted by number: the order of a folder's files depends on the file system.
        for at, n in enumerate(sorted(own, key=_number_key)):
            part = "test" if at % FOLDS == FOLDS - 1 else "train"
            if n.count("/") > 1:
                part = PARTS[n.split("/")[-3].lower()]
            found.append(Entry(name=n, label=label, part=part))

    return tuple(sorted(found, key=lambda entry: hashlib.blake2b(os.fsencode(entry.name)).digest()))


def _is_image(name: str) -> bool:
    """Return whether a file may be an image; one without any ending is tried."""
    return not name.startswith(".") and (name.lower().endswith(SUFFIXES) or "." not in name)


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

    # Training images come first, then those for validation, then those for the test.
    kept = msgspec.json.decode((folder / "index.json").read_bytes(), type=Kept)
    labels, count = np.array(kept.labels, dtype=np.int64), len(kept.labels) - kept.vals - kept.tests
    images = map_pixels(folder, len(labels), shape)
    train, val, test = (
        LabelledImages(images_NCHW=images[begin:end], labels_N=labels[begin:end])
        for begin, end in itertools.pairwise((0, count, count + kept.vals, len(labels)))
    )
    val, test = (val if len(val) else test), (test if len(test) else val)
    lacking = _lacking_classes(classes, {"train": train, "val": val, "test": test})

    # Images that cannot be decoded are left out, and may leave a class without any in one of the parts.
    if lacking and not source.parts:
        few = ", ".join(dict.fromkeys(name for _, name in lacking))
        raise UsageError(
            f"{source.files[0].path} holds too few readable images of {few}. One in {FOLDS} images is held out "
            f"for testing, so a class needs at least {FOLDS}."
        )
    if not len(train) or not len(test):
        raise UsageError(f"{source.files[0].path} holds no readable images in one of {', '.join(source.parts)}.")
    notes = [f"There are no images of {name} in {part}." for part, name in lacking if part != "test" or test is not val]
    if test is val:
        notes.insert(0, ONE_PART_NOTE if source.parts else SAME_NOTE)
    notes += _left_out_notes(kept)
    return Read(train=train, val=val, test=test, notes=tuple(notes), left_out=kept.left_out, misnamed=kept.misnamed)


def _lacking_classes(classes: Sequence[str], parts: Mapping[str, LabelledImages]) -> list[tuple[str, str]]:
    """Return each part and class of which it holds no image."""
    there = {part: set(images.labels_N.tolist()) for part, images in parts.items()}
    return [(part, name) for part in parts for label, name in enumerate(classes) if label not in there[part]]


def _left_out_notes(kept: Kept) -> tuple[str, ...]:
    if not kept.left_out:
        return ()
    shown = ", ".join(f"{image.name} ({image.reason})" for image in kept.left_out[:3])
    more = f" and {len(kept.left_out) - 3} more" if len(kept.left_out) > 3 else ""  # noqa: PLR2004  # as shown
    return (f"Left out because they cannot be decoded: {shown}{more}.",)


def _key(images: Folder | Zip, wanted: Sequence[Entry], shape: Shape) -> str:
    """Return a checksum of the contents, names, classes and parts of all images, and of how they are resized."""

    def parts() -> Iterator[bytes]:
        yield f"{shape} {RESIZE}".encode()
        for entry in wanted:
            yield os.fsencode(entry.name) + f"\0{entry.label}\0{entry.part}".encode()
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
    order = ("train", "val", "test")
    ordered = sorted(wanted, key=lambda entry: order.index(entry.part))  # stable: the order within each part stays
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
            vals=sum(entry.part == "val" for entry in good),
            tests=sum(entry.part == "test" for entry in good),
            left_out=left_out,
            misnamed=tuple(misnamed),
        )
        (part / "index.json").write_bytes(msgspec.json.encode(kept))

    on_progress(1.0)


# The first bytes of files in common formats, and the ends of their names.
_HEADS = {
    b"\xff\xd8\xff": (".jpg", ".jpeg", ".jpe", ".jfif"),
    b"\x89PNG": (".png",),
    b"GIF8": (".gif",),
    b"BM": (".bmp",),
}


def _note_misnamed(contents: Iterator[tuple[str, bytes]], misnamed: list[str]) -> Iterator[tuple[str, bytes]]:
    """Yield `contents` unchanged, and note in `misnamed` the files whose format is not the one that their names say."""
    for name, content in contents:
        suffixes = next((s for head, s in _HEADS.items() if content.startswith(head)), None)
        if suffixes is not None and "." in name.rpartition("/")[2] and not name.lower().endswith(suffixes):
            misnamed.append(valid_text(name))
        yield name, content
