"""Compare cells with their reference: effects over rounds, differences of equal cells, and a verdict on each cell."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from cnnbench import stats
from cnnbench.analysis.cells import Cell
from cnnbench.analysis.comparability import References
from cnnbench.analysis.side_cells import Controls
from cnnbench.sample_pairs import differences, pairs_by_round
from cnnbench.spec import Case, Device
from cnnbench.stats import Effect, Prior, Verdict

# Smallest relative difference that counts (docs/measurement.md): on a shared processor; on a quiet one, above what
# a new process shifts a model by; and on a CUDA device, whose own clock times the work.
DELTA_SHARED = 0.03
DELTA_QUIET = 0.01
DELTA_CUDA = 0.005

# How rounds scatter over all comparisons of a run, by device.
Priors = Mapping[Device, Prior]


@dataclass(frozen=True, kw_only=True, slots=True)
class ReferenceGroup:
    """A reference and the noise around it: the effect of its A/A control, and the `spread` of its control workload.

    `delta` is the smallest relative difference that counts. `apart` is the least by which the reference and its A/A
    control, which are the same model, surely differ, in ln. The intervals of the group are widened by it.
    """

    reference: Cell
    aa_control: Effect | None
    spread: float | None
    delta: float
    apart: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """The result of comparing a cell with its reference; `rows` is the number of cells that share the reference."""

    effect: Effect
    group: ReferenceGroup
    verdict: Verdict
    rows: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparisons:
    """The groups by the case of their reference, and the comparisons by the case of the compared cell."""

    groups: Mapping[Case, ReferenceGroup]
    by_case: Mapping[Case, Comparison]


def compare_all(
    cells: Sequence[Cell],
    references: References,
    controls: Controls,
    priors: Priors,
    asked_delta: float | None,
    wrong: frozenset[Case],
) -> Comparisons:
    """Return the comparisons of all timed `cells` with their references.

    Leave out a cell if it or its reference failed, or is among the `wrong`, the cases that failed the numerical check.
    Leave it out, too, if it shares no round with its reference.
    """
    compared: dict[Case, list[Cell]] = {}
    groups: dict[Case, ReferenceGroup] = {}
    for cell in cells:
        reference = references.of(cell)
        if reference is None:
            continue
        # A reference has a group even if nothing can be compared with it: its controls tell the noise of the run.
        if reference.case not in groups:
            groups[reference.case] = _group(reference, controls, priors, asked_delta)
        if _is_comparable(cell, reference, wrong):
            compared.setdefault(reference.case, []).append(cell)

    # The level of an interval depends on the number of cells that share the reference, so these are collected first.
    found: dict[Case, Comparison] = {}
    for case, others in compared.items():
        group = groups[case]
        for cell in others:
            effect = effect_of(group.reference, cell, priors, comparisons=len(others), apart=group.apart)
            if effect is not None:
                verdict = stats.verdict_of(effect, group.delta)
                found[cell.case] = Comparison(effect=effect, group=group, verdict=verdict, rows=len(others))
    return Comparisons(groups=groups, by_case=found)


def _is_comparable(cell: Cell, reference: Cell, wrong: frozenset[Case]) -> bool:
    return (
        reference is not cell
        and {cell.status, reference.status} == {"ok"}
        and not {cell.case, reference.case} & wrong
        and bool(cell.rounds.keys() & reference.rounds.keys())
    )


def _group(reference: Cell, controls: Controls, priors: Priors, asked_delta: float | None) -> ReferenceGroup:
    aa_control, control_workload = controls.of(reference, "aa_control"), controls.of(reference, "control_workload")
    effect = None if aa_control is None else effect_of(reference, aa_control, priors)
    spread = None if control_workload is None else stats.spread_of(control_workload.samples("latency_s"))
    delta = choose_delta(asked_delta, reference.case.device, spread)
    return ReferenceGroup(
        reference=reference, aa_control=effect, spread=spread, delta=delta, apart=stats.aa_difference_of(effect)
    )


def choose_delta(asked: float | None, device: Device, spread: float | None) -> float:
    """Return the smallest relative difference that counts: `asked`, or else a default.

    The default depends on the device and on the `spread` of the control workload.
    """
    if asked is not None:
        return asked
    if device == "cuda":
        return DELTA_CUDA
    return DELTA_QUIET if stats.is_quiet(spread) else DELTA_SHARED


def effect_of(base: Cell, other: Cell, priors: Priors, *, comparisons: int = 1, apart: float = 0.0) -> Effect | None:
    """Return the effect of `other` against `base`; None if they have no block in common."""
    prior = priors.get(base.case.device, stats.NO_PRIOR)
    return stats.compare_rounds(rounds_of(base, other), prior, comparisons=comparisons, apart=apart)


def rounds_of(base: Cell, other: Cell) -> list[list[float]]:
    """Return d = ln(base time / other time) of each block that both cells have, by round."""
    return differences(pairs_by_round(base.rounds, other.rounds))


def priors_of(pairs: Iterable[tuple[Cell, Cell]]) -> Priors:
    """Return how rounds scatter over all `pairs` of reference and cell, as a prior for each device."""
    return stats.priors_by_kind(
        (base.case.device, stats.variance_between_rounds(rounds_of(base, other))) for base, other in pairs
    )


def pairs_of(cells: Sequence[Cell], references: References, controls: Controls) -> list[tuple[Cell, Cell]]:
    """Return all pairs of a reference and a cell that is compared with it, A/A controls included."""
    pairs = [
        (reference, cell) for cell in cells if (reference := references.of(cell)) is not None and reference is not cell
    ]
    # An A/A control belongs to a reference, however many cells share it.
    firsts = dict.fromkeys(reference.case for reference, _ in pairs)
    by_case = {cell.case: cell for cell in cells}
    pairs += [
        (by_case[c], aa_control) for c in firsts if (aa_control := controls.of(by_case[c], "aa_control")) is not None
    ]
    return pairs
