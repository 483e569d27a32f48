"""A dataset in a user's own folder, which holds a folder of images for each class."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from cnnbench.data.dataset import PARTS, DatasetSpec, File, OnProgress, Places, Read, Source
from cnnbench.spec import Shape, UsageError

PREFIX = "folder:"
FEWEST_CLASSES = 2

# Folder that macOS puts into zips, with files that are named like images.
MAC_FOLDER = "__MACOSX"


def spec_of(name: str) -> DatasetSpec:
    """Return the dataset `folder:PATH`; the names of the folders in PATH are its classes.

    Raises:
        UsageError: there is no such folder, or it holds fewer than two folders.
    """
    root = Path(name.removeprefix(PREFIX)).expanduser()
    if not root.is_dir():
        raise UsageError(f"Dataset '{name}': there is no folder '{root}'. Give one with a folder for each class.")

    # As ImageNet and most tutorials have it: train, val, and in these a folder for each class.
    folders = _folders(root)
    parts = tuple(folders) if _are_parts(folders) else ()
    classes = tuple(sorted({name for part in parts for name in _folders(root / part)})) if parts else folders
    if len(classes) < FEWEST_CLASSES:
        there = f"only '{classes[0]}'" if classes else "none"
        raise UsageError(
            f"Dataset '{name}': the folder must hold one folder of images for each of at least two classes, "
            f"but holds {there}."
        )

    return DatasetSpec(
        name=name,
        classes=len(classes),
        class_names=classes,
        shape=(3, 224, 224),
        counts=None,
        source=str(root),
        description=f"your own images, one folder for each class; {', '.join(parts) or 'a fifth held out'}",
        look=partial(_look, root, parts),
        read=partial(_read, classes),
    )


def _folders(root: Path) -> tuple[str, ...]:
    """Return the names of the folders in `root`, sorted, because file systems order them in any way."""
    found = (path.name for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))
    return tuple(sorted(name for name in found if name != MAC_FOLDER))


def _are_parts(folders: Sequence[str]) -> bool:
    """Return whether folders divide the images: one for training, and others for validation, test or both."""
    parts = [PARTS.get(name.lower()) for name in folders]
    return "train" in parts and None not in parts and len(set(parts)) == len(parts) > 1


def _look(root: Path, parts: tuple[str, ...], _: Places) -> Source:
    form = "one folder for each class" + (f" in each of {', '.join(parts)}" if parts else "")
    return Source(form=form, files=(File(path=root),), parts=parts)


def _read(classes: tuple[str, ...], source: Source, wanted: Shape, on_progress: OnProgress) -> Read:
    from cnnbench.data.image_folder import read_images

    return read_images(f"folder {source.files[0].path.name}", source, classes, (3, *wanted[1:]), on_progress)
