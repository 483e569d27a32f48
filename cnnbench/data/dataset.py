"""Types of a dataset: its specification, where it was found, and what reading it gives."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from cnnbench.spec import Shape, UsageError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

# The folders to search for a dataset, in this order.
Places = tuple[Path, ...]

# Folders that divide images, by the part that they are.
PARTS = {"train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}

# Called with a description of what is being done, and the share of it that is done (0 to 1).
OnProgress = Callable[[str, float], None]


@dataclass(frozen=True, kw_only=True, slots=True)
class Counts:
    """How many images each split holds."""

    train: int
    val: int
    test: int


@dataclass(frozen=True, kw_only=True, slots=True)
class File:
    """A file of a dataset, with its published MD5 checksum (in hexadecimal) if there is one."""

    path: Path
    md5: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """Where a dataset was found: its `form` in words, and the files or the one folder that hold it.

    `home` is the folder below a data folder where such files belong. `parts` are the folders that divide the images of
    the one folder into training, validation and test.
    """

    form: str
    files: tuple[File, ...] = ()
    home: str = ""
    parts: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class LabelledImages:
    """Images (N, C, H, W; uint8, or float32 in [0, 1]) and their labels (N, int64)."""

    images_NCHW: npt.NDArray[np.uint8] | npt.NDArray[np.float32]  # noqa: N815  # a tensor's axes are part of its name
    labels_N: npt.NDArray[np.int64]  # noqa: N815

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.labels_N)


@dataclass(frozen=True, kw_only=True, slots=True)
class LeftOut:
    """An image that cannot be used: its name in the dataset, and the reason."""

    name: str
    reason: str


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Read:
    """A dataset in memory: `val` is evaluated during training, `test` once at the end.

    `val` and `test` are the same object if the publisher gives no third part: the tutorials evaluate the test images
    after every epoch, and choose nothing by them. `notes` are facts that belong next to every result. `misnamed` lists
    images whose format is not the one that their names say; they are used.
    """

    train: LabelledImages
    val: LabelledImages
    test: LabelledImages
    notes: tuple[str, ...] = ()
    left_out: tuple[LeftOut, ...] = ()
    misnamed: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Download:
    """A file to fetch: its addresses in the order to try, and its published MD5 checksum if there is one."""

    name: str
    urls: tuple[str, ...]
    md5: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Fast:
    """The settings of a dataset's fast recipe, which replace those of a model's recipe to reach good accuracy soon."""

    optimizer: Literal["adam", "sgd"]
    learning_rate: float
    momentum: float = 0.0
    batch_size: int
    epochs: int
    shuffled: bool = True
    one_cycle: bool = True
    channels_last: bool = False
    amp: bool = False
    cache_features: bool = False
    unfrozen_epochs: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class DatasetSpec:
    """One dataset: `shape` is (channels, height, width) of an image as stored.

    `look` returns where the dataset is, or None, without reading it. `read` reads what was found; its second argument
    is the wanted shape (channels, height, width) of images that have no fixed size, its third one is called with the
    progress. `counts` is None if the numbers depend on the files. `downloads` belong into `home` below a data folder,
    and `needs` says in words which files are looked for.

    `epochs` and `steps` replace a recipe's epochs if the dataset is much smaller than the recipe's own: that many
    epochs, but no more than `steps` optimiser steps in all. None means that the recipe's epochs are used. `fast` is
    None if the dataset has no fast recipe.
    """

    name: str
    classes: int
    class_names: tuple[str, ...] = ()
    shape: Shape
    counts: Counts | None
    source: str
    description: str
    look: Callable[[Places], Source | None]
    read: Callable[[Source, Shape, OnProgress], Read]
    needs: str = ""
    home: str = ""
    downloads: tuple[Download, ...] = ()
    epochs: int | None = None
    steps: int | None = None
    fast: Fast | None = None


def built_in_source(_: Places) -> Source:
    """Return the source of a dataset that needs no files."""
    return Source(form="needs no files")


def ignore_progress(_text: str, _share: float) -> None:
    """Ignore the progress."""


def check_labels(labels: Iterable[int], classes: int, where: Path) -> None:
    """Check that every label names a class.

    Raises:
        UsageError: a label names no class; the message says which one.
    """
    for at, label in enumerate(labels):
        if not 0 <= label < classes:
            raise UsageError(f"{where}: label {at} is {label}, but the {classes} classes are 0 to {classes - 1}.")
