"""Fill the columns beside time: memory, compiling, numerical error, and distance from the limits of the machine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from cnnbench.analysis.cells import Cell
from cnnbench.analysis.checks import scores_wrong
from cnnbench.analysis.comparability import DEFAULT_VARIANT
from cnnbench.analysis.roofline_of_cells import Counts, roof_of
from cnnbench.analysis.row import Row
from cnnbench.analysis.side_cells import Controls
from cnnbench.sample_pairs import pairs_by_round
from cnnbench.spec import Case, Variant
from cnnbench.stats import Interval, calls_to_break_even, compare_rounds, tukey_outliers


@dataclass(frozen=True, kw_only=True, slots=True)
class RowContext:
    """What the extra columns are read from: the timed cells by case, the cells of other roles, and the counts."""

    timed: Mapping[Case, Cell]
    controls: Controls
    counts: Counts


def add_extras(row: Row, cell: Cell, around: RowContext) -> Row:
    """Return the `row` of a timed cell that is ok, with its extra columns and details."""
    controls = around.controls
    memory, numerics = controls.of(cell, "memory"), controls.of(cell, "numerics")
    roof = roof_of(cell, controls, around.counts)
    row = _add_break_even(_add_details(row, cell, controls), cell, around)

    # The roof is missing if ceilings or counts were not measured; the other columns do not depend on it.
    if roof is not None:
        detail = replace(
            row.detail,
            flop_per_s=roof.flop_per_s,
            roof_share=roof.share,
            flops_per_byte=roof.flops_per_byte,
            peak_flop_per_s=roof.peak_flop_per_s,
            bytes_per_s=roof.bytes_per_s,
        )
        row = replace(row, detail=detail)

    return replace(
        row,
        peak_memory_bytes=None if memory is None else memory.middle("peak_memory_bytes"),
        compile_s=cell.middle("compile_s"),
        peak_flops_utilisation=None if roof is None else roof.of_peak,
        bound_by=None if roof is None else roof.bound_by,
        max_relative_error=None if numerics is None else max(numerics.samples("max_relative_error"), default=None),
        top1_agreement=None if numerics is None else _agreement(numerics),
    )


def _add_details(row: Row, cell: Cell, controls: Controls) -> Row:
    def find_value(quantity: str) -> float | None:
        """Return `quantity` from the cell itself, or else from another worker that compiled the same."""
        # The numerical check is always of inference, and training compiles something else.
        homes = (
            cell,
            controls.of(cell, "memory"),
            controls.of(cell, "numerics") if cell.case.task == "infer" else None,
        )
        return next((value for home in homes if home and (value := home.middle(quantity)) is not None), None)

    def find_count(quantity: str) -> int | None:
        return None if (value := find_value(quantity)) is None else round(value)

    # While the device is idle within a pass, it waits for the host to launch operators.
    device_s, latency_s = cell.middle("device_s"), row.latency_s
    detail = replace(
        row.detail,
        outliers=tukey_outliers(cell.samples("latency_s")),
        rejected=cell.rejected(),
        compile_warm_s=find_value("compile_warm_s"),
        graphs=find_count("graphs"),
        graph_breaks=find_count("graph_breaks"),
        recompiles=find_count("recompiles"),
        device_s=device_s,
        launch_bound_share=None if device_s is None or not latency_s else max(0.0, 1 - device_s / latency_s),
        reserved_memory_bytes=find_value("reserved_memory_bytes"),
    )
    return replace(row, detail=detail)


def _add_break_even(row: Row, cell: Cell, around: RowContext) -> Row:
    """Return `row` with the number of calls after which compiling has paid for itself, and its interval."""
    pays = _break_even(cell, around)
    if pays is None:
        return row
    detail = replace(row.detail, break_even_low=pays.low, break_even_high=pays.high)
    return replace(row, break_even_calls=pays.center, detail=detail)


def _break_even(cell: Cell, around: RowContext) -> Interval | None:
    """Return compile time over the time that a call saves against eager of the same model, by common blocks."""
    # The baseline is always eager with the same threads, whatever the reference of the run.
    compile_s, case = cell.middle("compile_s"), cell.case
    eager = around.timed.get(replace(case, variant=Variant(name=DEFAULT_VARIANT, threads=case.variant.threads)))
    if compile_s is None or eager is None or eager.status != "ok" or scores_wrong(cell) or scores_wrong(eager):
        return None

    # Use the rounds of the speed-up, but differences in seconds instead of logarithms. There is no prior of the run,
    # since the seconds of one model tell nothing about those of another.
    pairs = pairs_by_round(eager.rounds, cell.rounds)
    saved = compare_rounds([[slow - fast for slow, fast in blocks] for blocks in pairs])
    if saved is None:
        return None
    return calls_to_break_even(compile_s, Interval(center=saved.center, low=saved.low, high=saved.high))


def _agreement(numerics: Cell) -> float | None:
    """Return the share of real images whose top class equals that in fp64; None if no images were compared."""
    agreed, compared = sum(numerics.samples("top1_agreed")), sum(numerics.samples("top1_compared"))
    return agreed / compared if compared else None
