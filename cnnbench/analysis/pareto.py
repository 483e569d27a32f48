"""Find the Pareto front of accuracy and latency, as far as intervals tell rows apart."""

from __future__ import annotations

from collections.abc import Sequence

from cnnbench.analysis.row import Row


def front(rows: Sequence[Row]) -> tuple[Row, ...]:
    """Return the rows that no other row beats, fastest first.

    Leave out rows without top-1 or latency, and rows whose outputs failed the numerical check. A row is beaten by one
    whose latency interval lies wholly below its own and whose top-1 is no lower. It is also beaten by one whose top-1
    interval lies wholly above its own and whose latency is no higher. Rows that intervals do not tell apart stay. All
    `rows` must have the same device, batch and task.
    """
    known = [row for row in rows if has_place(row)]
    kept = [row for row in known if not any(_beats(other, row) for other in known)]
    return tuple(sorted(kept, key=lambda row: (row.latency_s or 0.0, -(row.top1 or 0.0))))


def has_place(row: Row) -> bool:
    """Return whether a row has both a top-1 and a latency, and its outputs are not known to be wrong."""
    return row.status == "ok" and not row.wrong and row.top1 is not None and row.latency_s is not None


def _beats(one: Row, other: Row) -> bool:
    assert one.top1 is not None
    assert other.top1 is not None
    assert one.latency_s is not None
    assert other.latency_s is not None
    faster = _below(one.latency_high_s, other.latency_low_s)
    better = _below(other.top1_high, one.top1_low)
    return (faster and one.top1 >= other.top1) or (better and one.latency_s <= other.latency_s)


def _below(high: float | None, low: float | None) -> bool:
    return high is not None and low is not None and high < low
