"""Compare two runs: quantities of the rows that both have, side by side, the largest change first."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Literal

from cnnbench.analysis.analyse import analyse
from cnnbench.analysis.cells import gather
from cnnbench.analysis.comparability import Unlike, refuse_unlike, unlike_conditions
from cnnbench.analysis.row import Row
from cnnbench.quantities import QUANTITIES, Shown
from cnnbench.record import Record, Run

# Relative change from which a quantity without an interval is listed: peak memory, compile time, numerical error.
# Their noise is not known, and repeated compile times differ by some per cent.
LEAST_CHANGE = 0.05

# What counts as a change. `exact`: any difference (top-1 counts images). `interval`: the interval of the ratio excludes
# 1. `single`: a relative change of at least `LEAST_CHANGE`.
Kind = Literal["exact", "interval", "single"]

_COMPARED: Mapping[Kind, tuple[str, ...]] = MappingProxyType(
    {
        "exact": ("params", "trainable_params", "macs", "classes", "graphs", "graph_breaks", "recompiles", "top1"),
        "interval": ("latency_s", "speedup"),
        "single": ("peak_memory_bytes", "compile_s", "max_relative_error", "top1_agreement"),
    }
)
_OF_THE_MODEL = frozenset({"params", "trainable_params", "macs", "classes"})
_SHOWN: Mapping[str, Shown] = MappingProxyType({"top1_agreement": "share"})


@dataclass(frozen=True, kw_only=True, slots=True)
class Value:
    """A value with its 95 % interval, if it has one; in SI units, or a word for a status."""

    center: float | str
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """One quantity of a row that both runs have.

    `shown` is how values are written, None for words. `ratio` is HEAD over BASE, None for words and if BASE is 0. Its
    interval is all that the intervals of both allow, so it covers the truth in at least 90 % of cases. `changed` says
    whether the difference counts as a change.
    """

    row: Row  # of BASE; for what holds under all conditions, it names none
    quantity: str
    shown: Shown | None
    base: Value
    head: Value
    ratio: Value | None
    changed: bool

    @property
    def size(self) -> float:
        """Return the size of the change: the absolute logarithm of the ratio, infinite if there is none."""
        ratio = None if self.ratio is None else self.ratio.center
        return abs(math.log(ratio)) if isinstance(ratio, float) and ratio > 0 else math.inf


@dataclass(frozen=True, kw_only=True, slots=True)
class Side:
    """One of the two runs: where it is stored, its title, and when it began."""

    place: str
    title: str
    started: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Diff:
    """Two runs side by side.

    `allowed` are the conditions that may differ, and do. `rows` counts the rows that both have; `only_base` and
    `only_head` are the others. `changes` are sorted by size.
    """

    base: Side
    head: Side
    allowed: tuple[Unlike, ...]
    changes: tuple[Change, ...]
    rows: int
    only_base: tuple[Row, ...]
    only_head: tuple[Row, ...]


Items = Sequence[Record | Run]


def diff(
    base: tuple[str, Items], head: tuple[str, Items], *, allow: Sequence[str] = (), everything: bool = False
) -> Diff:
    """Return what changed between two runs, each given as its place and its items.

    With `everything`, include the quantities that did not change.

    Raises:
        UsageError: conditions differ that `allow` does not name, or a run has no records.
    """
    reports = [analyse(_drop_filters(items)) for _, items in (base, head)]
    # Under unlike conditions a change says nothing about the code, so refuse before rows are compared.
    conditions = unlike_conditions(gather([base[1]]), gather([head[1]]))
    refuse_unlike(conditions, allow)
    pairs, only_base, only_head = _pair_rows(reports[0].rows, reports[1].rows)
    # Several rows share counts and accuracies; each of these is one change.
    changes = _merge_shared(
        [change for one, two in pairs for change in _changes(one, two) if everything or change.changed]
    )
    sides = [
        Side(place=place, title=report.title, started=report.started)
        for (place, _), report in zip((base, head), reports, strict=True)
    ]

    return Diff(
        base=sides[0],
        head=sides[1],
        allowed=conditions,
        # Real changes come first, and the largest of them at the top.
        changes=tuple(sorted(changes, key=lambda change: (not change.changed, -change.size))),
        rows=len(pairs),
        only_base=only_base,
        only_head=only_head,
    )


def _drop_filters(items: Items) -> Items:
    """Return the items with runs that hide no rows and do not sort them."""
    return [
        replace(item, sort=None, latency_max_s=None, params_max=None) if isinstance(item, Run) else item
        for item in items
    ]


def _pair_rows(
    base: Sequence[Row], head: Sequence[Row]
) -> tuple[list[tuple[Row, Row]], tuple[Row, ...], tuple[Row, ...]]:
    """Return pairs of the rows that both runs have, then the rows of BASE alone, then those of HEAD alone."""
    pairs: list[tuple[Row, Row]] = []
    left, alone = list(head), []
    for row in base:
        same = [other for other in left if _key(other) == _key(row)]
        if not same:
            alone.append(row)
            continue
        # Rows can share a key and differ in input shape or dataset. Each row of HEAD has one partner at most.
        best = max(same, key=lambda other: _match_rank(row, other))
        left.remove(best)
        pairs.append((row, best))

    return pairs, tuple(alone), tuple(left)


def _key(row: Row) -> tuple[object, ...]:
    return row.model, row.variant, row.device, row.batch_size, row.task


def _match_rank(one: Row, two: Row) -> tuple[bool, bool]:
    return one.input_shape == two.input_shape, one.dataset == two.dataset


def _changes(one: Row, two: Row) -> Iterator[Change]:
    if one.status != two.status:
        status = (Value(center=one.status), Value(center=two.status))
        yield Change(row=one, quantity="status", shown=None, base=status[0], head=status[1], ratio=None, changed=True)

    for kind, quantity in ((kind, quantity) for kind, names in _COMPARED.items() for quantity in names):
        before, after = _value(one, quantity), _value(two, quantity)
        # What only one run measured is no change.
        if before is None or after is None:
            continue
        ratio = _ratio(before, after)
        # A quantity that only rows have is not in the table of quantities; `_SHOWN` says how to write it.
        known = QUANTITIES.get(quantity)
        yield Change(
            row=one,
            quantity=quantity,
            shown=known.shown if known else _SHOWN[quantity],
            base=before,
            head=after,
            ratio=ratio,
            changed=_has_changed(kind, before, after, ratio),
        )


def _merge_shared(changes: Sequence[Change]) -> list[Change]:
    """Return the changes; what several rows of a model share (counts, accuracy) is in them once."""
    found: dict[object, Change] = {}
    for at, change in enumerate(changes):
        row, key = change.row, (change.row.model, change.row.input_shape, change.quantity, change.base, change.head)
        if change.quantity in _OF_THE_MODEL:
            # Counts hold under all conditions, so their row names none.
            alone = replace(row, variant=None, device=None, batch_size=None, task=None)
            found.setdefault(key, replace(change, row=alone))
        elif change.quantity == "top1":
            found.setdefault(key, change)
        else:
            found[at] = change
    return list(found.values())


def _value(row: Row, quantity: str) -> Value | None:
    """Return a quantity of a row or of its details; None if it was not measured."""
    holder = row if hasattr(row, quantity) else row.detail
    center = getattr(holder, quantity)
    # The bounds of `latency_s` are `latency_low_s` and `latency_high_s`, those of `top1` `top1_low` and `top1_high`.
    stem, unit = (quantity[:-2], "_s") if quantity.endswith("_s") else (quantity, "")
    low, high = (getattr(row, f"{stem}_{end}{unit}", None) for end in ("low", "high"))
    return None if center is None else Value(center=center, low=low, high=high)


def _ratio(base: Value, head: Value) -> Value | None:
    """Return HEAD over BASE with the widest interval that both intervals allow; None if BASE is 0 or negative."""
    assert not isinstance(base.center, str)
    assert not isinstance(head.center, str)
    if base.center <= 0:
        return None
    low = None if head.low is None or not base.high else head.low / base.high
    high = None if head.high is None or not base.low else head.high / base.low
    return Value(center=head.center / base.center, low=low, high=high)


def _has_changed(kind: Kind, base: Value, head: Value, ratio: Value | None) -> bool:
    if kind == "exact" or ratio is None:
        return base.center != head.center
    if kind == "interval":
        return ratio.low is not None and ratio.high is not None and not ratio.low <= 1 <= ratio.high
    assert isinstance(ratio.center, float)
    # By logarithms, 1.05 times as much and 1 / 1.05 as much are equal changes.
    return ratio.center <= 0 or abs(math.log(ratio.center)) >= math.log1p(LEAST_CHANGE)
