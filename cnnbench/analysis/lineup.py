"""Build line-ups: models in the order of their speed, with ratios from passes that were taken in turns."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from cnnbench import stats
from cnnbench.analysis.cells import TIMED, Cell
from cnnbench.analysis.checks import scores_wrong
from cnnbench.analysis.comparability import DEFAULT_VARIANT
from cnnbench.analysis.effects import Priors, effect_of, rounds_of
from cnnbench.analysis.row import Row
from cnnbench.analysis.side_cells import Controls
from cnnbench.stats import Interval


@dataclass(frozen=True, kw_only=True, slots=True)
class Ranked:
    """The place of a model in a line-up.

    `latency_s` is the latency of its row, or None. `times` is its time over that of the fastest model, with an
    interval; None for the fastest. `tied_with` is the first model of a shared place, from which it is not
    distinguishable; None if it has a place of its own.
    """

    model: str
    variant: str
    latency_s: float | None
    times: Interval | None = None
    tied_with: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Lineup:
    """Models from the fastest to the slowest, at one device, task and batch size."""

    device: str
    task: str
    batch_size: int
    ranked: tuple[Ranked, ...]


def lineups(
    cells: Sequence[Cell], controls: Controls, priors: Priors, rows: Sequence[Row], *, one_reference: bool
) -> tuple[Lineup, ...]:
    """Return the line-up of each device, task and batch size at which several models were measured in turns.

    With `one_reference` for all models, each was measured in turns with it, so the timed cells themselves are ranked.
    A model has no place if its own row failed, or if its outputs failed the numerical check.
    """
    # A row that never started says nothing against a model that the line-up measured.
    bad = {_key(cell) for cell in cells if cell.status not in ("ok", "not started") or scores_wrong(cell)}
    latencies = {_key_of_row(row): row.latency_s for row in rows}
    groups = controls.lineups() or (_cell_groups(cells) if one_reference else [])
    good = [[cell for cell in group if _key(cell) not in bad] for group in groups]
    found = [_lineup(group, latencies, priors) for group in good if group]
    return tuple(lineup for lineup in found if len(lineup.ranked) > 1)


def _cell_groups(cells: Sequence[Cell]) -> list[list[Cell]]:
    """Return the timed cells of models as written that were measured together: several models each, by condition."""
    found: dict[tuple[object, ...], list[Cell]] = {}
    for cell in cells:
        case = cell.case
        if case.task in TIMED and case.variant.name == DEFAULT_VARIANT and cell.status == "ok":
            found.setdefault((case.device, case.task, case.batch_size), []).append(cell)
    return [group for group in found.values() if len({cell.case.model for cell in group}) > 1]


def _key(cell: Cell) -> tuple[object, ...]:
    case = cell.case
    shape = "x".join(map(str, case.input_shape))
    return case.model, case.variant.name, case.device, case.task, case.batch_size, shape


def _key_of_row(row: Row) -> tuple[object, ...]:
    return row.model, row.variant, row.device, row.task, row.batch_size, row.input_shape


def _lineup(group: Sequence[Cell], latencies: Mapping[tuple[object, ...], float | None], priors: Priors) -> Lineup:
    # Each model is compared with the fastest and with the first of the place before; for the second these are the same.
    intervals = max(1, 2 * (len(group) - 1) - 1)
    priors = _own_priors(group, priors)
    # Order models by their effect against one of them, whose own effect is 0; without a common block there is no place.
    found = {cell.case: effect_of(group[0], cell, priors) for cell in group[1:]}
    centers = {case: effect.center for case, effect in found.items() if effect is not None}
    centers[group[0].case] = 0.0
    ordered = sorted((c for c in group if c.case in centers), key=lambda c: -centers[c.case])

    # `first` is the fastest model of the current place; a model that is not told apart from it shares the place.
    ranked, first = [], ordered[0]
    for cell in ordered:
        row = Ranked(model=cell.case.model, variant=cell.case.variant.name, latency_s=latencies.get(_key(cell)))
        if cell is not ordered[0]:
            against = effect_of(cell, ordered[0], priors, comparisons=intervals)
            before = effect_of(cell, first, priors, comparisons=intervals)
            tied = before is not None and before.low is not None and not stats.excludes_zero(before)
            row = replace(
                row,
                times=None if against is None else against.ratio,
                tied_with=first.case.model if tied else None,
            )
            first = first if tied else cell
        ranked.append(row)

    case = group[0].case
    return Lineup(device=case.device, task=case.task, batch_size=case.batch_size, ranked=tuple(ranked))


def _own_priors(group: Sequence[Cell], priors: Priors) -> Priors:
    """Return the prior from all pairs of a line-up, which replaces the prior of the run on its device."""
    device = group[0].case.device
    variances = [
        stats.variance_between_rounds(rounds_of(one, other)) for one, other in itertools.combinations(group, 2)
    ]
    known = [variance for variance in variances if variance is not None]
    return {device: stats.own_prior(known, priors.get(device, stats.NO_PRIOR))}
