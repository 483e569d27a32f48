"""Warm up until calls become no faster, and longer on a device whose clocks must settle."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from cnnbench.clock import Clock
from cnnbench.timing.loop import SAMPLE_S, Work

# A warm-up takes at least 50 ms and three calls, counting the two before it. A run has many rounds of new processes,
# and what one of them has not settled appears in the difference between rounds. LeNet's passes took as long 50 ms after
# the start as half a second after it, with threads on their own cores and freed memory kept. Under an earlier rule,
# until windows of five calls agreed, ResNet-18 spent two and a half times as long on warm-ups as on blocks.
WARM_S = 0.05
WARM_CALLS = 3

# A warm-up goes on while its last window is over 2 % faster than all windows before it. Scatter makes few windows that
# fast; calls that still become faster make all windows so.
WARM_FALLS = 0.02

# Seconds after which a warm-up ends in any case, unless the caller sets another limit.
WARM_CAP_S = 30.0

# Faster calls are timed in groups of 100 us. Reading the clock takes less than a thousandth of that.
WARM_READING_S = 100e-6

# Settling of an asynchronous device in its first round: windows of five calls or 50 ms, at least three windows and one
# second, until the last windows agree. If a call takes over 0.2 s, a window has one second. Settling must outlast the
# seconds in which a cold device raises its clock.
SETTLE_S = 1.0
SETTLE_WINDOW_S = 0.050
SETTLE_WINDOW_CALLS = 5
SETTLE_WINDOWS = 3

# The last two windows agree if their medians are within 2 % and their quartiles within 5 %. The last four medians
# (three, if there are no more) must neither all fall nor all rise, as they do while something still warms up. By chance
# they do so once in twelve times. Quartiles count from 20 readings in a window, because those of five scatter by more
# than 5 % on a shared machine.
SETTLED_MEDIANS = 0.02
SETTLED_QUARTILES = 0.05
SETTLED_QUARTILES_FROM = 20
SETTLED_TURN = 4


@dataclass(frozen=True, kw_only=True, slots=True)
class WarmUp:
    """Result of a warm-up: the seconds of an iteration at its end, and the seconds that the warm-up took."""

    iteration_s: float
    spent_s: float


def warm_up(work: Work, clock: Clock, *, first_s: float, cap_s: float = WARM_CAP_S, settle: bool = False) -> WarmUp:
    """Repeat `work` until it becomes no faster or `cap_s` is spent; `first_s` is the time of the first warm call.

    Calls that take 50 ms or more are not repeated. Their third call is the re-warm before the first sample, or that
    sample itself if calls are so long that there is no re-warm. With `settle`, repeat `work` until its time settles,
    for at least a second.
    """
    if first_s >= WARM_S and not settle:
        return WarmUp(iteration_s=first_s, spent_s=0.0)

    # Settling compares the windows with each other, so each of them needs several calls.
    least_s, window_s, least_calls = (
        (SETTLE_S, SETTLE_WINDOW_S, SETTLE_WINDOW_CALLS) if settle else (WARM_S, SAMPLE_S, 1)
    )
    windows: list[_Window] = []
    spent, iteration_s = 0.0, first_s

    while True:
        # The median of a window sets the number of calls in the next one.
        windows.append(_window(work, clock, iteration_s, window_s=window_s, least_calls=least_calls))
        spent, iteration_s = spent + windows[-1].spent_s, windows[-1].median_s
        enough = _is_settled(windows) if settle else _falls_no_more(first_s, windows)
        if (enough and spent >= least_s) or spent >= cap_s:
            return WarmUp(iteration_s=iteration_s, spent_s=spent)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Window:
    """A window of the warm-up: its seconds, its number of readings, and quartiles and median of an iteration."""

    spent_s: float
    readings: int
    low_s: float
    median_s: float
    high_s: float


def _window(work: Work, clock: Clock, iteration_s: float, *, window_s: float, least_calls: int) -> _Window:
    iteration_s = max(iteration_s, 1e-9)
    # `least_calls` may exceed the window's time, but not take more than about a second.
    calls = max(1, min(least_calls, int(1 / iteration_s)), int(window_s / iteration_s))
    group = max(1, int(WARM_READING_S / iteration_s))
    begin = clock.now_ns()
    times = work.timed(max(1, calls // group), group, clock).readings_ns
    spent_ns = clock.now_ns() - begin

    # A single reading stands for the quartiles and the median.
    low, median, high = statistics.quantiles(times, n=4, method="inclusive") if len(times) > 1 else times * 3
    each = 1e-9 / group
    return _Window(
        spent_s=spent_ns * 1e-9, readings=len(times), low_s=low * each, median_s=median * each, high_s=high * each
    )


def _falls_no_more(first_s: float, windows: Sequence[_Window]) -> bool:
    """Return whether the last window is no faster than all before it, and enough calls were made.

    The two calls before the first window count.
    """
    fastest_s = min([first_s, *(w.median_s for w in windows[:-1])])
    return 2 + len(windows) >= WARM_CALLS and windows[-1].median_s >= (1 - WARM_FALLS) * fastest_s


def _is_settled(windows: Sequence[_Window]) -> bool:
    """Return whether the last windows agree, and their medians neither all fall nor all rise."""
    if len(windows) < SETTLE_WINDOWS:
        return False
    last, other = windows[-1], windows[-2]

    # Medians that all fall or all rise belong to a warm-up that goes on, even if the last two are close.
    medians = [w.median_s for w in windows[-SETTLED_TURN:]]
    steps = [b - a for a, b in itertools.pairwise(medians)]
    if min(steps) > 0 or max(steps) < 0 or not _agree(last.median_s, other.median_s, SETTLED_MEDIANS):
        return False

    few = min(last.readings, other.readings) < SETTLED_QUARTILES_FROM
    pairs = ((last.low_s, other.low_s), (last.high_s, other.high_s))
    return few or all(_agree(a, b, SETTLED_QUARTILES) for a, b in pairs)


def _agree(last_s: float, other_s: float, share: float) -> bool:
    return abs(last_s - other_s) <= share * last_s
