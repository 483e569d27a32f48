"""Keep decoded images in the user's cache folder: written completely or not at all, and mapped into memory."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt
import PIL
import psutil

from cnnbench.spec import CnnbenchError, Shape

# The file in a cache folder that holds the pixels of all images, one after the other.
PIXELS = "pixels.bin"

_PART = ".part-"
_VERSION = 3


def cache_folder(environ: Mapping[str, str] = os.environ) -> Path:
    """Return the folder of decoded images: `cnnbench/images` in the user's cache folder (XDG base directories)."""
    folder = environ.get("XDG_CACHE_HOME", "")
    return (Path(folder) if folder else Path("~/.cache").expanduser()) / "cnnbench" / "images"


def key_of(parts: Iterable[bytes]) -> str:
    """Return the name of a cache folder: a checksum of `parts`, and of the versions of what decodes images."""
    found = hashlib.blake2b(f"{_VERSION} {PIL.__version__}".encode(), digest_size=16)
    for part in parts:
        # The length keeps parts apart that would be the same when joined.
        found.update(len(part).to_bytes(8, "big") + part)
    return found.hexdigest()


@contextmanager
def atomic_folder(folder: Path, needed_bytes: int) -> Iterator[Path]:
    """Yield a folder to write into, which becomes `folder` if the block succeeds, and is removed if it fails.

    Unfinished folders of killed processes are removed first.

    Raises:
        CnnbenchError: the folder cannot be written.
    """
    # It lies beside the goal, so that the last step is a rename; the process id tells others whose folder it is.
    part = folder.parent / f"{_PART}{os.getpid()}-{folder.name}"
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        _remove_left_over(folder.parent)
        part.mkdir()
        yield part

        # If another process was faster, its folder is in the way: a rename replaces only an empty one.
        if folder.exists():
            shutil.rmtree(folder)

        part.replace(folder)
    except OSError as error:
        raise CnnbenchError(
            f"The decoded images cannot be kept in {folder.parent}: {error.strerror or error}. They need "
            f"{needed_bytes / 1e6:.0f} MB; make room, or name another cache folder with XDG_CACHE_HOME."
        ) from error
    finally:
        # After a success the folder has its final name, and this does nothing.
        shutil.rmtree(part, ignore_errors=True)


def _remove_left_over(parent: Path) -> None:
    """Remove the unfinished folders of processes that no longer run, and earlier ones of this process."""
    for path in parent.glob(f"{_PART}*"):
        owner = path.name.removeprefix(_PART).partition("-")[0]
        if not owner.isdecimal() or int(owner) == os.getpid() or not psutil.pid_exists(int(owner)):
            shutil.rmtree(path, ignore_errors=True)


def map_pixels(folder: Path, count: int, shape: Shape) -> npt.NDArray[np.uint8]:
    """Return the pixels (count, C, H, W) in `folder` as a read-only array, mapped from the file.

    A writable private mapping would count in full against the memory that a worker may use.
    """
    if count == 0:  # an empty file cannot be mapped
        return np.empty((0, *shape), np.uint8)
    return np.memmap(folder / PIXELS, np.uint8, mode="r", shape=(count, *shape))
