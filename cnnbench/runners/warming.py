"""Warming up until the time of an iteration settles."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from cnnbench.clock import Clock
from cnnbench.runners.sampling import Work

WARM_WINDOW_S = 0.050
WARM_WINDOW_CALLS = 5
WARM_CPU_S = 0.5
WARM_CUDA_S = 1.0
WARM_READING_S = 100e-6
WARM_WINDOWS = 3
WARM_CAP_S = 30.0
"""Warm-up: windows of five calls or 50 ms, at least three and 0.5 s (CPU) or 1 s (CUDA), until the last ones agree; at
most 30 s. A call of over 0.2 s makes a window of one second. Faster calls are read in groups of 100 us."""

WARM_MEDIANS_AGREE = 0.02
WARM_QUARTILES_AGREE = 0.05
WARM_QUARTILES_FROM = 20
WARM_TURN = 4
"""The last two windows agree: medians within 2 %, quartiles within 5 %; and the last four medians (three, where there
are no more) neither all fall nor all rise, as they do while something still warms up: by chance they do so once in
twelve. Quartiles count from 20 readings a window: those of five scatter by more than that on a shared machine, and made
warm-ups of ResNet-18 a third longer there."""

BRIEF_WARM_S = 0.15
BRIEF_CALLS = 3
"""A brief warm-up on a CPU, of a new process of what settled in an earlier one: single calls or windows of 50 ms, at
least 0.15 s and three calls with the one before it, until the last is not faster than all before it by over 2 %. What
settles slowly on a machine has settled; a process that is new needs some calls, which become faster meanwhile. Our
choice: until windows of five calls agreed, ResNet-18 spent two and a half times as long on later warm-ups as on blocks
(docs/measurement.md)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class WarmUp:
    """What warming up showed: seconds an iteration takes at its end, seconds it took, whether the time settled."""

    iteration_s: float
    spent_s: float
    steady: bool


def warm_up(
    work: Work,
    clock: Clock,
    *,
    first_s: float,
    least_s: float | None = None,
    cap_s: float = WARM_CAP_S,
    brief: bool = False,
) -> WarmUp:
    """Repeat `work` until its time settles or `cap_s` is spent; `first_s` is what the first warm call took.

    It takes `least_s` at least: by default half a second, and a whole one on an asynchronous device. A `brief` one is
    for a new process of what settled in an earlier one, and ends once calls do not become faster.
    """
    if least_s is None:
        least_s = BRIEF_WARM_S if brief else WARM_CUDA_S if clock.asynchronous else WARM_CPU_S
    windows: list[_Window] = []
    spent, iteration_s = 0.0, first_s
    while True:
        windows.append(_window(work, clock, iteration_s, calls=1 if brief else WARM_WINDOW_CALLS))
        spent, iteration_s = spent + windows[-1].spent_s, windows[-1].median_s
        settled = _falls_no_more(first_s, windows) if brief else _settled(windows)
        steady = spent >= least_s and settled
        if steady or spent >= cap_s:
            return WarmUp(iteration_s=iteration_s, spent_s=spent, steady=steady)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Window:
    """A window of the warm-up: its seconds, how often the clock was read, quartiles and median of an iteration."""

    spent_s: float
    readings: int
    low_s: float
    median_s: float
    high_s: float


def _window(work: Work, clock: Clock, iteration_s: float, calls: int) -> _Window:
    iteration_s = max(iteration_s, 1e-9)
    calls = max(1, min(calls, int(1 / iteration_s)), int(WARM_WINDOW_S / iteration_s))
    group = max(1, int(WARM_READING_S / iteration_s))
    begin = clock.now_ns()
    times = work.timed(max(1, calls // group), group, clock).readings_ns
    spent_ns = clock.now_ns() - begin
    low, median, high = statistics.quantiles(times, n=4, method="inclusive") if len(times) > 1 else times * 3
    each = 1e-9 / group
    return _Window(
        spent_s=spent_ns * 1e-9, readings=len(times), low_s=low * each, median_s=median * each, high_s=high * each
    )


def _settled(windows: Sequence[_Window]) -> bool:
    """Return whether the last windows agree, and their medians neither all fall nor all rise."""
    if len(windows) < WARM_WINDOWS:
        return False
    last, other = windows[-1], windows[-2]
    medians = [w.median_s for w in windows[-WARM_TURN:]]
    steps = [b - a for a, b in itertools.pairwise(medians)]
    if min(steps) > 0 or max(steps) < 0 or not _agree(last.median_s, other.median_s, WARM_MEDIANS_AGREE):
        return False
    few = min(last.readings, other.readings) < WARM_QUARTILES_FROM
    pairs = ((last.low_s, other.low_s), (last.high_s, other.high_s))
    return few or all(_agree(a, b, WARM_QUARTILES_AGREE) for a, b in pairs)


def _falls_no_more(first_s: float, windows: Sequence[_Window]) -> bool:
    """Return whether the last window, one of enough calls with the first, is not faster than all before it."""
    fastest_s = min([first_s, *(w.median_s for w in windows[:-1])])
    return 1 + len(windows) >= BRIEF_CALLS and windows[-1].median_s >= (1 - WARM_MEDIANS_AGREE) * fastest_s


def _agree(last_s: float, other_s: float, share: float) -> bool:
    return abs(last_s - other_s) <= share * last_s
