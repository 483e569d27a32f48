"""Table that fills during a run: every measured cell, with its verdict so far."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import replace

from cnnbench.analysis import Row, analyse
from cnnbench.record import Record, Run
from cnnbench.report.text.table import Table, main_table
from cnnbench.spec import CnnbenchError

# Columns of the live table, which must fit beside each other on most terminals.
SHOWN = ("Model", "Variant", "Device", "Batch", "Task", "Latency", "Speed-up", "Verdict", "Status")

# The table is made again one second after the last time at the earliest, and later if making it takes long. It shares
# the cores with the workers, so it may take at most a fiftieth of the time.
LEAST_APART_S = 1.0
COST_SHARE = 0.02


class LiveTable:
    """What a run has measured so far; verdicts rest on the rounds so far and may change with later ones."""

    def __init__(self, items: Iterable[Record | Run], now: Callable[[], float] = time.monotonic) -> None:
        """Start with the items that an earlier part of the run left."""
        self._items = list(items)
        self._now = now
        self._next = 0.0
        self._old = True

    def add(self, record: Record) -> None:
        """Add a record."""
        self._items.append(record)
        self._old = True

    def next_table(self) -> Table | None:
        """Return the table if there is something new to show and it is time to show it, or None otherwise."""
        begin = self._now()
        if not self._old or begin < self._next:
            return None

        self._old = False
        rows: tuple[Row, ...] = ()
        with suppress(CnnbenchError):  # too few records so far; an error that remains is reported at the end
            rows = analyse(self._items).rows

        # The pause grows with the time that the analysis took, so that the share of time stays below `COST_SHARE`.
        end = self._now()
        self._next = end + max(LEAST_APART_S, (end - begin) / COST_SHARE)
        return _select_columns(main_table([row for row in rows if row.latency_s is not None]))


def _select_columns(table: Table) -> Table:
    """Return `table` with the columns that fit beside each other."""
    kept = [at for at, heading in enumerate(table.headings) if heading in SHOWN]
    return replace(
        table,
        headings=tuple(table.headings[at] for at in kept),
        right=tuple(table.right[at] for at in kept),
        cells=tuple(tuple(row[at] for at in kept) for row in table.cells),
        fields=tuple(table.fields[at] for at in kept),
    )
