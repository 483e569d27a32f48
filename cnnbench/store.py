"""Store records: append them to `records.jsonl` one whole line at a time, and load them again."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec

from cnnbench.record import FORMAT_VERSION, Record, RecordedWarning, Run, from_json, to_json
from cnnbench.spec import Case, CnnbenchError, UsageError

# Name of the file in a run folder from which everything else is derived.
RECORDS_NAME = "records.jsonl"

_CHUNK = 1 << 16


@dataclass(frozen=True, kw_only=True, slots=True)
class Loaded:
    """Content of a record file in the order of writing, and warnings about the file."""

    items: tuple[Record | Run, ...]
    warnings: tuple[RecordedWarning, ...] = ()

    @property
    def records(self) -> tuple[Record, ...]:
        """Return the records among the items."""
        return tuple(item for item in self.items if isinstance(item, Record))


class _Version(msgspec.Struct):
    format: int = 0


class _VersionLine(msgspec.Struct):
    record: _Version | None = None
    run: _Version | None = None


@dataclass(frozen=True, slots=True)
class Store:
    """A record file; `path` is a `records.jsonl`, or the run folder that holds (or will hold) it."""

    path: Path

    @property
    def file(self) -> Path:
        """Return the record file itself."""
        return records_file(self.path)

    def load(self) -> Loaded:
        """Return what was written so far, or nothing if the file does not exist yet.

        Raises:
            UsageError: a line is not a record, or a newer cnnbench wrote it; the message names file, line and field.
        """
        return _parse(self.file) if self.file.exists() else Loaded(items=())

    @contextmanager
    def only_writer(self) -> Iterator[None]:
        """Keep other runs from writing to the file within the block; a process that dies gives it free.

        Raises:
            UsageError: another run writes to it now.
            CnnbenchError: the file cannot be created.
        """
        path = self.file
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise CnnbenchError(_cannot_write(path, error)) from error

        # The kernel takes the lock back when the process ends, however it ends.
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(handle)
            raise UsageError(
                f"Another run writes into '{path.parent}' now. Wait until it has ended, or use another --output."
            ) from error
        except OSError:
            pass  # this file system has no locks

        try:
            yield
        finally:
            os.close(handle)

    def append(self, item: Record | Run) -> None:
        """Write `item` as one whole line and wait until it is on the disk; cut off a torn last line first.

        Raises:
            CnnbenchError: the disk is full, or the file cannot be written; the message says what is kept.
        """
        path = self.file
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            # Also readable, because a torn last line is looked for; appending keeps all earlier lines.
            handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
            try:
                _append_line(handle, to_json(item))
            finally:
                os.close(handle)
        except OSError as error:
            raise CnnbenchError(_cannot_write(path, error)) from error


def load(path: Path) -> Loaded:
    """Return the records and runs in `path`, a `records.jsonl` or a run folder.

    Raises:
        UsageError: there is no record, a line is not a record, or a newer cnnbench wrote it.
    """
    file = records_file(path)
    if not file.is_file():
        missing = f"'{path}' has no {RECORDS_NAME}" if path.is_dir() else f"'{path}' does not exist"
        raise UsageError(
            f"{missing}. Give a run folder or a {RECORDS_NAME}; `cnnbench compare MODEL... --output {path}` writes one."
        )

    # A run that was stopped before its first record leaves an empty file.
    loaded = _parse(file)
    if not loaded.items:
        raise UsageError(f"'{file}' holds no record yet. Resume its run with `--output {file.parent}`.")
    return loaded


def records_file(path: Path) -> Path:
    """Return `path` itself if it is a file or ends in .jsonl, else the record file in that folder."""
    return path if path.is_file() or path.suffix == ".jsonl" else path / RECORDS_NAME


def finished_records(items: Iterable[Record | Run]) -> dict[tuple[Case, int], Record]:
    """Return the records of one file by case identity and round, in order of first appearance.

    The last record of a case and a round wins, whatever its status.
    """
    return {(item.case.identity(), item.round): item for item in items if isinstance(item, Record)}


def _parse(file: Path) -> Loaded:
    try:
        content = file.read_bytes()
    except OSError as error:
        raise UsageError(f"Cannot read '{file}': {error.strerror}.") from error

    # A line end at the end of the file leaves an empty text behind the last line.
    lines = content.split(b"\n")
    last = len(lines) - (1 if lines[-1] else 2)
    items: list[Record | Run] = []

    for at, line in enumerate(lines):
        if not line.strip():
            continue

        # Only the last line can be torn by an interruption; a bad line before it is an error.
        if at == last and _is_torn(line):
            return Loaded(items=tuple(items), warnings=(_torn_warning(file, at + 1),))
        items.append(_decode(line, file, at + 1))

    return Loaded(items=tuple(items))


def _decode(line: bytes, file: Path, number: int) -> Record | Run:
    # A record of another format may not fit the types, so its version is then read by itself.
    try:
        item = from_json(line)
        version, problem = item.format, ""
    except ValueError as error:
        version, problem = _version(line), str(error)

    # 0 means that the line has no version, so it is no record of any format.
    if version not in (0, FORMAT_VERSION):
        raise UsageError(
            f"'{file}', line {number}: record format {version}, written by a newer cnnbench; this one reads format "
            f"{FORMAT_VERSION}. Upgrade: `pip install --upgrade cnnbench`."
        )

    if problem:
        raise UsageError(f"'{file}', line {number}: not a record: {problem}. Restore or delete the line.")

    return item


def _version(line: bytes) -> int:
    """Return the format version of a line that could not be read, or 0 if it has none."""
    try:
        parsed = msgspec.json.decode(line, type=_VersionLine)
    except (ValueError, RecursionError):
        return 0
    return max(part.format if part else 0 for part in (parsed.record, parsed.run))


def _is_torn(line: bytes) -> bool:
    """Return whether `line` is not valid JSON; the last character closes a record, so no torn record is valid."""
    try:
        msgspec.json.decode(line)
    except ValueError:
        return True
    except RecursionError:  # a whole line, but no record
        return False
    return False


def _torn_warning(file: Path, number: int) -> RecordedWarning:
    return RecordedWarning(
        code="torn_line",
        fact=f"'{file}', line {number}, the last one, is incomplete: the run was interrupted while writing it",
        advice="It is left out; resume the run to measure its case again.",
    )


def _append_line(handle: int, line: bytes) -> None:
    """Write one line at the end of the file, whole or not at all."""
    size = _cut_torn_end(handle)
    try:
        rest = memoryview(line + b"\n")
        while rest:  # one write may take only a part, for example on a disk that is nearly full
            rest = rest[os.write(handle, rest) :]
        os.fsync(handle)
    except OSError:
        os.ftruncate(handle, size)
        raise


def _cut_torn_end(handle: int) -> int:
    """Cut off a torn last line, or add the line end that a whole one lacks, and return the new size in bytes."""
    size = os.fstat(handle).st_size
    if size == 0:
        return 0

    start, last = _last_line(handle, size)
    if last.strip() and _is_torn(last):
        os.ftruncate(handle, start)
        return start

    # A line that lacks only its line end is whole: an editor may have left it so.
    if not last.endswith(b"\n"):
        size += os.write(handle, b"\n")
    return size


def _last_line(handle: int, size: int) -> tuple[int, bytes]:
    """Return the offset of the last line and the line with its end; read backwards only as far as needed."""
    start, tail = size, b""

    while start > 0:
        step = min(_CHUNK, start)
        start -= step
        tail = os.pread(handle, step, start) + tail
        # The line end of the last line itself does not count.
        cut = tail.rfind(b"\n", 0, len(tail) - 1)
        if cut >= 0:
            return start + cut + 1, tail[cut + 1 :]
    return 0, tail


def _cannot_write(path: Path, error: OSError) -> str:
    # The file is counted as it is on the disk; other lines than records describe runs.
    try:
        kept = sum(1 for line in path.read_bytes().split(b"\n") if line.startswith(b'{"record"'))
    except OSError:
        kept = 0
    count = f"{kept or 'no'} record{'s are' if kept > 1 else ' is'}"
    return (
        f"Cannot write '{path}': {error.strerror}. Measured and kept so far: {count} in that file. "
        f"Make room or choose another folder, then resume with `--output {path.parent}`."
    )
