"""Define the report: rows and what is said about them, which is all that a writer sees."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cnnbench.analysis.layers import LayerTable
from cnnbench.analysis.lineup import Lineup
from cnnbench.analysis.noise import NoiseCard
from cnnbench.analysis.row import COLUMNS, Row
from cnnbench.analysis.warnings import RowWarning
from cnnbench.record import Environment

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, kw_only=True, slots=True)
class Totals:
    """Seconds that a run took: in all, in timed and warm-up passes, and in first calls of compiled variants."""

    wall_s: float
    passes_s: float | None = None
    compile_s: float | None = None

    @property
    def passes_share(self) -> float | None:
        """Share of the wall time, without compilation, that was inside passes; None if it is not known."""
        rest = self.wall_s - (self.compile_s or 0.0)
        return None if self.passes_s is None or rest <= 0 else self.passes_s / rest


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """Everything that a report says, in SI units.

    `started` is UTC in ISO 8601. `reference` is what was asked for: `MODEL`, `MODEL/VARIANT`, or None for each model's
    own `eager`. `threads` are pairs of a device and its number of threads. `noise` is None if nothing was timed.
    `differences` are the sentences of `summary` that compare rows with their reference. `tested` names the variants
    that top-1 was tested with, if rows of other variants show it, too. `training` are the notes from training models
    for that test, `counting` those from counting parameters and multiply-adds; `notes` are all other facts without
    advice. `layers` say where the time of models goes. `lineups` rank the models. `partial` is how far the run got,
    None if it ended by itself.
    """

    title: str
    command: str
    started: str
    reference: str | None
    environment: Environment
    threads: tuple[tuple[str, int], ...]
    noise: NoiseCard | None
    rows: tuple[Row, ...]
    summary: tuple[str, ...]
    differences: tuple[str, ...]
    warnings: tuple[RowWarning, ...]
    notes: tuple[str, ...]
    tested: tuple[str, ...]
    training: tuple[str, ...]
    counting: tuple[str, ...]
    totals: Totals | None
    layers: tuple[LayerTable, ...] = ()
    lineups: tuple[Lineup, ...] = ()
    partial: str | None = None

    @property
    def headlines(self) -> tuple[str, ...]:
        """Return what to read before any number: that other programs used the cores, or that the run was cut short."""
        busy = None if self.noise is None else self.noise.busy
        lines = []
        if busy is not None:
            lines.append(
                f"BUSY MACHINE: {busy}. Do not trust the latencies; ratios hold within their intervals, which are "
                "wide. Close other programs and run again."
            )
        if self.partial is not None:
            lines.append(f"PARTIAL RESULT: {self.partial}. Intervals are wider than those of the whole run.")
        return tuple(lines)

    def to_dataframe(self) -> pd.DataFrame:
        """Return the rows as a pandas table with the columns of `report.csv`, missing values as None."""
        import pandas as pd

        table: Any = [[getattr(row, name) for name in COLUMNS] for row in self.rows]
        return pd.DataFrame(table, columns=list(COLUMNS))
