"""What one measurement of two sides shows: from its records to the slowdown of each cell, or why there is none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

from cnnbench.analysis.analyse import join
from cnnbench.analysis.cells import TIMED, Cell
from cnnbench.analysis.comparison import effect_of
from cnnbench.analysis.review import scores_wrong
from cnnbench.analysis.row import NUMERICS_FAILED
from cnnbench.record import BY_ENVIRONMENT, Record
from cnnbench.spec import Case
from cnnbench.stats import Slowdown, above, slowdown_of

ONE_SET = (
    "there was time for one set of workers only, which cannot tell a slowdown from what the start of a process shifts; "
    "give a larger --budget"
)
NO_BLOCKS = "the two sides have no block in common; give a larger --budget"

_STATES = {
    "failed": "failed",
    "timeout": "gave no answer",
    "oom": "ran out of memory",
    "unsupported": "cannot do this",
    "invalid": "is invalid",
}
"""How a sentence says each status but `ok`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Compared:
    """One network on both sides: what it is called, and the names that stand for its sides in the records."""

    name: str
    base: str
    head: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Look:
    """What one measurement shows of a cell: `slowdown` of HEAD, or why there is none.

    `slow`: the slowdown is above the threshold, with Holm's correction over all cells of the measurement. `broken`:
    what HEAD does where BASE can be measured. `unclear`: why nothing can be said. Latencies are medians in seconds.
    """

    slowdown: Slowdown | None = None
    slow: bool = False
    broken: str | None = None
    unclear: str | None = None
    base_latency_s: float | None = None
    head_latency_s: float | None = None

    @property
    def suspect(self) -> bool:
        """Whether the cell is to be measured once more."""
        return self.slow or self.broken is not None


def looks(
    compared: Sequence[Compared], records: Sequence[Record], *, launch: int, threshold: float
) -> Mapping[Case, Look]:
    """Return what the measurement numbered `launch` shows of each cell, by `Case.key()` of its BASE.

    `threshold` is the share of the base's time from which HEAD is too slow.
    """
    cells = {cell.case: cell for cell in join([[one for one in records if one.launch == launch]]).cells}
    found: dict[Case, Look] = {}
    for one in compared:
        for case, base in cells.items():
            if case.model == one.base and case.task in TIMED:
                found[case] = _look(base, cells.get(replace(case, model=one.head)), threshold)
    slow = above([look.slowdown for look in found.values()])
    return {case: replace(look, slow=too) for (case, look), too in zip(found.items(), slow, strict=True)}


def _look(base: Cell, head: Cell | None, threshold: float) -> Look:
    if head is None:
        return Look(unclear="HEAD was not measured")
    wrong = {side: _wrong(cell, side) for side, cell in (("BASE", base), ("HEAD", head))}
    look = partial(Look, base_latency_s=base.middle("latency_s"), head_latency_s=head.middle("latency_s"))
    if wrong["BASE"] is None and wrong["HEAD"] is not None and not _disturbed(head):
        return look(broken=wrong["HEAD"])
    if reason := wrong["BASE"] or wrong["HEAD"]:
        return look(unclear=reason)
    effect = effect_of(base, head)
    if effect is None:
        return look(unclear=NO_BLOCKS)
    slowdown = slowdown_of(effect, threshold)
    return look(slowdown=slowdown, unclear=ONE_SET if slowdown.low is None else None)


def _wrong(cell: Cell, side: str) -> str | None:
    """Return why the times of `cell` are of no use; None where they are."""
    if cell.status != "ok":
        return f"{side} {_STATES[cell.status]}: {cell.error or 'no reason was recorded'}"
    if scores_wrong(cell):
        doubt = next(doubt for doubt in cell.doubts if doubt.code == NUMERICS_FAILED)
        return f"{side} computes something else: {doubt.fact}"
    return None


def _disturbed(cell: Cell) -> bool:
    """Return whether it was the environment's fault that there are no times."""
    return any((record.error or "").startswith(BY_ENVIRONMENT) for record in cell.broken)
