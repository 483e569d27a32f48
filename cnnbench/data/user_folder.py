"""A dataset in a user's own folder, which holds a folder of images for each class."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from cnnbench.data.dataset import DatasetSpec, File, OnProgress, Places, Read, Source
from cnnbench.spec import Shape, UsageError

PREFIX = "folder:"
FEWEST_CLASSES = 2


def spec_of(name: str) -> DatasetSpec:
    """Return the dataset `folder:PATH`; the names of the folders in PATH are its classes.

    Raises:
        UsageError: there is no such folder, or it holds fewer than two folders.
    """
    root = Path(name.removeprefix(PREFIX)).expanduser()
    if not root.is_dir():
        raise UsageError(f"Dataset '{name}': there is no folder '{root}'. Give one with a folder for each class.")

    # Sorted, so that the numbers of classes do not depend on the file system; hidden folders are no classes.
    classes = tuple(sorted(path.name for path in root.iterdir() if path.is_dir() and not path.name.startswith(".")))
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
        description="your own images, one folder for each class; a fifth held out",
        look=partial(_look, root),
        read=partial(_read, classes),
    )


def _look(root: Path, _: Places) -> Source:
    return Source(form="one folder for each class", files=(File(path=root),))


def _read(classes: tuple[str, ...], source: Source, wanted: Shape, on_progress: OnProgress) -> Read:
    from cnnbench.data.image_folder import read_images

    return read_images(f"folder {source.files[0].path.name}", source, classes, (3, *wanted[1:]), on_progress)
