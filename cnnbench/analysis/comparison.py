"""Cells against their reference: effects from paired blocks, the margin of each group, and a verdict on each cell."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cnnbench.analysis.asides import Asides
from cnnbench.analysis.cells import Cell
from cnnbench.analysis.comparable import References
from cnnbench.analysis.judge import Margin, asked_or_default, judge, margin_of
from cnnbench.quantity import compared, show_range
from cnnbench.spec import Case
from cnnbench.stats import Effect, Verdict, compare_paired, spread_of

NO_TWIN = "its A/A twin gave no interval, so nothing shows how far equal workers differ"
"""Why a group without an A/A interval has no verdicts."""

Pair = tuple[float, float]
"""What the reference and another cell took in the same block, in seconds."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Group:
    """A reference, and what was measured with it to know the noise: its twin's effect and the canary's spread."""

    reference: Cell
    twin: Effect | None
    spread: float | None
    margin: Margin

    @property
    def silenced(self) -> str | None:
        """Why no verdict of the group stands; None where they do."""
        if not self.margin.silenced:
            return None
        if self.twin is None or self.twin.low is None:
            return NO_TWIN
        case, ratio = self.reference.case, self.twin.ratio
        shown = show_range(ratio.center, ratio.low, ratio.high, "ratio")
        return f"{case.model} {case.variant.name} and its A/A twin, which are the same, differ: {shown}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """What came of comparing a cell with its reference."""

    effect: Effect
    group: Group
    verdict: Verdict


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparisons:
    """The groups by the case of their reference, and the comparisons by the case of the cell."""

    groups: Mapping[Case, Group]
    by_case: Mapping[Case, Comparison]


def compare_all(
    cells: Sequence[Cell], references: References, asides: Asides, asked_delta: float | None, wrong: frozenset[Case]
) -> Comparisons:
    """Return the comparisons of all timed `cells` with their references.

    Cells that failed, were never measured together with their reference, or are among the `wrong` (the cases whose
    scores are wrong) are not compared, and nothing is compared with them.
    """
    groups: dict[Case, Group] = {}
    found: dict[Case, tuple[Effect, Group]] = {}
    for cell in cells:
        reference = references.of(cell)
        if reference is None:
            continue
        if reference.case not in groups:
            groups[reference.case] = _group(reference, asides, asked_delta)
        if (
            reference is not cell
            and {cell.status, reference.status} == {"ok"}
            and not {cell.case, reference.case} & wrong
        ):
            effect = effect_of(reference, cell)
            if effect is not None:
                found[cell.case] = effect, groups[reference.case]
    verdicts = judge([effect for effect, _ in found.values()], [group.margin for _, group in found.values()])
    return Comparisons(
        groups=groups,
        by_case={
            case: Comparison(effect=effect, group=group, verdict=verdict)
            for (case, (effect, group)), verdict in zip(found.items(), verdicts, strict=True)
        },
    )


def _group(reference: Cell, asides: Asides, asked_delta: float | None) -> Group:
    twin, canary = asides.of(reference, "twin"), asides.of(reference, "canary")
    effect = None if twin is None else effect_of(reference, twin)
    spread = None if canary is None else spread_of(canary.samples("latency_s"))
    delta = asked_or_default(asked_delta, reference.case.device, spread)
    # a group that has a canary was measured by a version that measures a twin with it
    margin = margin_of(effect, delta, twin_expected=canary is not None)
    return Group(reference=reference, twin=effect, spread=spread, margin=margin)


def effect_of(base: Cell, other: Cell) -> Effect | None:
    """Return the effect of `other` against `base`, None where they have no block in common."""
    return compare_paired(
        [[[math.log(one / two) for one, two in worker_set] for worker_set in launch] for launch in pairs(base, other)]
    )


def pairs(base: Cell, other: Cell) -> list[list[list[Pair]]]:
    """Return the times of both that are compared, for each block: by launch, by set of workers, in time order.

    A launch is one execution of the group. A set of workers begins where either cell says so.
    """
    one, two = compared(base.placed, other.placed)
    starts, more_starts = base.sets(), other.sets()
    launches: dict[object, dict[int, list[Pair]]] = {}
    for place in sorted(one.keys() & two.keys()):
        execution, block = place
        bounds = sorted({*starts[execution], *more_starts[execution]})
        sets = launches.setdefault(execution, {})
        sets.setdefault(bisect_right(bounds, block), []).append((one[place], two[place]))
    return [list(sets.values()) for sets in launches.values()]
