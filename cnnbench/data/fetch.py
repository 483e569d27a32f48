"""Get a dataset: download it and compare its checksum, or copy it from a folder."""

from __future__ import annotations

import shutil
import tempfile
import zipfile
from pathlib import Path

from cnnbench.data.dataset import DatasetSpec, Download, Source
from cnnbench.data.locations import fetch_advice
from cnnbench.spec import CnnbenchError, MissingError, UsageError


def fetch(spec: DatasetSpec, folder: Path) -> tuple[Path, ...]:
    """Download the dataset's files to their places below `folder`, and return those that were missing.

    A file gets its name only when it is complete and its checksum is right. torchvision downloads it and shows the
    progress.

    Raises:
        UsageError: the dataset needs no files, or is the user's own.
        MissingError: the network or the publisher cannot be reached; the message says how to get the files by hand.
        CnnbenchError: the files cannot be written.
    """
    if not spec.downloads:
        raise UsageError(f"There is nothing to fetch for '{spec.name}': {spec.needs or 'it needs no files'}.")

    home = folder / spec.home
    new: list[Path] = []
    for download in spec.downloads:
        path = home / download.name
        # A file of this name is complete, so it is not downloaded again.
        if not path.exists():
            _fetch_one(spec, download, home, folder)
            new.append(path)
    return tuple(new)


def _fetch_one(spec: DatasetSpec, download: Download, home: Path, folder: Path) -> None:
    from torchvision.datasets.utils import download_url

    try:
        home.mkdir(parents=True, exist_ok=True)

        # It lies beside the goal, so that the last step is a rename, which cannot leave half a file.
        with tempfile.TemporaryDirectory(prefix=".part-", dir=home) as part:
            problems = []
            # The second address and later ones are tried only if the ones before failed.
            for url in download.urls:
                try:
                    download_url(url, part, download.name, download.md5)
                    _check_whole(Path(part) / download.name)
                    break
                except (RuntimeError, OSError) as error:  # a wrong checksum; or no network, no space
                    problems.append(f"{url}: {error}")
            else:
                raise MissingError(
                    f"'{download.name}' could not be downloaded ({'; '.join(problems)}). {fetch_advice(spec, folder)}"
                )
            (Path(part) / download.name).replace(home / download.name)
    except OSError as error:
        raise CnnbenchError(f"Cannot write into '{home}': {error.strerror or error}.") from error


def _check_whole(path: Path) -> None:
    """Raise RuntimeError for a zip that was cut short, which nothing else notices if no checksum is published."""
    if path.suffix == ".zip" and not zipfile.is_zipfile(path):
        raise RuntimeError("the downloaded zip is incomplete")


def take_over(source: Source, folder: Path) -> tuple[Path, ...]:
    """Copy the files of `source`, found elsewhere, to their places below `folder`, and return the copies.

    Raises:
        UsageError: a file or folder is already at one of these places.
        CnnbenchError: the files cannot be written.
    """
    # A source is either a single folder, which is copied as a whole, or files that keep their names.
    whole = len(source.files) == 1 and source.files[0].path.is_dir()
    goals = [folder / source.home if whole else folder / source.home / file.path.name for file in source.files]
    if there := next((goal for goal in goals if goal.exists()), None):
        raise UsageError(f"'{there}' already exists. Move it away, or use another --data-dir.")

    try:
        home = goals[0].parent
        home.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".part-", dir=home) as part:
            for file, goal in zip(source.files, goals, strict=True):
                (shutil.copytree if whole else shutil.copyfile)(file.path, Path(part) / goal.name)

            # Everything is copied by now, so only renames are left.
            for goal in goals:
                (Path(part) / goal.name).replace(goal)
    except OSError as error:
        raise CnnbenchError(f"Cannot write into '{folder}': {error.strerror or error}.") from error

    return tuple(goals)
