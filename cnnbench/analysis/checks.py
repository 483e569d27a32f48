"""Doubts that only all records together can raise: wrong scores, many rejected samples, more speed than there is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from cnnbench.analysis.controls import Controls
from cnnbench.analysis.join import TIMED, Cell
from cnnbench.analysis.roofline_of_cells import Counts, beyond_roof
from cnnbench.analysis.row import NUMERICS_FAILED
from cnnbench.record import DISTURBED, Record, RecordedWarning

# Share of rejected samples above which a row is marked: what is left may be disturbed too (docs/measurement.md).
MOST_VOIDED = 0.2


def reviewed(cells: Sequence[Cell], controls: Controls, counts: Counts) -> tuple[Cell, ...]:
    """Return the timed `cells` with what there is to doubt about them."""
    return tuple(_reviewed(cell, controls, counts) if cell.case.task in TIMED else cell for cell in cells)


def _reviewed(cell: Cell, controls: Controls, counts: Counts) -> Cell:
    if cell.status != "ok":
        return cell
    doubts = tuple(doubt for doubt in (_wrong(cell, controls), _disturbed(cell)) if doubt is not None)
    return replace(cell, refused=beyond_roof(cell, controls, counts), doubts=doubts)


def scores_wrong(cell: Cell) -> bool:
    """Return whether a reviewed cell's scores are wrong, so that its speed is of no use."""
    return any(doubt.code == NUMERICS_FAILED for doubt in cell.doubts)


def _wrong(cell: Cell, controls: Controls) -> RecordedWarning | None:
    """Return the warning of a cell whose scores were compared with fp64 and are further off than allowed."""
    found = controls.of(cell, "numerics")
    if found is None:
        return None
    facts = [fact for record in found.measured if (fact := _too_far_off(record))]
    if found.status == "invalid":
        facts.append(found.error or "its numerical check was invalid")
    if not facts:
        return None
    advice = "Its speed-up is not shown: a model that computes something else is not a faster one."
    return RecordedWarning(code=NUMERICS_FAILED, fact=facts[0], advice=advice)


def _too_far_off(record: Record) -> str | None:
    for error, allowed in zip(record.samples("max_relative_error"), record.samples("numerics_allowed"), strict=False):
        if error > allowed:
            return f"its largest relative error against fp64 is {error:.2g}, and {allowed:.2g} is allowed"
    return None


def _disturbed(cell: Cell) -> RecordedWarning | None:
    rejected, count = cell.rejected(), sum(len(record.samples("latency_s")) for record in cell.measured)
    if not rejected or rejected <= MOST_VOIDED * count:
        return None
    return RecordedWarning(
        code="disturbed",
        fact=f"{rejected} of {count} samples were rejected, because the system gave the cores to others meanwhile",
        advice=DISTURBED,
    )
