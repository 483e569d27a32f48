"""Check what only all records together show: wrong outputs, many rejected samples, impossible speed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from cnnbench.analysis.cells import TIMED, Cell
from cnnbench.analysis.roofline_of_cells import Counts, roof_violation
from cnnbench.analysis.row import NUMERICS_FAILED
from cnnbench.analysis.side_cells import Controls
from cnnbench.record import DISTURBED, Record, RecordedWarning

# Share of rejected samples above which a row has a warning: the rest may be disturbed, too (docs/measurement.md).
MOST_VOIDED = 0.2


def review_cells(cells: Sequence[Cell], controls: Controls, counts: Counts) -> tuple[Cell, ...]:
    """Return the `cells`; those that are timed carry the warnings and the refusal that the checks give."""
    return tuple(_review_cell(cell, controls, counts) if cell.case.task in TIMED else cell for cell in cells)


def _review_cell(cell: Cell, controls: Controls, counts: Counts) -> Cell:
    if cell.status != "ok":
        return cell
    doubts = tuple(doubt for doubt in (_wrong(cell, controls), _disturbance_warning(cell)) if doubt is not None)
    return replace(cell, refused=roof_violation(cell, controls, counts), doubts=doubts)


def scores_wrong(cell: Cell) -> bool:
    """Return whether a reviewed cell failed the numerical check, so that its speed is of no use."""
    return any(doubt.code == NUMERICS_FAILED for doubt in cell.doubts)


def _wrong(cell: Cell, controls: Controls) -> RecordedWarning | None:
    """Return a warning if the outputs of a cell differ from those in fp64 by more than is allowed."""
    found = controls.of(cell, "numerics")
    if found is None:
        return None
    facts = [fact for record in found.measured if (fact := _error_excess(record))]
    # An invalid check counts as failed, even if no round recorded an error.
    if found.status == "invalid":
        facts.append(found.error or "its numerical check was invalid")
    if not facts:
        return None
    advice = "Its speed-up is not shown, because its outputs failed the numerical check."
    return RecordedWarning(code=NUMERICS_FAILED, fact=facts[0], advice=advice)


def _error_excess(record: Record) -> str | None:
    for error, allowed in zip(record.samples("max_relative_error"), record.samples("numerics_allowed"), strict=False):
        if error > allowed:
            return f"its largest relative error against fp64 is {error:.2g}, and {allowed:.2g} is allowed"
    return None


def _disturbance_warning(cell: Cell) -> RecordedWarning | None:
    # `rejected` is None on systems without environment counters: nothing is known to be disturbed there.
    rejected, count = cell.rejected(), sum(len(record.samples("latency_s")) for record in cell.measured)
    if not rejected or rejected <= MOST_VOIDED * count:
        return None
    return RecordedWarning(
        code="disturbed",
        fact=f"{rejected} of {count} samples were rejected, because the system gave the cores to other processes",
        advice=DISTURBED,
    )
