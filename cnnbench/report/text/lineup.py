"""The line-up in words: a few lines for a terminal, cells for a table, and a sentence."""

from __future__ import annotations

from cnnbench.analysis.lineup import Lineup, Ranked
from cnnbench.quantity import digits3, show
from cnnbench.stats import Interval
from cnnbench.text import listed, one_line

# Said of a ratio without one.
FEW = "too few rounds for an interval"

HEADINGS = ("Place", "Model", "Latency", "Time over that of the fastest")


def lineup_text(lineup: Lineup) -> str:
    """Return the line-up as aligned lines: what it is about, a line for each model, and the answer as a sentence."""
    cells = lineup_cells(lineup)
    widths = [max(len(row[at]) for row in cells) for at in range(3)]
    lines = [
        f"  {place:<{widths[0]}} {model:<{widths[1]}}  {latency:>{widths[2]}}  {times}".rstrip()
        for place, model, latency, times in cells
    ]
    return "\n".join([f"{title_of(lineup)}:", *lines, sentence_of(lineup)])


def title_of(lineup: Lineup) -> str:
    """Return what the line-up is about."""
    variants = list(dict.fromkeys(one.variant for one in lineup.ranked))
    doing = "" if lineup.task == "infer" else f" {lineup.task}"
    return f"Fastest first ({listed(variants)}, {lineup.device}{doing}, batch {lineup.batch_size})"


def lineup_cells(lineup: Lineup) -> list[tuple[str, str, str, str]]:
    """Return place, model, latency and ratio of each model; a tie has the place of the model before it."""
    cells, place = [], 0
    for at, one in enumerate(lineup.ranked):
        place = place if one.tied_with else at + 1
        cells.append((f"{place}.", one_line(one.model), show(one.latency_s, "seconds"), _times(one)))
    return cells


def _times(one: Ranked) -> str:
    if one.times is None:
        return ""
    if one.times.low is None:
        return f"{ratio_text(one.times)}, {FEW}"
    tie = f", not told apart from {one_line(one.tied_with)}" if one.tied_with else ""
    return f"{ratio_text(one.times)}{tie}"


def ratio_text(times: Interval) -> str:
    """Return a ratio with its interval: "97.1x (95.2-99.0)"; small ones have two decimals."""
    if times.low is None or times.high is None:
        return f"{digits3(times.center)}x"
    decimals = next((d for d, below in ((2, 10), (1, 100)) if times.center < below), 0)
    return f"{times.center:.{decimals}f}x ({times.low:.{decimals}f}-{times.high:.{decimals}f})"


def sentence_of(lineup: Lineup) -> str:
    """Return the answer: how many times as fast the fastest is as each of the others."""
    first, *others = lineup.ranked
    known = [(one_line(one.model), one.times) for one in others if one.times is not None]
    ties = [name for name, times in known if times.low is not None and times.low <= 1]
    faster = [f"{_as_fast(times)} as {name}" for name, times in known if name not in ties]
    parts = [f"not told apart from {listed(ties)}"] if ties else []
    parts += [listed(faster)] if faster else []
    few = f" ({FEW})" if any(times.low is None for _, times in known) else ""
    return f"{one_line(first.model)} is {', and '.join(parts)}{few}." if parts else ""


def _as_fast(times: Interval) -> str:
    ratio, _, span = ratio_text(times).partition("x")
    inside = span.strip(" ()").replace("-", " to ")
    return f"{ratio} times ({inside}) as fast" if inside else f"about {ratio} times as fast"
