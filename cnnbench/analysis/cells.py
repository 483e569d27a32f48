"""Joins records to cells: all launches of one case, and their samples without the voided ones."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from cnnbench.analysis.words import one_line
from cnnbench.record import Caution, Measurement, Record, Run, Status
from cnnbench.spec import Case, Task
from cnnbench.store import finished

TIMED: tuple[Task, ...] = ("infer", "train")
"""The tasks whose cells are timed and compared."""

COUNTERS = ("cpu_share", "steal_share")
"""What is read of the environment with every sample, to void it where needed."""

PRECISION_NOT_REACHED = "precision_not_reached"
"""Code of the caution that an interval within one launch is wider than was aimed at."""

Execution = tuple[int, str, int, int]
"""One time that a group of cells was measured: the record file's index, when it started, its seed and its launch."""

Place = tuple[Execution, int]
"""Where a sample was taken, which is what pairs it: in which execution of its group, and in which block of that."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Cell:
    """One case without seed and budget, and what its launches gave, in the order in which they were recorded.

    `files` holds for each record the index of the file that it is from: launches of several runs are all launches.
    `refused` is why the analysis does not believe the numbers; `doubts` are the cautions that it adds to the recorded
    ones. `precise`: over all launches the interval is as narrow as was aimed at, whatever single ones gave.
    """

    case: Case
    records: tuple[Record, ...]
    files: tuple[int, ...]
    refused: str | None = None
    doubts: tuple[Caution, ...] = ()
    precise: bool = False

    @property
    def measured(self) -> tuple[Record, ...]:
        """The launches that went well."""
        return tuple(record for record in self.records if record.status == "ok")

    @property
    def broken(self) -> tuple[Record, ...]:
        """The launches that did not."""
        return tuple(record for record in self.records if record.status != "ok")

    @property
    def status(self) -> Status:
        """`invalid` if any launch is, as it puts the others in doubt; else `ok` if any is; else that of the last."""
        if self.refused is not None:
            return "invalid"
        states = [record.status for record in self.records]
        return next((state for state in ("invalid", "ok") if state in states), states[-1])

    @property
    def error(self) -> str | None:
        """Why the cell is not ok, on one line; None where it is, or where no reason was recorded."""
        if self.status == "ok":
            return None
        reason = self.refused or next((record.error for record in self.broken if record.error), None)
        return None if reason is None else one_line(reason)

    @property
    def cautions(self) -> tuple[Caution, ...]:
        """What to know about the cell: its launches' cautions, one if only some launches failed, and the `doubts`.

        That the aimed at precision was not reached is said once, as the first launch says it; not if `precise`.
        """
        found = dict.fromkeys(caution for record in self.records for caution in record.cautions)
        wide = [caution for caution in found if caution.code == PRECISION_NOT_REACHED]
        for caution in wide if self.precise else wide[1:]:
            del found[caution]
        if self.status == "ok" and self.broken:
            found[_launch_failed(self)] = None
        return (*found, *self.doubts)

    def samples(self, quantity: str) -> list[float]:
        """Return the samples of `quantity` over all good launches, voided blocks left out."""
        return [value for record in self.measured for _, value in kept(record, quantity)]

    def placed(self, quantity: str) -> dict[Place, float]:
        """Return the samples of `quantity` by the execution and block that they were taken in."""
        return {
            (execution, block): value
            for execution, record in self._executed()
            for block, value in kept(record, quantity)
            if block is not None
        }

    def voided(self) -> int | None:
        """Return how many samples environment counters rejected in all good launches; None where none was read."""
        return voided(self.measured)

    def sets(self) -> dict[Execution, tuple[int, ...]]:
        """Return for each execution the first block of each of its sets of workers, none where it had one set."""
        return {execution: record.sets for execution, record in self._executed()}

    def executions(self) -> frozenset[Execution]:
        """Return when the cell was measured: cells without a common execution were never measured together."""
        return frozenset(execution for execution, _ in self._executed())

    def _executed(self) -> Iterator[tuple[Execution, Record]]:
        """Yield the good launches, each with its execution: all records of one share when it started."""
        for file, record in zip(self.files, self.records, strict=True):
            if record.status == "ok":
                yield (file, record.started, record.case.seed, record.launch), record

    def middle(self, quantity: str) -> float | None:
        """Return the median of `quantity` over all good launches, None where it was not measured."""
        samples = self.samples(quantity)
        return statistics.median(samples) if samples else None

    def throughput(self) -> float | None:
        """Return images a second, stalls included: all images of the samples over the time of all samples."""
        images, seconds = 0, 0.0
        for record in self.measured:
            found = record.find("sample_s")
            for _, value in kept(record, "sample_s"):
                images += self.case.batch_size * (found.units if found else 0)
                seconds += value
        return images / seconds if seconds > 0 else None


def gather(files: Iterable[Iterable[Record | Run]]) -> tuple[Cell, ...]:
    """Return the cells of all records, in order of first appearance, given the items of each record file.

    Within a file a record supersedes an earlier one of its case; records of several files are further launches. A
    record that stands in several files, as in a copied folder, counts once.
    """
    by_case: dict[Case, dict[Record, int]] = {}
    for at, items in enumerate(files):
        for record in finished(items).values():
            by_case.setdefault(record.case.key(), {}).setdefault(record, at)
    return tuple(
        Cell(case=case, records=tuple(records), files=tuple(records.values())) for case, records in by_case.items()
    )


def voided(records: Iterable[Record]) -> int | None:
    """Return how many samples environment counters rejected in `records`; None where none was read."""
    watched, count = False, 0
    for record in records:
        watched = watched or any(record.find(counter) for counter in COUNTERS)
        latency = record.find("latency_s")
        count += 0 if latency is None else len(latency.voided)
    return count if watched else None


def _launch_failed(cell: Cell) -> Caution:
    first = cell.broken[0]
    reason = f": {one_line(first.error)}" if first.error else ""
    return Caution(
        code="launch_failed",
        fact=f"{len(cell.broken)} of {len(cell.records)} launches gave no measurement ({first.status}{reason})",
        advice="The row rests on the other launches; resume the run to repeat the failed ones.",
    )


def kept(record: Record, quantity: str) -> Iterator[tuple[int | None, float]]:
    """Yield block (None for a quantity seen once) and value of each sample that no environment counter rejected.

    A block that is voided for the latency is voided for everything that was timed in it.
    """
    found = record.find(quantity)
    if found is None:
        return
    latency = record.find("latency_s")
    voided_blocks = {block for block, _ in _voided(latency)} if latency else set()
    own = set(found.voided)
    for at, value in enumerate(found.samples):
        block = found.blocks[at] if at < len(found.blocks) else None
        if at not in own and (block is None or block not in voided_blocks):
            yield block, value


def _voided(measurement: Measurement) -> Iterator[tuple[int, float]]:
    for at in measurement.voided:
        if at < len(measurement.blocks):
            yield measurement.blocks[at], measurement.samples[at]
