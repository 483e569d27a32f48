"""The timed loop: choose the length of a sample, and take samples."""

from __future__ import annotations

import gc
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from cnnbench.clock import Clock
from cnnbench.timing.disturbance import Disturbance, DisturbanceMonitor

# Smallest number of timed seconds in a sample. It is short because noise on shared machines changes within a second.
SAMPLE_S = 0.010

# Untimed seconds before a sample, at least one iteration, because caches and clocks of an idle worker have cooled down.
# LeNet needs six passes (5 ms) until a pass takes less than 1 % longer than later ones.
REWARM_CPU_S = 0.005
REWARM_CUDA_S = 0.020

# Iterations on a CPU that take this long or longer are not repeated before a sample. The first one after an idle time
# takes 1 to 2 ms longer (MobileNetV2: 4 % of 27 ms), also for large models: VGG16 0.3 to 0.6 %, MobileNetV2 at batch 8
# in three series 0.2, 0.9 and 1.6 % (two shared cores). All cells of a group pay this alike, and a re-warm would double
# the cost of a sample.
REWARM_BELOW_S = 0.100

# Iterations faster than 100 us are timed in groups, long enough that reading the clock takes at most a thousandth.
# Slower ones are timed one by one, because on an asynchronous device the passes of a group would overlap.
GROUP_BELOW_S = 100e-6
CLOCK_SHARE = 0.001

# Number of single iterations that a sample keeps for the percentiles, evenly picked. Its median uses all iterations.
KEPT_ITERATIONS = 10

# Smallest number of readings for a lower decile, and for a lower quartile: with fewer these would lie below the fastest
# reading.
DECILE_FROM, QUARTILE_FROM = 9, 3

# The device is held for the time that the host needed in the re-warm. If the host was late, the device is held once
# more, for four times as long. On a shared machine the host is late now and then.
HOST_TRIES = (1, 4)

# A sample is invalid if an asynchronous device stays busy after it for longer than both of these: the timed loop did
# not wait for the device.
UNSYNCHRONISED_SHARE = 0.05
UNSYNCHRONISED_S = 100e-6


@dataclass(frozen=True, kw_only=True, slots=True)
class Timed:
    """Raw times in nanoseconds: one per reading, and for each phase one per reading or a single one."""

    readings_ns: tuple[int, ...]
    phases_ns: tuple[tuple[int, ...], ...] = ()


class Work(Protocol):
    """What is timed: an iteration that can be repeated, with the device already chosen.

    `phases` names the parts of an iteration that are timed separately, as quantities. It is empty for a single part.
    """

    phases: tuple[str, ...]

    def first(self) -> object:
        """Do one iteration and return its scores or loss for a check."""

    def repeat(self, count: int) -> None:
        """Do `count` iterations, untimed."""

    def timed(self, readings: int, group: int, clock: Clock) -> Timed:
        """Do `readings` times `group` iterations, and read the clock around each group."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SampleShape:
    """How a sample of one cell is taken; fixed after the first warm-up, so that all samples of the cell are alike."""

    rewarm: int
    readings: int
    group: int

    @property
    def iterations(self) -> int:
        """Return the number of timed iterations in a sample."""
        return self.readings * self.group


@dataclass(frozen=True, kw_only=True, slots=True)
class Sample:
    """One sample in seconds: median iteration, the whole sample, kept iterations, medians of the phases.

    `lower_decile_s` and `lower_quartile_s` are those of the iterations, None if there are too few of them. `device_s`
    is the time that the device needs for an iteration, without waiting for the host. `tail_s` is the time that the
    device stayed busy after the last reading. The rest is what a `DisturbanceMonitor` saw during the sample, None if it
    could not tell.
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


def reading_cost_s(clock: Clock, rounds: int = 2001) -> float:
    """Return the seconds that an empty timed region reads (median of `rounds`), which are not the model's."""
    costs = []
    for _ in range(rounds):
        start = clock.now_ns()
        clock.synchronize()
        costs.append(clock.now_ns() - start)
    return statistics.median(costs) * 1e-9


def shape_sample(iteration_s: float, *, reading_s: float, asynchronous: bool) -> SampleShape:
    """Return the shape of a sample for iterations of `iteration_s`, with a clock whose reading costs `reading_s`."""
    iteration_s = max(iteration_s, 1e-9)
    group = max(1, math.ceil(reading_s / CLOCK_SHARE / iteration_s)) if iteration_s < GROUP_BELOW_S else 1
    readings = max(1, math.ceil(SAMPLE_S / (iteration_s * group)))
    rewarm = max(1, math.ceil((REWARM_CUDA_S if asynchronous else REWARM_CPU_S) / iteration_s))
    if iteration_s >= REWARM_BELOW_S and not asynchronous:
        rewarm = 0
    return SampleShape(rewarm=rewarm, readings=readings, group=group)


def take_sample(work: Work, shape: SampleShape, clock: Clock, watch: DisturbanceMonitor | None = None) -> Sample:
    """Return one sample: re-warm untimed, then time `shape.readings` groups with the garbage collector off.

    The timed regions contain the iterations and the wait for the device. Choosing the inputs, the re-warm, reading the
    counters, the device's own time, and all processing of the times are outside. The last iteration of the re-warm
    goes through the timed loop, because the first one there takes 2 % longer (LeNet). In groups this is negligible.
    """
    # The lead is that last iteration of the re-warm. Its reading comes first and is not part of the sample.
    lead = 1 if shape.group == 1 and shape.rewarm else 0
    # A collection within a reading would count as the model's time.
    collecting = gc.isenabled()
    gc.disable()

    try:
        before = watch.read() if watch else None  # not after the re-warm: it would slow the first readings
        begin = clock.now_ns()
        work.repeat(shape.rewarm - lead)
        enqueued = clock.now_ns()
        clock.synchronize()
        rewarmed = clock.now_ns()
        timed = work.timed(lead + shape.readings, shape.group, clock)
        # The device should be idle by now, so this wait should take no time; `is_unsynchronised` judges it.
        last = clock.now_ns()
        clock.synchronize()
        tail = clock.now_ns() - last
        seen = watch.seen(before, watch.read()) if watch and before else Disturbance()
        lead_ns, readings_ns = sum(timed.readings_ns[:lead]), timed.readings_ns[lead:]
        # Host time to enqueue one iteration: from the re-warm, or from the lead if that was the whole re-warm.
        host_ns = (enqueued - begin) / (shape.rewarm - lead) if shape.rewarm > lead else lead_ns
        device_s = _device_s(work, clock, host_s=host_ns * 1e-9)
    finally:
        if collecting:
            gc.enable()

    each = [ns * 1e-9 / shape.group for ns in readings_ns]
    # Phases of the timed iterations include the lead; a phase that was timed in an extra iteration does not.
    phases = [phase[lead:] if len(phase) > len(readings_ns) else phase for phase in timed.phases_ns]

    return Sample(
        latency_s=statistics.median(each),
        sample_s=sum(readings_ns) * 1e-9,
        rewarm_s=(rewarmed - begin + lead_ns) * 1e-9,
        tail_s=tail * 1e-9,
        iterations_s=tuple(pick_evenly(each, KEPT_ITERATIONS)) if shape.group == 1 else (),
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
    """Return the device's seconds for one more iteration; `host_s` is the time that the host needed to enqueue one."""
    # A model that changes its input needs a copy of it, which would count as the device's time.
    if not clock.asynchronous or clock.device_span is None or getattr(work, "changes_inputs", False):
        return None
    for factor in HOST_TRIES:
        took_s = clock.device_span(lambda: work.repeat(1), factor * host_s)
        if took_s is not None:
            return took_s
    return None


def pick_evenly(values: Sequence[float], most: int) -> Sequence[float]:
    """Return at most `most` of `values`, evenly spaced, starting with the first."""
    step = max(1, math.ceil(len(values) / most))
    return values[::step]


def is_unsynchronised(sample: Sample) -> bool:
    """Return whether the device was still busy after the sample's last reading."""
    return sample.tail_s > max(UNSYNCHRONISED_SHARE * sample.latency_s, UNSYNCHRONISED_S)
