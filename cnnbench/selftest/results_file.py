"""Keep the figures of the proof in a JSON file, which is rewritten for each figure and can be continued later."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from cnnbench import machine
from cnnbench._version import __version__
from cnnbench.atomic_write import replace_file, write_error
from cnnbench.quantities import show
from cnnbench.selftest import Figure
from cnnbench.spec import UsageError

# Version of the file's format. A file of another version is refused.
FORMAT_VERSION = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Head:
    """When and where the figures were measured; `date` is that of the first figure (UTC, ISO 8601)."""

    date: str
    machine: str
    torch: str
    cnnbench: str

    def lines(self) -> tuple[str, ...]:
        """Return the head as lines of text, one for each field."""
        return tuple(f"{field.name}: {getattr(self, field.name)}" for field in fields(self))


@dataclass(frozen=True, kw_only=True, slots=True)
class Kept:
    """The content of the file: all figures that share a head, in the order in which they were measured."""

    format: int = FORMAT_VERSION
    head: Head
    figures: tuple[Figure, ...] = ()


def head_now(now: datetime) -> Head:
    """Return the head of figures that are measured on this machine from `now` on."""
    # A container may have a quota of CPU time that is less than its cores give.
    quota = machine.cpu_quota()
    limit = "" if quota is None else f", quota {quota:g} cores"
    cores = machine.usable_cores()
    return Head(
        date=now.astimezone(UTC).isoformat(timespec="seconds"),
        machine=f"{machine.cpu_name()}, {cores} usable core{'s' if cores > 1 else ''}{limit}, "
        f"{show(float(machine.memory_bytes()), 'bytes')}",
        torch=machine.version_of("torch"),
        cnnbench=__version__,
    )


def load(path: Path) -> Kept | None:
    """Return the content of the file, None if there is no file.

    Raises:
        UsageError: it is not a file of this kind; the message ends with the path of the bad field.
    """
    try:
        kept = msgspec.json.decode(path.read_bytes(), type=Kept)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise UsageError(f"Cannot read '{path}': {error.strerror}.") from error
    except msgspec.DecodeError as error:
        raise UsageError(f"'{path}' holds no selftest figures: {error}. Give a new file with --output.") from error

    # A file of another version may have the same fields with another meaning.
    if kept.format != FORMAT_VERSION:
        raise UsageError(
            f"'{path}' has format {kept.format}, but this cnnbench reads {FORMAT_VERSION}. Give a new file."
        )
    return kept


def check_same(kept: Kept, head: Head, path: Path) -> None:
    """Refuse to add to figures of another machine or version, because they prove nothing about this one.

    Raises:
        UsageError: the message names the first difference.
    """
    for field in fields(head):
        then, now = getattr(kept.head, field.name), getattr(head, field.name)
        if field.name != "date" and then != now:
            raise UsageError(f"'{path}' has figures with {field.name} {then}, but here it is {now}. Give a new file.")


def save(path: Path, kept: Kept) -> None:
    """Write the file so that it is complete at any moment.

    Raises:
        CnnbenchError: the file cannot be written.
    """
    try:
        replace_file(path, to_json(kept))
    except OSError as error:
        raise write_error(path, error) from error


def to_json(kept: Kept) -> bytes:
    """Return the bytes of the file, with a newline at the end."""
    return msgspec.json.format(msgspec.json.encode(kept), indent=2) + b"\n"


def rows(figures: Sequence[Figure]) -> list[tuple[object, ...]]:
    """Return one row for each figure, with the values of `COLUMNS`."""
    return [
        (
            figure.id,
            figure.part or None,
            figure.form,
            figure.load,
            # What it found, as people read it; an empty text is an empty cell.
            figure.found.measured,
            figure.found.shown or None,
            figure.found.bound or None,
            word(figure.holds),
            f"{figure.seconds:.1f} s",
            figure.found.reason or None,
        )
        for figure in figures
    ]


COLUMNS = ("id", "part", "form", "load", "measured", "found", "bound", "holds", "took", "reason")


def word(holds: bool | None) -> str:  # noqa: FBT001  # what is translated
    """Return in a word whether a bound held."""
    return {True: "yes", False: "NO", None: "not run"}[holds]
