"""Read and extend the history of gates: a CSV file that shows earlier results and is never used to judge."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cnnbench.atomic_write import write_error
from cnnbench.spec import UsageError

# Columns of the CSV of a gate and of a history, which has a row for each cell of each gate. Slowdowns are shares: 0.1
# takes 10 % longer. low and high are each one-sided at 99 %. started is UTC in ISO 8601.
HISTORY_COLUMNS = (
    *("started", "model", "variant", "batch_size", "verdict", "slowdown", "slowdown_low", "slowdown_high"),
    *("again", "again_low", "again_high", "base_latency_s", "head_latency_s", "base", "head", "threshold"),
    *("cpu", "torch", "sentence"),
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Past:
    """What an earlier gate found for a cell, with its time, its revisions and its machine.

    `slowdown` is a share, None if there was none. `variant` and `batch_size` are None if a side lacked the model.
    """

    started: str
    model: str
    variant: str | None
    batch_size: int | None
    verdict: str
    slowdown: float | None
    base: str
    head: str
    cpu: str


def load(path: Path) -> tuple[Past, ...]:
    """Return the rows of the history at `path`, oldest first; a file that does not exist yet has none.

    Raises:
        UsageError: the file cannot be read or is not a history; the message names the line.
    """
    if not path.exists():
        return ()

    # Line numbers are kept for error messages. They are not row numbers, because a quoted field may span lines.
    try:
        rows = csv.reader(io.StringIO(path.read_text(encoding="utf-8")))
        lines = [(rows.line_num, row) for row in rows if row]
    except OSError as error:
        raise UsageError(f"Cannot read '{path}': {error.strerror}.") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"'{path}' is not a history of gates: {error}. Give another file.") from error

    # A file with another header belongs to something else, and rows must not be appended to it later.
    if lines and tuple(lines[0][1]) != HISTORY_COLUMNS:
        raise UsageError(f"'{path}' is not a history of gates: it lacks the header of a gate.csv. Give another file.")
    return tuple(_past(path, number, row) for number, row in lines[1:])


def append(path: Path, gate_csv: str) -> None:
    """Append the rows of a gate's CSV to the history, and write the header if the file is empty or new.

    Raises:
        CnnbenchError: the file cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        there = path.read_bytes() if path.exists() else b""
        rows = gate_csv if not there.strip() else gate_csv.partition("\n")[2]
        # A last line without a line end, as some editors leave it, would run into the first new row.
        with path.open("ab") as file:
            file.write((b"\n" if there and not there.endswith(b"\n") else b"") + rows.encode())
    except OSError as error:
        kept = "The verdict stands; its rows are in the run folder's gate.csv."
        raise write_error(path, error, kept) from error


def _past(path: Path, number: int, row: Sequence[str]) -> Past:
    try:
        # `strict` makes a row with too few or too many fields a ValueError, as a bad number is.
        cell = dict(zip(HISTORY_COLUMNS, row, strict=True))
        return Past(
            **{name: cell[name] for name in ("started", "model", "verdict", "base", "head", "cpu")},
            variant=cell["variant"] or None,
            batch_size=int(cell["batch_size"]) if cell["batch_size"] else None,
            slowdown=float(cell["slowdown"]) if cell["slowdown"] else None,
        )
    except ValueError as error:
        what = f"'{path}', line {number}: not a row of a gate: {error}"
        raise UsageError(f"{what}. Restore or delete the line.") from error
