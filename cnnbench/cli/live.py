"""The table that fills while a run goes on: rows that are done, with their verdicts, and those being measured."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import replace

from cnnbench.analysis import Row, analyse
from cnnbench.analysis.shown import Table, main_table
from cnnbench.orchestrator.hooks import Live
from cnnbench.record import Record, Run
from cnnbench.spec import CnnbenchError

SHOWN = ("Model", "Variant", "Device", "Batch", "Task", "Latency", "Speed-up", "Verdict", "Status")
"""Columns of the live table, which must fit beside each other on most terminals."""

MEASURING = "measuring"


class LiveTable:
    """What a run has measured until now; verdicts are those of the rows so far, and may change with later ones."""

    def __init__(self, items: Iterable[Record | Run]) -> None:
        """Begin with what an earlier part of the run left."""
        self._items = list(items)
        self._rows: tuple[Row, ...] = ()
        self._old = True

    def keep(self, record: Record) -> None:
        """Add a record."""
        self._items.append(record)
        self._old = True

    def table(self, now: Sequence[Live] = ()) -> Table:
        """Return the rows that are done and those that are measured `now`."""
        if self._old:
            with suppress(CnnbenchError):  # too little until now: what is wrong is said at the end
                self._rows = analyse(self._items).rows
            self._old = False
        table = main_table([*(row for row in self._rows if row.latency_s is not None), *map(_row, now)])
        kept = [at for at, heading in enumerate(table.headings) if heading in SHOWN]
        return replace(
            table,
            headings=tuple(table.headings[at] for at in kept),
            right=tuple(table.right[at] for at in kept),
            cells=tuple(tuple(row[at] for at in kept) for row in table.cells),
            fields=tuple(table.fields[at] for at in kept),
        )


def _row(live: Live) -> Row:
    case = live.case
    return Row(
        model=case.model,
        variant=case.variant.name,
        device=case.device,
        batch_size=case.batch_size,
        task=case.task,
        status=f"{MEASURING} ({live.samples} samples)",
        latency_s=live.latency_s,
        latency_low_s=live.low_s,
        latency_high_s=live.high_s,
    )
