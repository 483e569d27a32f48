"""Decoded pictures on the disk, in the user's cache folder: written whole or not at all, and mapped into memory."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt

from cnnbench.spec import CnnbenchError, Shape

PIXELS = "pixels.bin"
"""The file of a folder that holds the pixels of all pictures, one after the other."""


def cache_folder(environ: Mapping[str, str] = os.environ) -> Path:
    """Return where decoded pictures are kept: `cnnbench/pictures` in the user's cache folder (XDG base directories)."""
    folder = environ.get("XDG_CACHE_HOME", "")
    return (Path(folder) if folder else Path("~/.cache").expanduser()) / "cnnbench" / "pictures"


@contextmanager
def whole(folder: Path, needed_bytes: int) -> Iterator[Path]:
    """Have a folder to write into, which becomes `folder` at the end if nothing goes wrong; else nothing is left.

    Raises:
        CnnbenchError: it cannot be written.
    """
    part: Path | None = None
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        part = Path(tempfile.mkdtemp(prefix=".part-", dir=folder.parent))
        yield part
        if folder.exists():  # of a run that was killed, or of one that was faster
            shutil.rmtree(folder)
        part.replace(folder)
    except OSError as error:
        raise CnnbenchError(
            f"The decoded pictures cannot be kept in {folder.parent}: {error.strerror or error}. They need "
            f"{needed_bytes / 1e6:.0f} MB; make room, or name another cache folder with XDG_CACHE_HOME."
        ) from error
    finally:
        if part is not None and part.exists():
            shutil.rmtree(part, ignore_errors=True)


def mapped(folder: Path, count: int, shape: Shape) -> npt.NDArray[np.uint8]:
    """Return the pixels (count, C, H, W) in `folder`; copied on write, so torch may have them and the file stays."""
    return np.memmap(folder / PIXELS, np.uint8, mode="c", shape=(count, *shape))
