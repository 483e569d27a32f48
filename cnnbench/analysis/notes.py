"""Write notes: facts without advice, each said once with the names of all that it holds for."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from cnnbench.analysis.cells import TIMED, Cell
from cnnbench.analysis.filter import RowLimits
from cnnbench.analysis.row import Row
from cnnbench.analysis.side_cells import Controls
from cnnbench.spec import Role, Task
from cnnbench.stats import FEWEST_FOR_P95, FEWEST_FOR_P99
from cnnbench.text import name_list, one_line

_BESIDE: dict[Role, str] = {
    "aa_control": "A/A control",
    "control_workload": "control workload",
    "lineup": "place in the line-up",
    "memory": "peak memory",
    "numerics": "numerical check",
    "layers": "time by layer",
    "ceilings": "ceilings of the machine",
}


def notes_of(
    cells: Sequence[Cell], controls: Controls, rows: Sequence[Row], apart: Sequence[str], hidden: int, limits: RowLimits
) -> tuple[str, ...]:
    """Return the notes that a reader of the table needs: first on the whole table, then on single models and rows.

    `apart` are the labels of the rows that were not measured together with their reference. `hidden` is the number of
    rows that exceed `limits`.
    """
    notes = []
    if hidden:
        notes.append(f"{hidden} of {len(rows)} rows {'is' if hidden == 1 else 'are'} hidden by the limits: {limits}.")

    # A row that failed shows its reason in the table and needs no note about a missing speed-up.
    timed = [row for row in rows if row.task in TIMED and row.status == "ok"]
    if any(row.reference is None for row in timed):
        alone = dict.fromkeys(row.label() for row in timed if row.reference is None)
        notes.append(f"No speed-up, because no reference was measured: {', '.join(alone)}.")
    if apart:
        notes.append(f"No speed-up, because these were not measured together with the reference: {', '.join(apart)}.")

    # The p99 needs more passes than the p95, so this covers rows that lack either.
    if any(row.latency_p99_s is None for row in timed):
        notes.append(f"A p95 is shown from {FEWEST_FOR_P95} timed passes on, and a p99 from {FEWEST_FOR_P99} on.")
    return (
        *notes,
        *_gap_notes(cells),
        *control_gap_notes(controls),
        *recorded_notes([*cells, *controls.by_case.values()], *TIMED),
    )


def recorded_notes(cells: Iterable[Cell], *tasks: Task) -> tuple[str, ...]:
    """Return the notes that were recorded while the cells of `tasks` were measured."""
    about: dict[str, dict[str, None]] = {}
    for cell in cells:
        if cell.case.task in tasks:
            # A note on counts or training holds for the model, whatever the device or batch.
            name = cell.case.label() if cell.case.task in TIMED else cell.case.model
            for record in cell.records:
                for note in record.notes:
                    about.setdefault(one_line(note), {})[name] = None
    return tuple(f"{name_list(names)}: {note}" for note, names in about.items())


def _gap_notes(cells: Iterable[Cell]) -> list[str]:
    """Return which models have no accuracy or no counts, one sentence for each reason."""
    about: dict[str, dict[str, None]] = {}
    for cell in cells:
        if cell.case.task not in TIMED and cell.status != "ok":
            what = f"accuracy on {cell.case.dataset}" if cell.case.task == "accuracy" else "counts"
            about.setdefault(f"no {what} ({cell.status}): {cell.error or cell.status}", {})[cell.case.model] = None
    return [f"{name_list(names)} {'has' if len(names) == 1 else 'have'} {what}" for what, names in about.items()]


def control_gap_notes(controls: Controls) -> tuple[str, ...]:
    """Return what could not be measured beside the cells and why, one sentence for each reason.

    A numerical check that found wrong outputs is left out, since its cell has a warning instead.
    """
    about: dict[str, dict[str, None]] = {}
    for cell in controls.by_case.values():
        role = cell.case.role
        if cell.status != "ok" and (role, cell.status) != ("numerics", "invalid"):
            # The label of the row is what a reader knows; ceilings belong to a device and not to a row.
            name = replace(cell.case, role="timed").label()
            what = f"No {_BESIDE[role]} ({cell.status}: {cell.error or 'no reason was recorded'})"
            about.setdefault(what, {})[cell.case.device if role == "ceilings" else name] = None
    return tuple(f"{what}: {name_list(names)}" for what, names in about.items())
