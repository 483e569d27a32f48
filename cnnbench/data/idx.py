"""Read IDX files of bytes, MNIST's format: plain or gzipped, and checked against the expected shape."""

from __future__ import annotations

import gzip
import math
import zlib
from io import BufferedReader
from pathlib import Path

import numpy as np
import numpy.typing as npt

from cnnbench.spec import Shape, UsageError

# Two zeros and the code of unsigned bytes. The number of dimensions follows, then the size of each in four bytes.
_BYTES_MAGIC = b"\x00\x00\x08"


def read_idx(path: Path, shape: Shape) -> npt.NDArray[np.uint8]:
    """Return the bytes in an IDX file, gzipped if its name ends in `.gz`, as an array of `shape`.

    They are unpacked directly into the array, so memory never holds a second copy.

    Raises:
        UsageError: the file is damaged, cut short, too long, or of another shape.
    """
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            return _read(file, path, shape)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise UsageError(f"{path} is damaged or cut short: {error}") from error


def _read(file: gzip.GzipFile | BufferedReader, path: Path, shape: Shape) -> npt.NDArray[np.uint8]:
    head = file.read(4 + 4 * len(shape))
    if len(head) < 4 + 4 * len(shape) or head[:3] != _BYTES_MAGIC or head[3] != len(shape):
        raise UsageError(
            f"{path} is not an IDX file of bytes with {len(shape)} dimensions: it begins with {head[:4].hex()}."
        )

    # The shape is checked before memory is taken, so a wrong file cannot ask for a huge array.
    found = tuple(int.from_bytes(head[at : at + 4], "big") for at in range(4, len(head), 4))
    if found != shape:
        said, wanted = ("x".join(map(str, s)) for s in (found, shape))
        raise UsageError(f"{path} holds {said} values, but {wanted} are expected.")

    values = np.empty(math.prod(shape), dtype=np.uint8)

    # A read may return fewer bytes than are wanted; 0 means the end of the file.
    left = values.data
    while left and (count := file.readinto(left)):
        left = left[count:]

    if len(left):
        raise UsageError(f"{path} is cut short: {len(left)} of {len(values)} values are missing.")
    if file.read(1):
        raise UsageError(f"{path} holds more than the {len(values)} values that its header declares.")

    return values.reshape(shape)
