"""Filter and sort the rows of a report, and find the best one that fits."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from cnnbench.analysis.row import COLUMNS, Row
from cnnbench.quantities import QUANTITIES, show
from cnnbench.spec import unknown_name

_HIGHER_FIRST = frozenset(
    {name for name, quantity in QUANTITIES.items() if quantity.better == "higher"}
    | {"top1_low", "top1_high", "speedup_low", "speedup_high", "top1_agreement", "peak_flops_utilisation"}
)


@dataclass(frozen=True, kw_only=True, slots=True)
class RowLimits:
    """Limits of a row: seconds for one batch, and number of parameters; None means no limit."""

    latency_max_s: float | None = None
    params_max: int | None = None

    def __bool__(self) -> bool:
        """Return whether there is any limit."""
        return self.latency_max_s is not None or self.params_max is not None

    def __str__(self) -> str:
        """Return the limits in words."""
        latency = None if self.latency_max_s is None else f"latency at most {show(self.latency_max_s, 'seconds')}"
        params = None if self.params_max is None else f"at most {self.params_max:,} parameters"
        return " and ".join(part for part in (latency, params) if part)

    def broken_by(self, row: Row) -> bool:
        """Return whether `row` is known to exceed a limit."""
        return _beyond(row.latency_s, self.latency_max_s) or _beyond(row.params, self.params_max)

    def kept_by(self, row: Row) -> bool:
        """Return whether `row` is known to be within every limit."""
        # A missing value counts against a row here, unlike in `broken_by`.
        unknown = (self.latency_max_s is not None and row.latency_s is None) or (
            self.params_max is not None and row.params is None
        )
        return row.status == "ok" and not unknown and not self.broken_by(row)


def _beyond(value: float | None, limit: float | None) -> bool:
    return value is not None and limit is not None and value > limit


def sort_rows(rows: Iterable[Row], column: str | None) -> list[Row]:
    """Return `rows` sorted by `column`, better values first and missing ones last; ties keep their order.

    Raises:
        UsageError: `column` is not a column of `report.csv`.
    """
    if column is None:
        return list(rows)
    if column not in COLUMNS:
        raise unknown_name("column to sort by", column, COLUMNS)
    known = [row for row in rows if getattr(row, column) is not None]
    unknown = [row for row in rows if getattr(row, column) is None]
    return sorted(known, key=lambda row: getattr(row, column), reverse=column in _HIGHER_FIRST) + unknown


def best_within(rows: Iterable[Row], limits: RowLimits) -> Row | None:
    """Return the inference row within `limits` that has the highest top-1; None if no row fits.

    If no row has a top-1, return the one with the lowest latency. Skip rows whose outputs failed the numerical check.
    """
    fitting = [row for row in rows if row.task != "train" and not row.wrong and limits.kept_by(row)]
    # Ties in top-1 go to the lower latency, ties in latency to fewer parameters.
    if any(row.top1 is not None for row in fitting):
        fitting = [row for row in fitting if row.top1 is not None]
        return min(fitting, key=lambda row: (-(row.top1 or 0.0), _sort_value(row.latency_s)))
    return min(fitting, key=lambda row: (_sort_value(row.latency_s), _sort_value(row.params)), default=None)


def _sort_value(value: float | None) -> float:
    return float("inf") if value is None else value
