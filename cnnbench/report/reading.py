"""How to read a report: what its columns mean, in sentences for those that it has."""

from __future__ import annotations

from collections.abc import Sequence

from cnnbench.analysis import Report, Row
from cnnbench.analysis.words import listed
from cnnbench.quantity import show
from cnnbench.stats import FEWEST_CLUSTERS


def reading(report: Report) -> list[str]:
    """Return how to read the columns that the report has."""
    rows, lines = report.rows, []
    if any(row.latency_s is not None for row in rows):
        lines.append("Latency is the median time of one pass over a batch; in brackets its 95 % interval.")
    if any(row.speedup is not None for row in rows):
        lines += _comparing(report)
    if any(row.top1_low is not None for row in rows):
        lines.append("Top-1 is the share of test pictures classified correctly, with its 95 % Wilson interval.")
    if report.tested:
        lines.append(f"Top-1 was tested with {listed(report.tested)} only: a model's other rows repeat its value.")
    if any(row.macs is not None for row in rows):
        lines.append("MACs are multiply-adds at batch 1: one multiply-add counts once.")
    lines += _beside(rows)
    lines.append("A dash means not measured. The CSV file has the same rows in SI units and full precision.")
    return lines


def _comparing(report: Report) -> list[str]:
    """Return what speed-up, verdict, margin and A/A twin are."""
    rows = [row for row in report.rows if row.speedup is not None]
    name = "the same model's eager" if report.reference is None else report.reference
    deltas = sorted({row.detail.delta for row in rows if row.detail.delta is not None})
    margin = " to ".join(dict.fromkeys(show(delta, "share") for delta in (deltas[0], deltas[-1]))) if deltas else "-"
    return [
        f"Speed-up is the time of {name} over the row's own, paired by blocks measured next to each other: above 1 is "
        "faster; in brackets its 95 % interval. Of passes so short that a sample holds several it compares the lower "
        "decile or quartile, which other work on the machine disturbs least, and so may differ from what latencies, "
        "which are medians, suggest.",
        f"The verdict compares that interval with a margin ({margin} here), the smallest difference that counts. "
        "FASTER, SLOWER: the interval lies wholly beyond the margin. SAME: wholly within it. NOT DISTINGUISHABLE: "
        "neither, which does not prove that there is no difference; Detectable is the smallest difference that a run "
        "of this precision tells from none four times in five: to be FASTER or SLOWER takes more, by the margin. "
        "Holm's correction holds the risk of any wrong verdict in a report at 5 %.",
        "The margin is what was asked for, or a default by machine. The A/A twin is the reference measured a second "
        "time: for FASTER and SLOWER, not for SAME, the margin is raised to what the two are apart. Where the interval "
        f"of that comes from {FEWEST_CLUSTERS} or more sets or launches and excludes 1, the margin is raised to its "
        "far end, and nothing is SAME. A group has no verdicts where that interval lies wholly beyond the margin "
        "before it is raised, or where a canary was measured and there is no such interval.",
        "A set of workers is a new process for each cell; a launch is one or more sets with a new fork server. An "
        f"interval from {FEWEST_CLUSTERS} or more sets or launches covers how new processes shift the times, which is "
        "1 % or so. One from blocks does not, and one within one launch says nothing of the next launch.",
    ]


def _beside(rows: Sequence[Row]) -> list[str]:
    """Return what the columns beside time are."""
    texts = (
        ("peak_memory_bytes", "Peak memory is that of a process of its own, above what it held before the first pass."),
        ("break_even_calls", "Break-even is the number of passes after which compiling has paid for itself."),
        (
            "flops_share_of_peak",
            "Of peak is the share of the machine's highest FLOP/s that a row achieves; Of roof is that of what peak "
            "and memory allow together for its operations and bytes; Bound by is what alone would take longest.",
        ),
        ("numerics_error", "Error is the largest relative error of the scores against fp64 with the same weights."),
        ("top1_agreement", "Agreement is the share of real pictures whose top class is that of fp64."),
    )
    return [text for name, text in texts if any(getattr(row, name) is not None for row in rows)]
