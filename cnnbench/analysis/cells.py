"""Join records to cells: all rounds of one case, and their samples without the rejected ones."""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from dataclasses import dataclass

from cnnbench.record import Record, RecordedWarning, Run, Status
from cnnbench.sample_pairs import kept_samples
from cnnbench.spec import Case, Task
from cnnbench.store import finished_records
from cnnbench.text import one_line

# The tasks whose cells are timed and compared.
TIMED: tuple[Task, ...] = ("infer", "train")

# Environment counters that are read with every sample, by which disturbed samples are rejected.
COUNTERS = ("cpu_share", "steal_share")

# One time that a group of cells was measured: the index of the record file, and the number of the round.
Round = tuple[int, int]


@dataclass(frozen=True, kw_only=True, slots=True)
class Cell:
    """One case without seed and budget, and the records of its rounds in the order of recording.

    `files` holds the index of the file of each record, since the rounds of several runs all count. `refused` is why
    the analysis does not accept the numbers. `doubts` are the warnings that it adds to the recorded ones.
    """

    case: Case
    records: tuple[Record, ...]
    files: tuple[int, ...]
    refused: str | None = None
    doubts: tuple[RecordedWarning, ...] = ()

    @property
    def measured(self) -> tuple[Record, ...]:
        """Return the records of the rounds that succeeded."""
        return tuple(record for record in self.records if record.status == "ok")

    @property
    def broken(self) -> tuple[Record, ...]:
        """Return the records of the rounds that failed."""
        return tuple(record for record in self.records if record.status != "ok")

    @property
    def status(self) -> Status:
        """`invalid` if the numbers were refused, `ok` if any round is ok, else the status of the first round."""
        if self.refused is not None:
            return "invalid"
        return "ok" if self.measured else self.records[0].status

    @property
    def error(self) -> str | None:
        """Why the cell is not ok, on one line; None if it is ok, or if no reason was recorded."""
        if self.status == "ok":
            return None
        reason = self.refused or next((record.error for record in self.broken if record.error), None)
        return None if reason is None else one_line(reason)

    @property
    def warnings(self) -> tuple[RecordedWarning, ...]:
        """Return the warnings of the cell: those of its rounds, one more if some rounds failed, and the `doubts`."""
        found = dict.fromkeys(warning for record in self.records for warning in record.warnings)
        if self.status == "ok" and self.broken:
            found[_round_failed(self)] = None
        return (*found, *self.doubts)

    def samples(self, quantity: str) -> list[float]:
        """Return the samples of `quantity` over all good rounds, without those of rejected blocks."""
        return [value for record in self.measured for _, value in kept_samples(record, quantity)]

    @property
    def rounds(self) -> dict[Round, Record]:
        """Return the good records by file and round, in time order; records with equal keys were measured together."""
        return {
            (file, record.round): record
            for file, record in zip(self.files, self.records, strict=True)
            if record.status == "ok"
        }

    def rejected(self) -> int | None:
        """Return how many samples were rejected in all good rounds; None if no environment counter was read."""
        return count_rejected(self.measured)

    def middle(self, quantity: str) -> float | None:
        """Return the median of `quantity` over all good rounds; None if it was not measured."""
        samples = self.samples(quantity)
        return statistics.median(samples) if samples else None

    def throughput(self) -> float | None:
        """Return images a second, stalls included: the images of all samples over the time of all samples."""
        images, seconds = 0, 0.0
        for record in self.measured:
            found = record.find("sample_s")
            # A sample is one timed region of several iterations, each over one batch.
            for _, value in kept_samples(record, "sample_s"):
                images += self.case.batch_size * (found.iterations_per_sample if found else 0)
                seconds += value
        return images / seconds if seconds > 0 else None


def gather(files: Iterable[Iterable[Record | Run]]) -> tuple[Cell, ...]:
    """Return the cells of all records, in order of first appearance, given the items of each record file.

    Within a file, a record replaces an earlier one of the same case and round; records of several files are further
    rounds. A record that is in several files, such as in a copied folder, counts once.
    """
    # The inner keys are the records themselves, so an equal record of a later file keeps the first file's index.
    by_case: dict[Case, dict[Record, int]] = {}
    for at, items in enumerate(files):
        for record in finished_records(items).values():
            by_case.setdefault(record.case.key(), {}).setdefault(record, at)
    return tuple(
        Cell(case=case, records=tuple(records), files=tuple(records.values())) for case, records in by_case.items()
    )


def count_rejected(records: Iterable[Record]) -> int | None:
    """Return how many samples were rejected in `records`; None if no environment counter was read."""
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
