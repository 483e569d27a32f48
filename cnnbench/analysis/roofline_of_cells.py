"""Apply the roofline model to cells, from their records, and say why a time cannot be true."""

from __future__ import annotations

from collections.abc import Mapping

from cnnbench.analysis.cells import Cell
from cnnbench.analysis.roofline import Roofline, ceilings_of, cost_of, roofline
from cnnbench.analysis.side_cells import Controls
from cnnbench.quantities import show
from cnnbench.spec import Shape

# The cells that count a model's parameters and multiply-adds, by model and input shape.
Counts = Mapping[tuple[str, Shape], Cell]


def roof_of(cell: Cell, controls: Controls, counts: Counts) -> Roofline | None:
    """Return where `cell` stands under the roof, by its median latency; None if something is not known."""
    ceilings, counted = controls.ceilings(cell), counts.get((cell.case.model, cell.case.input_shape))
    if ceilings is None or counted is None or not counted.measured:
        return None
    cost, most = cost_of(counted.measured[-1]), ceilings_of(ceilings.measured[-1])
    return roofline(cell.case, cell.middle("latency_s"), cost, most)


def roof_violation(cell: Cell, controls: Controls, counts: Counts) -> str | None:
    """Return why the time of `cell` cannot be true: the machine cannot do so much work; None if it can."""
    roof = roof_of(cell, controls, counts)
    if roof is None or not roof.is_impossible:
        return None
    achieved, peak = show(roof.flop_per_s, "per_second"), show(roof.flop_per_s / roof.of_peak, "per_second")
    return (
        f"It would be {roof.of_peak:.2f} times the machine's peak: {achieved} floating-point operations, but at most "
        f"{peak} were measured. Either it does not compute what was counted, or the clock did not wait for the device."
    )
