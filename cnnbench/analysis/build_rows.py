"""Build rows from cells: what was timed, counted and tested of a model under the same conditions, side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from cnnbench.analysis.cells import TIMED, Cell
from cnnbench.analysis.comparability import References
from cnnbench.analysis.effects import Comparison, Comparisons, Priors
from cnnbench.analysis.row import Row
from cnnbench.analysis.side_columns import RowContext, add_extras
from cnnbench.sample_pairs import latencies_by_round
from cnnbench.stats import NO_PRIOR, compare_rounds, p95, p99, priors_by_kind, variance_between_rounds, wilson_interval

# Device, batch and task, which rows must share to be compared.
Condition = tuple[str | None, int | None, str | None]


@dataclass(frozen=True, kw_only=True, slots=True)
class RowInputs:
    """What rows need besides their own cell.

    `latencies` are the priors by device: how the latencies of all cells scatter between rounds. `judged` are the cells
    that were tested for accuracy, by model.
    """

    references: References
    comparisons: Comparisons
    around: RowContext
    latencies: Priors
    judged: dict[str, list[Cell]]


def make_rows(cells: Sequence[Cell], references: References, comparisons: Comparisons, around: RowContext) -> list[Row]:
    """Return one row for each timed cell; a model without timed cells has one for each accuracy, or for its counts.

    An accuracy that belongs to none of its model's timed rows has a row of its own, so that it is seen.
    Rows are grouped by model, then by device, batch and task, each in order of first appearance. So a row stands next
    to what it is compared with, even if the run was resumed.
    """
    facts = RowInputs(
        references=references, comparisons=comparisons, around=around, latencies=latency_priors(cells), judged={}
    )
    for cell in cells:
        if cell.case.task == "accuracy":
            facts.judged.setdefault(cell.case.model, []).append(cell)

    # A timed row shows the accuracy that fits it best; those in `joined` need no row of their own.
    timed = {cell.case.model for cell in cells if cell.case.task in TIMED}
    joined = {best.case for cell in cells if cell.case.task in TIMED and (best := judged_for(cell, facts))}
    rows: list[Row] = []

    for cell in cells:
        task, model = cell.case.task, cell.case.model
        if task in TIMED:
            rows.append(_timed_row(cell, facts))
        elif model not in timed:
            # Counts have a row only if the model has neither times nor accuracies.
            if task == "accuracy" or model not in facts.judged:
                rows.append(_untimed_row(cell, facts))
        elif task == "accuracy" and cell.status == "ok" and cell.case not in joined:
            rows.append(_untimed_row(cell, facts))

    # A resumed run appends cells at the end; grouping puts their rows next to the reference.
    groups: dict[str, dict[Condition, list[Row]]] = {}
    for row in rows:
        groups.setdefault(row.model, {}).setdefault((row.device, row.batch_size, row.task), []).append(row)

    return [row for conditions in groups.values() for group in conditions.values() for row in group]


def _timed_row(cell: Cell, facts: RowInputs) -> Row:
    row = replace(_conditions(cell), task=cell.case.task, rounds=len(cell.rounds) or None)
    row = _add_accuracy(_add_counts(row, cell, facts), cell, facts)
    reference = facts.references.of(cell)
    if reference is not None:
        row = replace(row, reference=f"{reference.case.model}/{reference.case.variant.name}")
    # A cell that failed keeps its conditions, counts and accuracy, but shows no times.
    if cell.status != "ok":
        return row
    compared = facts.comparisons.by_case.get(cell.case)
    row = add_extras(_add_times(row, cell, facts.latencies), cell, facts.around)
    return row if compared is None else _add_comparison(row, compared)


def _add_comparison(row: Row, compared: Comparison) -> Row:
    effect, group = compared.effect, compared.group
    ratio = effect.ratio
    return replace(
        row,
        speedup=ratio.center,
        speedup_low=ratio.low,
        speedup_high=ratio.high,
        verdict=compared.verdict,
        minimum_detectable_effect=effect.minimum_detectable,
        detail=replace(row.detail, delta=group.delta, blocks=effect.blocks, together=compared.rows),
    )


def _untimed_row(cell: Cell, facts: RowInputs) -> Row:
    if cell.case.task == "accuracy":
        return _add_accuracy(_add_counts(_conditions(cell), cell, facts), cell, facts)
    # A count holds on every device and under every variant, so the row names none.
    row = replace(_conditions(cell), variant=None, device=None, precision=None, batch_size=None)
    return _add_counts(row, cell, facts)


def _conditions(cell: Cell) -> Row:
    case = cell.case
    # Several rounds may give the same warning; its code is shown once, in order of first appearance.
    codes = dict.fromkeys(warning.code for warning in cell.warnings)

    return Row(
        model=case.model,
        variant=case.variant.name,
        device=case.device,
        precision=case.variant.precision,
        batch_size=case.batch_size,
        input_shape="x".join(map(str, case.input_shape)),
        dataset=case.dataset,
        status=cell.status,
        warnings="; ".join(codes) or None,
        error=cell.error,
    )


def _add_counts(row: Row, cell: Cell, facts: RowInputs) -> Row:
    counts = facts.around.counts.get((cell.case.model, cell.case.input_shape))
    if counts is None:
        return row
    params, trainable, macs, classes = (
        None if (value := counts.middle(name)) is None else round(value)
        for name in ("params", "trainable_params", "macs", "classes")
    )
    return replace(row, params=params, trainable_params=trainable, macs=macs, classes=classes)


def _add_accuracy(row: Row, cell: Cell, facts: RowInputs) -> Row:
    best = judged_for(cell, facts)
    if best is None:
        return row
    row = replace(row, dataset=best.case.dataset)
    # Without the numbers of images there is a share, but no interval.
    correct, tested = best.middle("correct"), best.middle("tested")
    if correct is None or not tested:
        return replace(row, top1=best.middle("top1"))
    share = wilson_interval(round(correct), round(tested))
    return replace(row, top1=share.center, top1_low=share.low, top1_high=share.high)


def judged_for(cell: Cell, facts: RowInputs) -> Cell | None:
    """Return the accuracy that belongs to `cell`; None if no accuracy fits.

    Input shape, weights and dataset must be the same, since other weights or image sizes give other accuracies. A cell
    without a dataset takes an accuracy on any. One of the same variant is preferred.
    """
    case = cell.case
    fitting = [
        other
        for other in facts.judged.get(case.model, [])
        if other.status == "ok"
        and (other.case.input_shape, other.case.weights) == (case.input_shape, case.weights)
        and case.dataset in (None, other.case.dataset)
    ]

    # A cell that is an accuracy itself comes first, then one of the same variant.
    return max(
        fitting,
        key=lambda other: (other is cell, other.case.variant == case.variant),
        default=None,
    )


def latency_priors(cells: Sequence[Cell]) -> Priors:
    """Return how the latencies of all timed cells scatter between rounds, as a prior for each device."""
    timed = (cell for cell in cells if cell.case.task in TIMED)
    return priors_by_kind(
        (cell.case.device, variance_between_rounds(latencies_by_round(cell.rounds))) for cell in timed
    )


def _add_times(row: Row, cell: Cell, priors: Priors) -> Row:
    samples = cell.samples("latency_s")
    over_rounds = compare_rounds(latencies_by_round(cell.rounds), priors.get(cell.case.device, NO_PRIOR))
    if over_rounds is None:
        return row

    # The centres are ln of seconds, so `ratio`, their exponential, is the latency in seconds. Its interval rests on
    # rounds; percentiles rest on single passes.
    latency, passes = over_rounds.ratio, cell.samples("iteration_s")
    slow, slowest = p95(passes), p99(passes)

    return replace(
        row,
        latency_s=latency.center,
        latency_low_s=latency.low,
        latency_high_s=latency.high,
        latency_p95_s=None if slow is None else slow.center,
        latency_p99_s=None if slowest is None else slowest.center,
        throughput_img_per_s=cell.throughput(),
        forward_s=cell.middle("forward_s"),
        backward_s=cell.middle("backward_s"),
        optimizer_s=cell.middle("optimizer_s"),
        samples=len(samples),
        detail=replace(row.detail, latencies_s=tuple(samples)),
    )
