"""Doubts that only the whole of the records can raise: drift within a cell, wrong scores, more speed than there is."""

from __future__ import annotations

import statistics
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import replace

from cnnbench.analysis.asides import Asides
from cnnbench.analysis.cells import TIMED, Cell, kept
from cnnbench.analysis.comparison import Comparison, Comparisons
from cnnbench.analysis.roof import Counts, beyond_roof
from cnnbench.analysis.row import NUMERICS_FAILED
from cnnbench.record import Caution, Record
from cnnbench.spec import Device
from cnnbench.stats import FEWEST_FOR_INTERVAL, WIDTH_CUDA, WIDTH_QUIET, WIDTH_SHARED, is_quiet

DRIFT = 0.02
"""Shift of the median from the first to the second half of the blocks that gives the warning `drifting`: as much as the
half-width at which measuring stops on a processor. Our choice."""

FEWEST_IN_HALF = FEWEST_FOR_INTERVAL
"""Samples in each half below which their medians say nothing: those below which no interval is told either."""


def reviewed(cells: Sequence[Cell], asides: Asides, counts: Counts) -> tuple[Cell, ...]:
    """Return the timed `cells` with what there is to doubt about them."""
    return tuple(_reviewed(cell, asides, counts) if cell.case.task in TIMED else cell for cell in cells)


def _reviewed(cell: Cell, asides: Asides, counts: Counts) -> Cell:
    if cell.status != "ok":
        return cell
    doubts = tuple(doubt for doubt in (_wrong(cell, asides), _drifting(cell)) if doubt is not None)
    return replace(cell, refused=beyond_roof(cell, asides, counts), doubts=doubts)


def settled(cells: Sequence[Cell], comparisons: Comparisons) -> tuple[Cell, ...]:
    """Return `cells`, those marked `precise` whose effect over launches is known as precisely as was aimed at.

    A launch is judged by its own interval while it is measured, before there are others.
    """
    return tuple(
        replace(cell, precise=True)
        if (found := comparisons.by_case.get(cell.case)) is not None and _precise(found, cell.case.device)
        else cell
        for cell in cells
    )


def _precise(found: Comparison, device: Device) -> bool:
    half_width = found.effect.half_width
    aim = WIDTH_CUDA if device == "cuda" else WIDTH_QUIET if is_quiet(found.group.spread) else WIDTH_SHARED
    return found.effect.basis == "launches" and half_width is not None and half_width <= aim


def scores_wrong(cell: Cell) -> bool:
    """Return whether a reviewed cell's scores are wrong, so that its speed is of no use."""
    return any(doubt.code == NUMERICS_FAILED for doubt in cell.doubts)


def _wrong(cell: Cell, asides: Asides) -> Caution | None:
    """Return the caution of a cell whose scores were compared with fp64 and are further off than allowed."""
    found = asides.of(cell, "numerics")
    if found is None:
        return None
    facts = [fact for record in found.measured if (fact := _too_far_off(record))]
    if found.status == "invalid":
        facts.append(found.error or "its numerical check was invalid")
    if not facts:
        return None
    advice = "Its speed-up is not shown: a network that computes something else is not a faster one."
    return Caution(code=NUMERICS_FAILED, fact=facts[0], advice=advice)


def _too_far_off(record: Record) -> str | None:
    for error, allowed in zip(record.samples("numerics_error"), record.samples("numerics_allowed"), strict=False):
        if error > allowed:
            return f"its largest relative error against fp64 is {error:.2g}, and {allowed:.2g} is allowed"
    return None


def _drifting(cell: Cell) -> Caution | None:
    shift = drift(cell)
    if shift is None or abs(shift) <= DRIFT:
        return None
    way = "longer" if shift > 0 else "less"
    return Caution(
        code="drifting",
        fact=f"the second half of the blocks took {100 * abs(shift):.1f} % {way} than the first",
        advice=(
            "The machine changed while it was measured. Speed-ups are paired by block and bear it; for the latency, "
            "measure again when the machine has no other work, or with a larger --budget."
        ),
    )


def drift(cell: Cell) -> float | None:
    """Return the relative shift of the median latency from the first to the second half of the blocks, None if too few.

    Halves are those of each set of workers, whose samples are taken over the set's own median first, so that what tells
    sets apart is no drift.
    """
    early, late = list[float](), list[float]()
    for record in cell.measured:
        for samples in _by_set(record):
            middle, half = statistics.median(samples), len(samples) // 2
            early += [value / middle for value in samples[:half]]
            late += [value / middle for value in samples[len(samples) - half :]]
    if len(early) < FEWEST_IN_HALF:
        return None
    return statistics.median(late) / statistics.median(early) - 1


def _by_set(record: Record) -> list[list[float]]:
    """Return the latencies in time order by set of workers."""
    sets: dict[int, list[float]] = {}
    for block, value in kept(record, "latency_s"):
        sets.setdefault(0 if block is None else bisect_right(record.sets, block), []).append(value)
    return list(sets.values())
