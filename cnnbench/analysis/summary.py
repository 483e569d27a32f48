"""Summarise a report in sentences: verdicts, the best row, failures, share of time inside passes."""

from __future__ import annotations

from collections.abc import Sequence

from cnnbench.analysis.build_rows import Condition
from cnnbench.analysis.filter import RowLimits, best_within
from cnnbench.analysis.report import Totals
from cnnbench.analysis.row import Row
from cnnbench.quantities import show_range
from cnnbench.text import number_of


def summarise(
    shown: Sequence[Row], measured: Sequence[Row], limits: RowLimits, totals: Totals | None
) -> tuple[str, ...]:
    """Return the sentences on all `shown` rows; the best row is searched among all `measured` ones."""
    # With limits the question is which row fits them best; without, which model leads.
    sentences = [_best(measured, limits)] if limits else _leaders(shown)
    sentences += _failures(shown)
    share = None if totals is None else totals.passes_share
    if share is not None:
        sentences.append(
            f"{100 * share:.0f} % of the wall time without compilation was inside timed or warm-up passes."
        )
    return tuple(sentences)


def compare(rows: Sequence[Row]) -> tuple[str, ...]:
    """Return one sentence for each model and condition: the verdict on each row, or why there is none."""
    several = _has_several_conditions(rows)
    groups: dict[tuple[str, Condition], list[Row]] = {}
    for row in rows:
        if row.speedup is not None:
            groups.setdefault((row.model, _condition(row)), []).append(row)
    return tuple(
        f"{model}{_condition_text(condition) if several else ''}: {_differences(group)}."
        for (model, condition), group in groups.items()
    )


def _has_several_conditions(rows: Sequence[Row]) -> bool:
    """Return whether rows were timed under several conditions, so that a sentence must name its condition."""
    return len({_condition(row) for row in rows if row.latency_s is not None}) > 1


def _condition(row: Row) -> Condition:
    return row.device, row.batch_size, row.task


def _condition_text(condition: Condition) -> str:
    device, batch_size, task = condition
    return f" ({device}, batch {batch_size}, {task})"


def _differences(group: Sequence[Row]) -> str:
    """Return the part of a sentence on the rows of one model under one condition."""
    return "; ".join(_difference(row) for row in group)


def _reference_name(row: Row) -> str:
    """Return the name of the row's reference; leave out the model if it is the same as that of the row."""
    model, _, variant = (row.reference or "").rpartition("/")
    return variant if model == row.model else f"{model} {variant}"


def _difference(row: Row) -> str:
    ratio, low, high = row.speedup, row.speedup_low, row.speedup_high
    if ratio is None or low is None or high is None or row.detail.delta is None:
        return f"{row.variant} is NOT DISTINGUISHABLE from {_reference_name(row)}: too few rounds for an interval"
    # SAME holds only relative to `delta`, so the sentence names it; a missing verdict needs a reason.
    span = _span(ratio, low, high)
    if row.verdict == "SAME":
        return f"{row.variant} is the SAME as {_reference_name(row)} within {_per_cent(row.detail.delta)} %, {span}"
    if row.verdict == "NOT DISTINGUISHABLE":
        why = _undecided_reason(row, low, high, row.detail.delta)
        return f"{row.variant} is NOT DISTINGUISHABLE from {_reference_name(row)}, {span} ({why})"
    return f"{row.variant} is {row.verdict} than {_reference_name(row)}, {span}"


def _undecided_reason(row: Row, low: float, high: float, delta: float) -> str:
    """Return why a speed-up between `low` and `high` has no verdict."""
    # The interval shows a difference, but not that it exceeds `delta`.
    if low > 1 or high < 1:
        return f"the interval is not wholly beyond the {_per_cent(delta)} % that count here"
    return f"a difference below {_per_cent(row.minimum_detectable_effect or 0.0)} % is easily missed at this precision"


def _per_cent(share: float) -> str:
    """Return a share in per cent with one decimal, or none for whole numbers."""
    return f"{100 * share:.1f}".removesuffix(".0")


def _span(ratio: float, low: float, high: float) -> str:
    """Return a speed-up and its interval with enough decimals to tell it from 1, such as "1.31x (1.17-1.53)"."""
    decimals = 3 if 0.9 < ratio < 1.1 or ratio < 0.1 else 2  # noqa: PLR2004 # a matter of taste
    return f"{ratio:.{decimals}f}x ({low:.{decimals}f}-{high:.{decimals}f})"


def _best(measured: Sequence[Row], limits: RowLimits) -> str:
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
    """Return which of several models took the least time under each condition, and which has the highest top-1."""
    sentences, several = [], _has_several_conditions(rows)
    conditions = dict.fromkeys(_condition(row) for row in rows if row.latency_s is not None)
    for condition in conditions:
        # A row with wrong outputs never leads, however fast it is. Variants of a single model are not ranked.
        among = [r for r in rows if _condition(r) == condition and r.latency_s is not None and not r.wrong]
        if len({row.model for row in among}) > 1:
            best = min(among, key=lambda row: row.latency_s or 0.0)
            where = _condition_text(condition) if several else ""
            sentences.append(f"Shortest latency{where}: {best.model} {best.variant}, {_latency(best)}.")

    # Accuracies on different datasets cannot be ranked.
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
