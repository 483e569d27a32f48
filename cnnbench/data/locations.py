"""Look for datasets, and say how to get one that is missing."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path

from cnnbench.data.dataset import DatasetSpec, File, OnProgress, Places, Read, Source, ignore_progress
from cnnbench.spec import MissingError, Shape, UsageError

# The environment variable that names a data folder.
ENVIRONMENT = "CNNBENCH_DATA"

# The last place to look for datasets, and the place to fetch them to: `data` in the current folder.
DEFAULT = Path("data")

_PIECE = 1 << 20


def places(data_dir: str | None, environ: Mapping[str, str] = os.environ) -> Places:
    """Return the folders to search: `data_dir` if given, the one that `CNNBENCH_DATA` names if set, and `./data`.

    Raises:
        UsageError: `data_dir` is no folder.
    """
    if data_dir is not None and not Path(data_dir).is_dir():
        raise UsageError(f"There is no data folder '{data_dir}'. Give the folder that holds the datasets.")
    named = environ.get(ENVIRONMENT)
    given = [Path(folder) for folder in (data_dir, named) if folder]
    return tuple(dict.fromkeys((*given, DEFAULT)))


def locate(spec: DatasetSpec, where: Places) -> Source:
    """Return where the dataset is.

    Raises:
        MissingError: it is in none of the folders; the message says how to get it.
    """
    found = spec.look(where)
    if found is not None:
        return found
    folders = ", ".join(str(folder) for folder in where)
    raise MissingError(
        f"Dataset '{spec.name}' is not in {folders} (--data-dir, {ENVIRONMENT}, ./data). {fetch_advice(spec)}"
    )


def read(
    spec: DatasetSpec, wanted: Shape, *, data_dir: str | None = None, on_progress: OnProgress = ignore_progress
) -> Read:
    """Return the dataset that `places` and `locate` find; `wanted` is the (channels, height, width) of an image.

    Raises:
        MissingError: the dataset is in none of the places.
        UsageError: one of its files is damaged, or has the wrong content.
    """
    return spec.read(locate(spec, places(data_dir)), wanted, on_progress)


def fetch_advice(spec: DatasetSpec, folder: Path = DEFAULT) -> str:
    """Return how to get the dataset into `folder`: by fetching it, or by hand."""
    if not spec.downloads:
        return f"Needed: {spec.needs}."
    files = ", ".join(f"{d.name} (md5 {d.md5})" if d.md5 else d.name for d in spec.downloads)

    # The files are named already, so of their addresses each folder is shown once.
    urls = " ".join(dict.fromkeys(d.urls[0].rpartition("/")[0] + "/" for d in spec.downloads))
    return (
        f"Get it with 'cnnbench data fetch {spec.name}', or put these files into {folder / spec.home}: {files}; "
        f"they are published at {urls}"
    )


def md5_of(path: Path) -> str:
    """Return a file's MD5 checksum in hexadecimal: datasets publish it, and it is no protection against attacks."""
    found = hashlib.md5(usedforsecurity=False)
    with path.open("rb") as opened:
        while piece := opened.read(_PIECE):
            found.update(piece)
    return found.hexdigest()


def check_md5(file: File, dataset: str) -> None:
    """Check a file against its published checksum, if it has one.

    Raises:
        UsageError: the checksum is a different one.
    """
    if file.md5 is not None and (found := md5_of(file.path)) != file.md5:
        raise UsageError(
            f"{file.path} is damaged or not the published file: its md5 is {found}, but {dataset}'s is {file.md5}. "
            f"Delete it and fetch it again with 'cnnbench data fetch {dataset}'."
        )
