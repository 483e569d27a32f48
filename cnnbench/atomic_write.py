"""Write files whole or not at all, and turn a failed write into an error for the user."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from cnnbench.spec import CnnbenchError

RECORDS_STAY = "The records are not touched."


def replace_file(path: Path, content: bytes) -> None:
    """Write `content` to `path`, whole or not at all; an existing file keeps its permissions.

    Raises:
        OSError: the file cannot be written; what was there before is unchanged.
    """
    with replacing(path) as part, part.open("wb") as file:
        file.write(content)
        file.flush()
        # Without fsync, a power failure after the rename could leave an empty file.
        os.fsync(file.fileno())


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield the path of a new file that replaces `path` when the block ends, and that is deleted if the block fails."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # Replacing is one step only within a file system. The process id keeps two writers of the same file apart.
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield part
        if path.exists():
            part.chmod(path.stat().st_mode & 0o777)
        part.replace(path)
    finally:
        with suppress(OSError):  # it was renamed, or never written
            part.unlink()


def write_error(path: Path, error: OSError, advice: str = "") -> CnnbenchError:
    """Return the error for the user whose file cannot be written; `advice` says what happened to the rest."""
    return CnnbenchError(f"Cannot write '{path}': {error.strerror or error}. {advice}".rstrip())


@contextmanager
def writing_into(folder: Path, advice: str = RECORDS_STAY) -> Iterator[None]:
    """Create `folder` for the files that the block writes into it.

    Raises:
        CnnbenchError: a file cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        raise CnnbenchError(f"Cannot write into '{folder}': {error.strerror or error}. {advice}".rstrip()) from error
