"""Find what was measured beside a cell: A/A control, control workload, line-up, memory, numerical error, ceilings."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from cnnbench.analysis.cells import Cell
from cnnbench.spec import Case, Role


@dataclass(frozen=True, kw_only=True, slots=True)
class Controls:
    """The cells of all roles except `timed`, by their case."""

    by_case: Mapping[Case, Cell]

    def of(self, cell: Cell, role: Role) -> Cell | None:
        """Return the cell that was measured as `role` for `cell`; None if there is none.

        Cells of training share the numerical check of inference. It tells whether their outputs are right, but says
        nothing about what training compiles.
        """
        task = "infer" if role == "numerics" else cell.case.task
        return self.by_case.get(replace(cell.case, role=role, task=task))

    def lineups(self) -> list[list[Cell]]:
        """Return the cells of models measured in turns, in groups of at least two by device, task and batch size."""
        found: dict[tuple[object, ...], list[Cell]] = {}
        for cell in self.by_case.values():
            case = cell.case
            if case.role == "lineup" and cell.status == "ok":
                found.setdefault((case.device, case.task, case.batch_size), []).append(cell)
        return [cells for cells in found.values() if len(cells) > 1]

    def ceilings(self, cell: Cell) -> Cell | None:
        """Return the ceilings of the machine for the device and threads of `cell`; None if they were not measured."""
        case = cell.case

        # Ceilings belong to the machine, so model, batch size and variant do not matter.
        return next(
            (
                other
                for other in self.by_case.values()
                if other.case.role == "ceilings"
                and (other.case.device, other.case.variant.threads) == (case.device, case.variant.threads)
                and other.status == "ok"
            ),
            None,
        )


def split(cells: Iterable[Cell]) -> tuple[tuple[Cell, ...], Controls]:
    """Return the requested cells, from which rows are built, and all others as controls."""
    found = tuple(cells)
    controls = {cell.case: cell for cell in found if cell.case.role != "timed"}
    return tuple(cell for cell in found if cell.case.role == "timed"), Controls(by_case=MappingProxyType(controls))
