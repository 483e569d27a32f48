"""Explain the columns that a report has, in sentences."""

from __future__ import annotations

from collections.abc import Sequence

from cnnbench.analysis import Report, Row
from cnnbench.quantities import show
from cnnbench.text import name_list

# What the intervals of speed-ups promise, in one sentence. Simulations and runs on machines have confirmed it
# (docs/measurement.md).
GUARANTEE = "In at least 95 of 100 groups of rows that share a reference, all intervals contain the true ratio."


def reading(report: Report) -> list[str]:
    """Return sentences on how to read the columns that the report has."""
    rows, lines = report.rows, []
    # A column is explained only if some row has a value in it.
    if any(row.latency_s is not None for row in rows):
        lines.append(
            "Latency is the time of one pass over a batch: the middle over all rounds of the middle of each. Its 95 % "
            "interval over the rounds is in brackets."
        )

    if any(row.speedup is not None for row in rows):
        lines += _comparison_help(report)

    if any(row.top1_low is not None for row in rows):
        lines.append("Top-1 is the share of test images classified correctly, with its 95 % Wilson interval.")

    # `tested` is empty if every row shows the value of its own variant.
    if report.tested:
        lines.append(f"Top-1 was tested with {name_list(report.tested)} only: a model's other rows repeat its value.")

    if any(row.macs is not None for row in rows):
        lines.append("MACs are multiply-adds at batch 1: one multiply-add counts once.")

    lines += _other_columns_help(rows)
    lines.append("A dash means not measured. The CSV file has the same rows in SI units and full precision.")
    return lines


def _comparison_help(report: Report) -> list[str]:
    """Return sentences that explain speed-up, verdict, round and A/A control."""
    rows = [row for row in report.rows if row.speedup is not None]
    name = "the same model's eager" if report.reference is None else report.reference

    # The smallest difference that counts can vary, for example between devices; the text then gives its range.
    deltas = sorted({row.detail.delta for row in rows if row.detail.delta is not None})
    least = " to ".join(dict.fromkeys(show(delta, "share") for delta in (deltas[0], deltas[-1]))) if deltas else "-"

    return [
        f"Speed-up is the time of {name} divided by the row's own, paired by blocks measured next to each other. Above "
        "1 is faster; its interval is in brackets. If passes are so short that a sample holds several, it compares the "
        "lower decile or quartile, which other work on the machine disturbs least. It may then differ from the ratio "
        "of the latencies, which are medians.",
        f"The verdict compares that interval with {least}, the smallest difference that counts here. FASTER, SLOWER: "
        "the interval lies wholly beyond it. SAME: wholly within it. NOT DISTINGUISHABLE: neither, which does not "
        "prove that there is no difference. MDE is the minimum detectable effect: the smallest difference that a run "
        "of this precision detects four times in five.",
        GUARANTEE,
        "In a round, each cell gets a new process, so the interval over rounds covers differences between starts of a "
        "process and changes of the machine over minutes. The scatter of rounds is estimated from all cells of the run "
        "together. The A/A control is the reference measured a second time in each round. If its interval excludes 1, "
        "the intervals of its group are widened by its distance from 1.",
    ]


def _other_columns_help(rows: Sequence[Row]) -> list[str]:
    """Return sentences that explain the columns other than latency, speed-up, top-1 and MACs."""
    # Each sentence belongs to the field of `Row` in front of it, and appears if any row has a value there.
    texts = (
        ("peak_memory_bytes", "Peak memory is that of a separate process, above what it held before the first pass."),
        ("break_even_calls", "Break-even is the number of passes after which compiling has paid for itself."),
        (
            "peak_flops_utilisation",
            "Peak FLOP/s % is the share of the machine's highest FLOP/s that a row achieves. Roofline % is the share "
            "of what peak and memory together allow for its operations and bytes. Bound by is what alone would take "
            "longest.",
        ),
        ("max_relative_error", "Error is the largest relative error of the scores against fp64 with the same weights."),
        ("top1_agreement", "Agreement is the share of real images whose top class is that of fp64."),
    )
    return [text for name, text in texts if any(getattr(row, name) is not None for row in rows)]
