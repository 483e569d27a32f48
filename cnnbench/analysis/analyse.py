"""Records to a report: joins, checks, rows, warnings, notes and sentences."""

from __future__ import annotations

from collections.abc import Sequence

from cnnbench.analysis.cells import TIMED, Cell, gather, one_line
from cnnbench.analysis.comparable import check_environments, check_threads, references
from cnnbench.analysis.result import Report, RowCaution, Totals
from cnnbench.analysis.row import Row
from cnnbench.analysis.rows import make_rows
from cnnbench.analysis.select import Limits, sort_rows
from cnnbench.analysis.summary import summarise
from cnnbench.record import Record, Run
from cnnbench.spec import UsageError
from cnnbench.stats import FEWEST_FOR_P95, FEWEST_FOR_P99


def analyse(items: Sequence[Record | Run]) -> Report:
    """Return the report on `items`, all records and runs in the order in which they were written.

    Of several runs (one that was resumed, or several merged) the last one's options count; times are added up.

    Raises:
        UsageError: no records, records that must not be compared, or a column to sort by that is not there.
    """
    records = [item for item in items if isinstance(item, Record)]
    if not records:
        raise UsageError(
            "No case has been measured yet, so there is nothing to report. Resume the run to measure them."
        )
    runs = [item for item in items if isinstance(item, Run)]
    asked = runs[-1] if runs else Run(title="Benchmark", command="", started=records[0].started)
    check_environments(records)
    cells = gather(items)
    threads = check_threads(cells)
    measured = make_rows(cells, references(cells, asked.reference))
    limits = Limits(latency_max_s=asked.latency_max_s, params_max=asked.params_max)
    shown = sort_rows([row for row in measured if row.status != "ok" or not limits.broken_by(row)], asked.sort)
    totals = _totals(runs)
    return Report(
        title=asked.title,
        command=asked.command,
        started=runs[0].started if runs else asked.started,
        reference=asked.reference,
        environment=records[0].environment,
        threads=tuple(threads.items()),
        rows=tuple(shown),
        summary=summarise(shown, measured, limits, totals),
        warnings=_warnings(cells),
        notes=_notes(cells, measured, len(measured) - len(shown), limits),
        counting=_counting(cells),
        totals=totals,
    )


def _totals(runs: Sequence[Run]) -> Totals | None:
    """Return the sums over all runs that ended, None if none did."""
    ended = [run for run in runs if run.wall_s is not None]
    if not ended:
        return None
    passes = [run.passes_s for run in ended if run.passes_s is not None]
    compiled = [run.compile_s for run in ended if run.compile_s is not None]
    return Totals(
        wall_s=sum(run.wall_s or 0.0 for run in ended),
        passes_s=sum(passes) if passes else None,
        compile_s=sum(compiled) if compiled else None,
    )


def _warnings(cells: Sequence[Cell]) -> tuple[RowCaution, ...]:
    found = [RowCaution(row=cell.case.label(), caution=caution) for cell in cells for caution in cell.cautions]
    return tuple(dict.fromkeys(found))


def _notes(cells: Sequence[Cell], rows: Sequence[Row], hidden: int, limits: Limits) -> tuple[str, ...]:
    """Return the facts without advice that a reader of the table needs."""
    notes = []
    if hidden:
        notes.append(f"{hidden} of {len(rows)} rows {'is' if hidden == 1 else 'are'} hidden: asked was {limits}.")
    timed = [row for row in rows if row.task in TIMED and row.status == "ok"]
    if any(row.reference is None for row in timed):
        alone = dict.fromkeys(row.label() for row in timed if row.reference is None)
        notes.append(f"No reference was measured for, so there is no speed-up of: {', '.join(alone)}.")
    for cell in cells:
        if cell.case.task not in TIMED and cell.status != "ok":
            what = f"accuracy on {cell.case.dataset}" if cell.case.task == "accuracy" else "counts"
            reason = one_line(next((record.error for record in cell.broken if record.error), cell.status))
            notes.append(f"{cell.case.model} has no {what} ({cell.status}): {reason}")
    if any(row.latency_p99_s is None for row in timed):
        notes.append(f"A p95 needs {FEWEST_FOR_P95} timed passes and a p99 {FEWEST_FOR_P99}; with fewer none is shown.")
    for cell in cells:
        if cell.case.task != "complexity":  # what was noted while counting stands apart
            about = cell.case.label() if cell.case.task in TIMED else cell.case.model
            notes += [f"{about}: {one_line(note)}" for record in cell.records for note in record.notes]
    return tuple(dict.fromkeys(notes))


def _counting(cells: Sequence[Cell]) -> tuple[str, ...]:
    found = [
        f"{cell.case.model}: {one_line(note)}"
        for cell in cells
        if cell.case.task == "complexity"
        for record in cell.records
        for note in record.notes
    ]
    return tuple(dict.fromkeys(found))
