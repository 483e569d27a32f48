"""Compute the slowdown of each cell from one measurement of two sides, or say why there is none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

from cnnbench.analysis.analyse import join
from cnnbench.analysis.cells import TIMED, Cell
from cnnbench.analysis.checks import scores_wrong
from cnnbench.analysis.effects import Priors, effect_of, priors_of
from cnnbench.analysis.row import NUMERICS_FAILED
from cnnbench.record import Record
from cnnbench.spec import Case
from cnnbench.stats import Slowdown, is_above, slowdown_of

FEW_ROUNDS = (
    "there were too few rounds to tell a slowdown from the differences between starts of a process; "
    "use a larger --budget"
)
NO_BLOCKS = "the two sides have no block in common; use a larger --budget"

# The words for each status except `ok`.
_STATES = {
    "failed": "failed",
    "timeout": "gave no answer",
    "oom": "ran out of memory",
    "unsupported": "does not support this",
    "invalid": "is invalid",
    "not started": "was not started",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Compared:
    """One model on both sides: its name in the report, and the names of its sides in the records."""

    name: str
    base: str
    head: str


@dataclass(frozen=True, kw_only=True, slots=True)
class SideComparison:
    """What one measurement shows for a cell: the `slowdown` of HEAD, or why there is none.

    `slow`: the slowdown is above the threshold, corrected for the number of cells in the measurement. `broken`: what is
    wrong with HEAD where BASE can be measured. `unclear`: why nothing can be said. Latencies are medians in seconds.
    """

    slowdown: Slowdown | None = None
    slow: bool = False
    broken: str | None = None
    unclear: str | None = None
    base_latency_s: float | None = None
    head_latency_s: float | None = None

    @property
    def is_suspect(self) -> bool:
        """Return whether the cell must be measured once more."""
        return self.slow or self.broken is not None


def side_comparisons(
    compared: Sequence[Compared], records: Sequence[Record], *, time: int, threshold: float
) -> Mapping[Case, SideComparison]:
    """Return what the measurement with number `time` shows for each cell, by `Case.key()` of its BASE.

    The second measurement has the next seed. `threshold` is the share of BASE's time from which HEAD is too slow.
    """
    # The records of both measurements are in one sequence; only the seed tells them apart.
    seed = min((one.case.seed for one in records), default=0) + time
    cells = {cell.case: cell for cell in join([[one for one in records if one.case.seed == seed]]).cells}

    # BASE and HEAD of a cell differ in the name of the model alone. Checks of the scores are no cells of their own.
    pairs = {
        case: (base, cells.get(replace(case, model=one.head)))
        for one in compared
        for case, base in cells.items()
        if case.model == one.base and case.task in TIMED
    }

    # A cell has few rounds, so all cells together say how rounds scatter.
    priors = priors_of((base, head) for base, head in pairs.values() if head is not None)
    found = {case: _compare_sides(base, head, priors, len(pairs)) for case, (base, head) in pairs.items()}

    return {
        case: replace(look, slow=look.slowdown is not None and is_above(look.slowdown, threshold))
        for case, look in found.items()
    }


def _compare_sides(base: Cell, head: Cell | None, priors: Priors, cells: int) -> SideComparison:
    if head is None:
        return SideComparison(unclear="HEAD was not measured")

    wrong = {side: _wrong(cell, side) for side, cell in (("BASE", base), ("HEAD", head))}
    look = partial(SideComparison, base_latency_s=base.middle("latency_s"), head_latency_s=head.middle("latency_s"))

    # HEAD is to blame only if BASE can be measured and HEAD had its turn.
    if wrong["BASE"] is None and wrong["HEAD"] is not None and head.status != "not started":
        return look(broken=wrong["HEAD"])
    if reason := wrong["BASE"] or wrong["HEAD"]:
        return look(unclear=reason)

    effect = effect_of(base, head, priors)
    if effect is None:
        return look(unclear=NO_BLOCKS)

    # The number of cells widens each bound, so that all bounds of the gate hold at once.
    slowdown = slowdown_of(effect, comparisons=cells)
    return look(slowdown=slowdown, unclear=FEW_ROUNDS if slowdown.low is None else None)


def _wrong(cell: Cell, side: str) -> str | None:
    """Return why the times of `cell` cannot be used, None if they can."""
    if cell.status != "ok":
        return f"{side} {_STATES[cell.status]}: {cell.error or 'no reason was recorded'}"
    if scores_wrong(cell):
        doubt = next(doubt for doubt in cell.doubts if doubt.code == NUMERICS_FAILED)
        return f"{side} computes wrong scores: {doubt.fact}"
    return None
