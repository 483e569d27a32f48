"""Describe the line-up: a few lines for a terminal, cells for a table, and a sentence."""

from __future__ import annotations

from cnnbench.analysis.lineup import Lineup, Ranked
from cnnbench.quantities import digits3, show
from cnnbench.stats import Interval
from cnnbench.text import name_list, one_line

# Text for a ratio without an interval.
FEW = "too few rounds for an interval"

HEADINGS = ("Place", "Model", "Latency", "Time over that of the fastest")


def lineup_text(lineup: Lineup) -> str:
    """Return the line-up as aligned lines: a title, a line for each model, and the answer as a sentence."""
    cells = lineup_cells(lineup)
    # The ratio ends the line, so it needs no width.
    widths = [max(len(row[at]) for row in cells) for at in range(3)]
    lines = [
        f"  {place:<{widths[0]}} {model:<{widths[1]}}  {latency:>{widths[2]}}  {times}".rstrip()
        for place, model, latency, times in cells
    ]
    return "\n".join([f"{title_of(lineup)}:", *lines, sentence_of(lineup)])


def title_of(lineup: Lineup) -> str:
    """Return the title of the line-up: its variants, device, task and batch size."""
    variants = list(dict.fromkeys(one.variant for one in lineup.ranked))
    doing = "" if lineup.task == "infer" else f" {lineup.task}"
    return f"Fastest first ({name_list(variants)}, {lineup.device}{doing}, batch {lineup.batch_size})"


def lineup_cells(lineup: Lineup) -> list[tuple[str, str, str, str]]:
    """Return the place, name, latency and ratio of each model; a tied model has the place of the model before it."""
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
    """Return a ratio with its interval, such as "97.1x (95.2-99.0)"; ratios below 10 have two decimals."""
    if times.low is None or times.high is None:
        return f"{digits3(times.center)}x"
    decimals = next((d for d, below in ((2, 10), (1, 100)) if times.center < below), 0)
    return f"{times.center:.{decimals}f}x ({times.low:.{decimals}f}-{times.high:.{decimals}f})"


def sentence_of(lineup: Lineup) -> str:
    """Return the answer: how many times as fast the fastest model is as each of the others."""
    first, *others = lineup.ranked
    known = [(one_line(one.model), one.times) for one in others if one.times is not None]
    # A model is tied with the fastest if the interval of their ratio holds 1.
    ties = [name for name, times in known if times.low is not None and times.low <= 1]
    faster = [f"{_speed_phrase(times)} as {name}" for name, times in known if name not in ties]
    parts = [f"not told apart from {name_list(ties)}"] if ties else []
    parts += [name_list(faster)] if faster else []
    few = f" ({FEW})" if any(times.low is None for _, times in known) else ""
    return f"{one_line(first.model)} is {', and '.join(parts)}{few}." if parts else ""


def _speed_phrase(times: Interval) -> str:
    ratio, _, span = ratio_text(times).partition("x")
    inside = span.strip(" ()").replace("-", " to ")
    return f"{ratio} times ({inside}) as fast" if inside else f"about {ratio} times as fast"
