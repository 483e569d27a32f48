"""Joins records to cells: all rounds of one case, and their samples without the rejected ones."""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from dataclasses import dataclass

from cnnbench.pairing import kept
from cnnbench.record import Record, RecordedWarning, Run, Status
from cnnbench.spec import Case, Task
from cnnbench.store import finished
from cnnbench.text import one_line

# The tasks whose cells are timed and compared.
TIMED: tuple[Task, ...] = ("infer", "train")

# What is read of the environment with every sample, to void it where needed.
COUNTERS = ("cpu_share", "steal_share")

# One time that a group of cells was measured: the record file's index, and the round.
Round = tuple[int, int]


@dataclass(frozen=True, kw_only=True, slots=True)
class Cell:
    """One case without seed and budget, and what its rounds gave, in the order in which they were recorded.

    `files` holds for each record the index of the file that it is from: rounds of several runs are all rounds.
    `refused` is why the analysis does not believe the numbers; `doubts` are the warnings that it adds to the recorded
    ones.
    """

    case: Case
    records: tuple[Record, ...]
    files: tuple[int, ...]
    refused: str | None = None
    doubts: tuple[RecordedWarning, ...] = ()

    @property
    def measured(self) -> tuple[Record, ...]:
        """The records of rounds that went well."""
        return tuple(record for record in self.records if record.status == "ok")

    @property
    def broken(self) -> tuple[Record, ...]:
        """The records of those that did not."""
        return tuple(record for record in self.records if record.status != "ok")

    @property
    def status(self) -> Status:
        """`ok` if any round is, `invalid` where the analysis does not believe it, else what went wrong first."""
        if self.refused is not None:
            return "invalid"
        return "ok" if self.measured else self.records[0].status

    @property
    def error(self) -> str | None:
        """Why the cell is not ok, on one line; None where it is, or where no reason was recorded."""
        if self.status == "ok":
            return None
        reason = self.refused or next((record.error for record in self.broken if record.error), None)
        return None if reason is None else one_line(reason)

    @property
    def warnings(self) -> tuple[RecordedWarning, ...]:
        """Return what to know about the cell: its rounds' warnings, one if some rounds failed, and the `doubts`."""
        found = dict.fromkeys(warning for record in self.records for warning in record.warnings)
        if self.status == "ok" and self.broken:
            found[_round_failed(self)] = None
        return (*found, *self.doubts)

    def samples(self, quantity: str) -> list[float]:
        """Return the samples of `quantity` over all good rounds, rejected blocks left out."""
        return [value for record in self.measured for _, value in kept(record, quantity)]

    @property
    def rounds(self) -> dict[Round, Record]:
        """The good records by file and round, in time order: those of equal keys were measured together."""
        return {
            (file, record.round): record
            for file, record in zip(self.files, self.records, strict=True)
            if record.status == "ok"
        }

    def rejected(self) -> int | None:
        """Return how many samples environment counters rejected in all good rounds; None where none was read."""
        return count_rejected(self.measured)

    def middle(self, quantity: str) -> float | None:
        """Return the median of `quantity` over all good rounds, None where it was not measured."""
        samples = self.samples(quantity)
        return statistics.median(samples) if samples else None

    def throughput(self) -> float | None:
        """Return images a second, stalls included: all images of the samples over the time of all samples."""
        images, seconds = 0, 0.0
        for record in self.measured:
            found = record.find("sample_s")
            for _, value in kept(record, "sample_s"):
                images += self.case.batch_size * (found.iterations_per_sample if found else 0)
                seconds += value
        return images / seconds if seconds > 0 else None


def gather(files: Iterable[Iterable[Record | Run]]) -> tuple[Cell, ...]:
    """Return the cells of all records, in order of first appearance, given the items of each record file.

    Within a file a record supersedes an earlier one of its case and round; records of several files are further rounds.
    A record that stands in several files, as in a copied folder, counts once.
    """
    by_case: dict[Case, dict[Record, int]] = {}
    for at, items in enumerate(files):
        for record in finished(items).values():
            by_case.setdefault(record.case.key(), {}).setdefault(record, at)
    return tuple(
        Cell(case=case, records=tuple(records), files=tuple(records.values())) for case, records in by_case.items()
    )


def count_rejected(records: Iterable[Record]) -> int | None:
    """Return how many samples environment counters rejected in `records`; None where none was read."""
    watched, count = False, 0
    for record in records:
        watched = watched or any(record.find(counter) for counter in COUNTERS)
        latency = record.find("latency_s")
        count += 0 if latency is None else len(latency.rejected)
    return count if watched else None


def _round_failed(cell: Cell) -> RecordedWarning:
    first = cell.broken[0]
    reason = f": {one_line(first.error)}" if first.error else ""
    return RecordedWarning(
        code="round_failed",
        fact=f"{len(cell.broken)} of {len(cell.records)} rounds gave no measurement ({first.status}{reason})",
        advice="The row rests on the other rounds.",
    )
