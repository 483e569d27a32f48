"""The timed loop: warm up until the time settles, choose how long a sample is, take samples."""

from __future__ import annotations

import gc
import itertools
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from cnnbench.clock import Clock
from cnnbench.runners.watch import Seen, Watch

SAMPLE_S = 0.010
"""Timed seconds that a sample holds at least; short, because noise on shared machines moves within a second."""

REWARM_CPU_S = 0.005
REWARM_CUDA_S = 0.020
"""Untimed seconds before a sample, at least one iteration: caches and clocks of an idle worker have cooled down."""

GROUP_BELOW_S = 100e-6
CLOCK_SHARE = 0.001
"""Iterations faster than 100 us are timed in groups, so long that reading the clock takes at most a thousandth. Slower
ones are timed one by one: on an asynchronous device the passes of a group would overlap."""

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

KEPT_ITERATIONS = 10
"""Single iterations that a sample keeps, evenly picked, for the percentiles; the sample's median uses all of them."""

DECILE_FROM, QUARTILE_FROM = 9, 3
"""Readings from which a sample has a lower decile and a lower quartile: with fewer they would lie below the fastest."""

HOST_TRIES = (1, 4)
"""The device is held for the time that the host needed in the re-warm, and once more for four times as long if the host
was late. Our choice: on a shared machine it is late now and then."""

UNSYNCHRONISED_SHARE = 0.05
UNSYNCHRONISED_S = 100e-6
"""An asynchronous device that is still busy for longer after a sample was not waited for: the sample is invalid."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Timed:
    """Raw times in nanoseconds: one per reading, and per phase one per reading where there are phases."""

    readings_ns: tuple[int, ...]
    phases_ns: tuple[tuple[int, ...], ...] = ()


class Work(Protocol):
    """What is timed: an iteration that can be repeated, with the device already chosen.

    `phases` names the parts of an iteration that are timed apart, as quantities; empty for a single part.
    """

    phases: tuple[str, ...]

    def first(self) -> object:
        """Do one iteration and return its scores or loss, to be looked at."""

    def repeat(self, count: int) -> None:
        """Do `count` iterations, untimed."""

    def timed(self, readings: int, group: int, clock: Clock) -> Timed:
        """Do `readings` times `group` iterations, and read the clock around each group."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SampleShape:
    """How a sample of one cell is taken; fixed after warm-up, so that every sample of a launch is alike."""

    rewarm: int
    readings: int
    group: int

    @property
    def iterations(self) -> int:
        """Timed iterations in a sample."""
        return self.readings * self.group


@dataclass(frozen=True, kw_only=True, slots=True)
class Sample:
    """One sample in seconds: median iteration, the whole sample, kept iterations, medians of the phases.

    `lower_decile_s`, `lower_quartile_s`: of the iterations, None where these are too few. `device_s`: what the device
    needs for an iteration, without waiting for the host. The rest is what a `Watch` saw during the timed iterations;
    None is what could not be seen.
    """

    latency_s: float
    sample_s: float
    rewarm_s: float
    tail_s: float
    iterations_s: tuple[float, ...]
    phases_s: tuple[float, ...]
    lower_decile_s: float | None = None
    lower_quartile_s: float | None = None
    device_s: float | None = None
    cpu_share: float | None = None
    steal_share: float | None = None
    throttled: bool = False
    sm_clock_share: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class WarmUp:
    """What warming up showed: seconds an iteration takes at its end, seconds it took, whether the time settled."""

    iteration_s: float
    spent_s: float
    steady: bool


def reading_cost_s(clock: Clock, rounds: int = 2001) -> float:
    """Return the seconds that an empty timed region reads, the median of `rounds`: what is not the network's."""
    costs = []
    for _ in range(rounds):
        start = clock.now_ns()
        clock.synchronize()
        costs.append(clock.now_ns() - start)
    return statistics.median(costs) * 1e-9


def shape_sample(iteration_s: float, *, reading_s: float, asynchronous: bool) -> SampleShape:
    """Return the shape of a sample for iterations of `iteration_s` seconds with a clock that costs `reading_s`."""
    iteration_s = max(iteration_s, 1e-9)
    group = max(1, math.ceil(reading_s / CLOCK_SHARE / iteration_s)) if iteration_s < GROUP_BELOW_S else 1
    readings = max(1, math.ceil(SAMPLE_S / (iteration_s * group)))
    rewarm_s = REWARM_CUDA_S if asynchronous else REWARM_CPU_S
    return SampleShape(rewarm=max(1, math.ceil(rewarm_s / iteration_s)), readings=readings, group=group)


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


def take_sample(work: Work, shape: SampleShape, clock: Clock, watch: Watch | None = None) -> Sample:
    """Return one sample: re-warm untimed, then time `shape.readings` groups with the garbage collector off.

    Inside the timed regions are the iterations and waiting for the device; outside are picking the inputs, the
    re-warm, reading the counters, the device's own time, and everything done with the times. The last iteration of the
    re-warm goes through the timed loop, where the first one takes 2 % longer (LeNet); in groups that is lost.
    """
    lead = 1 if shape.group == 1 else 0
    collecting = gc.isenabled()
    gc.disable()
    try:
        before = watch.read() if watch else None  # before the re-warm: just before them it would slow the first ones
        begin = clock.now_ns()
        work.repeat(shape.rewarm - lead)
        enqueued = clock.now_ns()
        clock.synchronize()
        rewarmed = clock.now_ns()
        timed = work.timed(lead + shape.readings, shape.group, clock)
        last = clock.now_ns()
        clock.synchronize()
        tail = clock.now_ns() - last
        seen = watch.seen(before, watch.read()) if watch and before else Seen()
        lead_ns, readings_ns = sum(timed.readings_ns[:lead]), timed.readings_ns[lead:]
        host_ns = (enqueued - begin) / (shape.rewarm - lead) if shape.rewarm > lead else lead_ns
        device_s = _device_s(work, clock, host_s=host_ns * 1e-9)
    finally:
        if collecting:
            gc.enable()
    each = [ns * 1e-9 / shape.group for ns in readings_ns]
    phases = [phase[lead:] if len(phase) > len(readings_ns) else phase for phase in timed.phases_ns]
    return Sample(
        latency_s=statistics.median(each),
        sample_s=sum(readings_ns) * 1e-9,
        rewarm_s=(rewarmed - begin + lead_ns) * 1e-9,
        tail_s=tail * 1e-9,
        iterations_s=tuple(evenly(each, KEPT_ITERATIONS)) if shape.group == 1 else (),
        phases_s=tuple(statistics.median(phase) * 1e-9 for phase in phases),
        lower_decile_s=statistics.quantiles(each, n=10)[0] if len(each) >= DECILE_FROM else None,
        lower_quartile_s=statistics.quantiles(each, n=4)[0] if len(each) >= QUARTILE_FROM else None,
        device_s=device_s,
        cpu_share=seen.cpu_share,
        steal_share=seen.steal_share,
        throttled=seen.throttled,
        sm_clock_share=seen.sm_clock_share,
    )


def _device_s(work: Work, clock: Clock, *, host_s: float) -> float | None:
    """Return the device's seconds for one iteration more; `host_s` is what the host needed to enqueue one before."""
    if not clock.asynchronous or clock.device_span is None:
        return None
    for factor in HOST_TRIES:
        took_s = clock.device_span(lambda: work.repeat(1), factor * host_s)
        if took_s is not None:
            return took_s
    return None


def evenly(values: Sequence[float], most: int) -> Sequence[float]:
    """Return at most `most` of `values`, evenly spaced from the first on."""
    step = max(1, math.ceil(len(values) / most))
    return values[::step]


def unsynchronised(sample: Sample) -> bool:
    """Return whether the device was still at work after the sample's last reading."""
    return sample.tail_s > max(UNSYNCHRONISED_SHARE * sample.latency_s, UNSYNCHRONISED_S)
