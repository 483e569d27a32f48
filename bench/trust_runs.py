"""What whole runs of `compare` and `run quick` say, from their records, and a summary of many: used by `trust.py`."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from cnnbench.analysis import Report
from cnnbench.analysis.cells import TIMED
from cnnbench.record import Record
from cnnbench.stats import Interval

UNDECIDED = "NOT DISTINGUISHABLE"
LARGE = 0.1
"""A row whose ratio is further from 1 should have a verdict."""

Found = dict[str, Any]
"""What is kept of one run, or a part of it, as JSON holds it."""


def first_table_s(records: Iterable[Record], begin: float) -> float:
    """Return the seconds from `begin` (since 1970) until every timed cell had a record."""
    ends: dict[object, float] = {}
    for record in records:
        if record.case.role == "timed" and record.case.task in TIMED:
            end = datetime.fromisoformat(record.started).timestamp() + record.duration_s
            ends[record.case.identity()] = min(end, ends.get(record.case.identity(), math.inf))
    return round(max(ends.values(), default=math.nan) - begin, 1)


def said(report: Report) -> Found:
    """Return every ratio of a report with its interval and verdict, its A/A controls, and where the time went."""
    aa_controls = () if report.noise is None else report.noise.aa_controls
    return {
        "busy": None if report.noise is None else report.noise.busy,
        "passes_share": None if report.totals is None else report.totals.passes_share,
        "compile_s": None if report.totals is None else report.totals.compile_s,
        "rows": [
            {
                "row": row.label(),
                "status": row.status,
                "rounds": row.rounds,
                "verdict": row.verdict,
                "ratio": (row.speedup, row.speedup_low, row.speedup_high),
                "warnings": row.warnings,
            }
            for row in report.rows
            if row.task in TIMED
        ],
        "lineups": [
            {"model": one.model, "ratio": ratio_of(one.times), "tied_with": one.tied_with}
            for lineup in report.lineups
            for one in lineup.ranked
        ],
        "aa_controls": [{"row": t.reference, "ratio": ratio_of(t.ratio), "excludes": t.excludes} for t in aa_controls],
    }


def ratio_of(interval: Interval | None) -> tuple[float, float | None, float | None] | None:
    return None if interval is None else (interval.center, interval.low, interval.high)


def lines_of(runs: Sequence[Found]) -> list[str]:
    """Return the summary of runs of `compare` or `bench`."""
    rows = [row for run in runs for row in run["rows"]]
    aa_controls = [aa_control for run in runs for aa_control in run["aa_controls"]]
    judged = [row for row in rows if row["verdict"] is not None]
    large = [row for row in judged if row["ratio"][0] and abs(math.log(row["ratio"][0])) > math.log1p(LARGE)]
    shares = [run["passes_share"] for run in runs if run["passes_share"] is not None]
    lines = [
        f"first table after {range_of([run['first_table_s'] for run in runs])} s",
        f"end after {range_of([run['took_s'] for run in runs])} s",
        f"busy headline in {sum(run['busy'] is not None for run in runs)} runs",
        f"rows: {tally(row['status'] for row in rows)}; {sum(bool(row['warnings']) for row in rows)} with a warning",
        f"verdicts: {tally(row['verdict'] for row in judged)}",
        f"beyond {LARGE:.0%}: {len(large)}, {sum(row['verdict'] == UNDECIDED for row in large)} of them {UNDECIDED}",
        f"A/A: {sum(aa_control['excludes'] for aa_control in aa_controls)} of {len(aa_controls)} exclude 1",
    ]
    if shares:
        lines.append(f"inside passes {range_of([100 * share for share in shares])} % of the time, compiling apart")
    lines += [line_of(name, own) for name, own in group_by("row", judged).items()]
    lines += [line_of(f"fastest / {name}", own) for name, own in group_by("model", ranked(runs)).items()]
    return lines + [line_of(f"A/A {name}", own) for name, own in group_by("row", aa_controls).items()]


def ranked(runs: Sequence[Found]) -> list[Found]:
    return [one for run in runs for one in run["lineups"] if one["ratio"] is not None]


def group_by(name: str, found: Iterable[Found]) -> dict[str, list[Found]]:
    grouped: dict[str, list[Found]] = {}
    for one in found:
        grouped.setdefault(one[name], []).append(one)
    return grouped


def line_of(name: str, found: Sequence[Found]) -> str:
    """Return how the ratios of one row scatter over the runs, and their half-widths, rounds and verdicts."""
    ratios = [one["ratio"] for one in found if one["ratio"][0] is not None]
    halves = [100 * math.log(high / low) / 2 for _, low, high in ratios if low is not None and high is not None]
    parts = [spread_of([center for center, _, _ in ratios])]
    parts.append(f"half-width {range_of(halves)} %" if halves else "no interval")
    if "rounds" in found[0]:
        parts += [f"rounds {range_of([one['rounds'] or 0 for one in found])}", tally(one["verdict"] for one in found)]
    return f"{name}: {'; '.join(parts)}"


def tally(words: Iterable[str]) -> str:
    counts: dict[str, int] = {}
    for word in words:
        counts[word] = counts.get(word, 0) + 1
    return ", ".join(f"{count} {word}" for word, count in counts.items()) or "none"


def range_of(values: Sequence[float]) -> str:
    low, middle, high = (f"{x:.3g}" for x in (min(values), statistics.median(values), max(values)))
    return middle if low == high else f"{middle} ({low} to {high})"


def deviation(ratios: Sequence[float]) -> float:
    return statistics.stdev(math.log(ratio) for ratio in ratios)


def spread_of(ratios: Sequence[float]) -> str:
    if len(ratios) < 2:
        return f"{ratios[0]:.3f}" if ratios else "no ratio"
    low, middle, high = min(ratios), statistics.median(ratios), max(ratios)
    return f"median {middle:.3f}, {low:.3f} to {high:.3f}, standard deviation {100 * deviation(ratios):.2f} %"
