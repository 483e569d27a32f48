"""Check a dataset: counts, checksums, balance of the classes, range of the pixels, corrupt images."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cnnbench.data.dataset import DatasetSpec, LabelledImages, LeftOut, OnProgress, Source
from cnnbench.data.locations import md5_of
from cnnbench.spec import Shape


@dataclass(frozen=True, kw_only=True, slots=True)
class Checked:
    """A file of a dataset, its MD5 checksum, and whether that is the published one.

    `md5` is None for a folder. `as_published` is None if no checksum is published.
    """

    path: Path
    md5: str | None
    as_published: bool | None


@dataclass(frozen=True, kw_only=True, slots=True)
class PartFacts:
    """One part of a dataset: number of images, shape of one, smallest and largest pixel, number of images by class."""

    name: str
    images: int
    shape: Shape
    low: float
    high: float
    by_class: tuple[int, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class DatasetSummary:
    """All facts that were found about a dataset; parts with the same images are listed once.

    `parts` is empty if the dataset was not read, because a file is not the one that was published.
    """

    source: Source
    files: tuple[Checked, ...]
    parts: tuple[PartFacts, ...]
    notes: tuple[str, ...]
    left_out: tuple[LeftOut, ...]
    misnamed: tuple[str, ...]


def inspect(spec: DatasetSpec, source: Source, on_progress: OnProgress) -> DatasetSummary:
    """Check the dataset's files, read it if they are as published, and return a summary.

    Raises:
        UsageError: a file without a published checksum is damaged, or has the wrong content.
    """
    files = tuple(_check_file(file.path, file.md5) for file in source.files)

    # Reading such a file would raise an error; the summary says which files are wrong.
    if any(file.as_published is False for file in files):
        return DatasetSummary(source=source, files=files, parts=(), notes=(), left_out=(), misnamed=())

    read = spec.read(source, spec.shape, on_progress)
    named = [("train", read.train), ("val", read.val), ("test", read.test)]

    # Without a third part, both names mean the same images.
    if read.val is read.test:
        named.pop(1)

    return DatasetSummary(
        source=source,
        files=files,
        parts=tuple(_facts(name, images, spec.classes) for name, images in named),
        notes=read.notes,
        left_out=read.left_out,
        misnamed=read.misnamed,
    )


def _check_file(path: Path, published: str | None) -> Checked:
    if path.is_dir():
        return Checked(path=path, md5=None, as_published=None)
    found = md5_of(path)
    return Checked(path=path, md5=found, as_published=None if published is None else found == published)


def _facts(name: str, part: LabelledImages, classes: int) -> PartFacts:
    import numpy as np

    images = part.images_NCHW
    return PartFacts(
        name=name,
        images=len(part),
        shape=tuple(images.shape[1:]),
        low=float(images.min()),
        high=float(images.max()),
        by_class=tuple(np.bincount(part.labels_N, minlength=classes).tolist()),
    )
