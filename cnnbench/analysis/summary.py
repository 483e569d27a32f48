"""What a report says in sentences: differences that were seen, the best row, failures, and where the time went."""

from __future__ import annotations

from collections.abc import Sequence

from cnnbench.analysis.result import Totals
from cnnbench.analysis.row import Row
from cnnbench.analysis.rows import Condition
from cnnbench.analysis.select import Limits, best_within
from cnnbench.analysis.words import number_of
from cnnbench.quantity import show_range


def summarise(shown: Sequence[Row], measured: Sequence[Row], limits: Limits, totals: Totals | None) -> tuple[str, ...]:
    """Return the sentences on all rows that are `shown`; a best one is looked for among all that were `measured`."""
    sentences = [_best(measured, limits)] if limits else _leaders(shown)
    sentences += _failures(shown)
    share = None if totals is None else totals.passes_share
    if share is not None:
        sentences.append(
            f"{100 * share:.0f} % of the wall time, compilation apart, was inside timed or warm-up passes."
        )
    return tuple(sentences)


def compare(rows: Sequence[Row]) -> tuple[str, ...]:
    """Return one sentence a model and condition: what differs from the reference, and what does not."""
    several = _several(rows)
    groups: dict[tuple[str, Condition], list[Row]] = {}
    for row in rows:
        if row.speedup is not None:
            groups.setdefault((row.model, _condition(row)), []).append(row)
    return tuple(
        f"{model}{_where(condition) if several else ''}: {'; '.join(_difference(row) for row in group)}."
        for (model, condition), group in groups.items()
    )


def _several(rows: Sequence[Row]) -> bool:
    """Return whether rows were timed under more than one condition, so that a sentence must name its own."""
    return len({_condition(row) for row in rows if row.latency_s is not None}) > 1


def _condition(row: Row) -> Condition:
    return row.device, row.batch_size, row.task


def _where(condition: Condition) -> str:
    device, batch_size, task = condition
    return f" ({device}, batch {batch_size}, {task})"


def _difference(row: Row) -> str:
    model, _, variant = (row.reference or "").rpartition("/")
    other = variant if model == row.model else f"{model} {variant}"
    ratio, low, high = row.speedup, row.speedup_low, row.speedup_high
    if ratio is None or low is None or high is None:
        return f"too few blocks to tell {row.variant} from {other}"
    span = f"({_times(1 / high)} to {_times(1 / low)})"
    if low <= 1 <= high:
        return f"no difference seen between {row.variant} and {other} {span}"
    return f"{row.variant} takes {_times(1 / ratio)}x the time of {other} {span}"


def _times(ratio: float) -> str:
    """Return a ratio of times with the decimals that tell it from 1."""
    return f"{ratio:.3f}" if 0.9 < ratio < 1.1 or ratio < 0.1 else f"{ratio:.2f}"  # noqa: PLR2004 # a matter of taste


def _best(measured: Sequence[Row], limits: Limits) -> str:
    best = best_within(measured, limits)
    if best is None:
        return f"No row is known to fit {limits}."
    return f"Best that fits {limits}: {best.label()}{_figures(best)}."


def _figures(row: Row) -> str:
    top1 = None if row.top1 is None else f"top-1 {show_range(row.top1, row.top1_low, row.top1_high, 'share')}"
    latency = None if row.latency_s is None else _latency(row)
    found = ", ".join(part for part in (top1, latency) if part)
    return f", {found}" if found else ""


def _latency(row: Row) -> str:
    return show_range(row.latency_s, row.latency_low_s, row.latency_high_s, "seconds")


def _leaders(rows: Sequence[Row]) -> list[str]:
    """Return which of several models took least time under each condition, and which classified best."""
    sentences, several = [], _several(rows)
    conditions = dict.fromkeys(_condition(row) for row in rows if row.latency_s is not None)
    for condition in conditions:
        among = [row for row in rows if _condition(row) == condition and row.latency_s is not None]
        if len({row.model for row in among}) > 1:
            best = min(among, key=lambda row: row.latency_s or 0.0)
            where = _where(condition) if several else ""
            sentences.append(f"Shortest median latency{where}: {best.model} {best.variant}, {_latency(best)}.")
    judged = [row for row in rows if row.top1 is not None]
    if len({row.model for row in judged}) > 1 and len({row.dataset for row in judged}) == 1:
        best = max(judged, key=lambda row: row.top1 or 0.0)
        top1 = show_range(best.top1, best.top1_low, best.top1_high, "share")
        sentences.append(f"Highest top-1 on {best.dataset}: {best.model}, {top1}.")
    return sentences


def _failures(rows: Sequence[Row]) -> list[str]:
    counts: dict[str, int] = {}
    for row in rows:
        if row.status != "ok":
            counts[row.status] = counts.get(row.status, 0) + 1
    if not counts:
        return []
    kinds = ", ".join(f"{count} {status}" for status, count in counts.items())
    total = sum(counts.values())
    return [f"{total} of {number_of(len(rows), 'row')} {'is' if total == 1 else 'are'} not ok: {kinds}."]
