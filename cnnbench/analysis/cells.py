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

Place = tuple[int, int, int]
"""Where a sample was taken, which is what pairs it: seed, launch and block."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Cell:
    """One case without seed and budget, and what its launches gave, in the order in which they were recorded."""

    case: Case
    records: tuple[Record, ...]

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
        states = [record.status for record in self.records]
        return next((state for state in ("invalid", "ok") if state in states), states[-1])

    @property
    def cautions(self) -> tuple[Caution, ...]:
        """What to know about the cell: its launches' cautions, and one if some launches failed and others did not."""
        found = dict.fromkeys(caution for record in self.records for caution in record.cautions)
        if self.status == "ok" and self.broken:
            found[_launch_failed(self)] = None
        return tuple(found)

    def samples(self, quantity: str) -> list[float]:
        """Return the samples of `quantity` over all good launches, voided blocks left out."""
        return [value for record in self.measured for _, value in kept(record, quantity)]

    def placed(self, quantity: str) -> dict[Place, float]:
        """Return the samples of `quantity` by seed, launch and block."""
        return {
            (record.case.seed, record.launch, block): value
            for record in self.measured
            for block, value in kept(record, quantity)
            if block is not None
        }

    def middle(self, quantity: str) -> float | None:
        """Return the median of `quantity` over all good launches, None where it was not measured."""
        samples = self.samples(quantity)
        return statistics.median(samples) if samples else None

    def throughput(self) -> float | None:
        """Return images a second over whole samples, stalls included: the median of batch * iterations / sample."""
        rates = [
            self.case.batch_size * found.units / value
            for record in self.measured
            if (found := record.find("sample_s")) is not None
            for _, value in kept(record, "sample_s")
            if value > 0
        ]
        return statistics.median(rates) if rates else None


def gather(items: Iterable[Record | Run]) -> tuple[Cell, ...]:
    """Return the cells of all records, in order of first appearance; a record supersedes an earlier one of its case."""
    by_case: dict[Case, list[Record]] = {}
    for record in finished(items).values():
        by_case.setdefault(record.case.key(), []).append(record)
    return tuple(Cell(case=case, records=tuple(records)) for case, records in by_case.items())


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
