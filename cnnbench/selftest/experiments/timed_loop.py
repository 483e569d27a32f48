"""Check the timed loop in real time: with work whose time is known (V6, V7), and for what a sample costs (V9)."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar, cast

from cnnbench.clock import wall_clock
from cnnbench.quantities import show
from cnnbench.selftest import Found, NotRunHere, Setting
from cnnbench.timing.disturbance import LEAST_CPU, rejection_reason, watch_for
from cnnbench.timing.loop import (
    Sample,
    SampleShape,
    Work,
    reading_cost_s,
    shape_sample,
    take_sample,
)
from cnnbench.timing.warmup import warm_up
from cnnbench.timing.work import InferencePasses

# Samples of each known time: enough that a few preempted ones do not move the median.
SAMPLES = {"short": 20, "full": 80}


def passes_of(act: Callable[[], object]) -> InferencePasses:
    """Return passes that call `act` and have no input."""
    return InferencePasses(lambda _: act(), cast("Any", (None,)))


def _samples(work: Work, setting: Setting, *, first_s: float, voids: bool) -> list[Sample]:
    """Return samples of `work` after warm-up, taken as a worker does; `voids`: rejected ones are repeated."""
    clock, watch = wall_clock(), watch_for("cpu", 1)
    warm = warm_up(work, clock, first_s=first_s)
    shape = shape_sample(warm.iteration_s, reading_s=reading_cost_s(clock), asynchronous=False)

    # Work that sleeps looks disturbed, because it has little CPU time. Its samples are kept.
    return list(
        repeat_until_fit(
            lambda: take_sample(work, shape, clock, watch),
            count=SAMPLES[setting.form],
            fit=lambda sample: not voids or rejection_reason(sample, threads=1, device="cpu") is None,
            setting=setting,
        )
    )


# Samples that may be taken for each one that is wanted, because rejected ones are repeated. A machine that needs more
# is too busy.
PATIENCE = 4

T = TypeVar("T")


def repeat_until_fit(take: Callable[[], T], *, count: int, fit: Callable[[T], bool], setting: Setting) -> Iterator[T]:
    """Yield `count` results of `take` that are fit; results that an environment counter rejected are repeated.

    Raises:
        NotRunHere: three of four results were not fit.
    """
    found = 0
    for _ in range(PATIENCE * count):
        if found == count:
            return
        setting.on_progress("", found / count)
        taken = take()
        if fit(taken):
            found += 1
            yield taken
    if found < count:
        raise NotRunHere("three of four samples were void, because the machine is too busy; close other programs")


def _spin(seconds: float) -> None:
    until = time.perf_counter_ns() + round(seconds * 1e9)
    while time.perf_counter_ns() < until:
        pass


def _asked_s(part: str) -> float:
    return float(part.split(maxsplit=1)[0]) / 1e3


# Largest error of the median: this share of the time, or these seconds if they are more.
SPIN_SHARE = 0.005
SPIN_S = 20e-6


def measure_spin(part: str, setting: Setting) -> Found:
    """Measure the latency of a module that is busy for the time in `part` (V6)."""
    asked_s = _asked_s(part)
    samples = _samples(passes_of(lambda: _spin(asked_s)), setting, first_s=asked_s, voids=True)
    seen_s = statistics.median(s.latency_s for s in samples)
    most_s = max(SPIN_SHARE * asked_s, SPIN_S)

    return Found(
        measured=f"median of {len(samples)} samples of a module that spins for {part}, less {part}",
        values=(seen_s - asked_s,),
        shown=show(seen_s - asked_s, "seconds"),
        bound=f"at most {show(most_s, 'seconds')} either way",
        holds=abs(seen_s - asked_s) <= most_s,
    )


# Seconds that a sleep may take too long: the system wakes a process late, but never early.
SLEEP_S = 0.5e-3


def measure_sleep(part: str, setting: Setting) -> Found:
    """Measure the latency of a module that sleeps for the time in `part`, and its CPU time over wall time (V7)."""
    asked_s = _asked_s(part)
    samples = _samples(passes_of(lambda: time.sleep(asked_s)), setting, first_s=asked_s, voids=False)
    above_s = statistics.median(s.latency_s for s in samples) - asked_s
    # A process that sleeps has hardly any CPU time, and a run must notice that.
    flagged = sum(s.cpu_share is not None and s.cpu_share < LEAST_CPU for s in samples)
    return Found(
        measured=f"median of {len(samples)} samples of a module that sleeps {part}, less {part}; samples flagged",
        values=(above_s, float(flagged)),
        shown=f"{show(above_s, 'seconds')}; {flagged} of {len(samples)}",
        bound=f"0 to {show(SLEEP_S, 'seconds')}; all",
        holds=0 <= above_s <= SLEEP_S and flagged == len(samples),
    )


# V9: iterations in a sample, samples, seconds of the re-warm, and the largest cost in iterations.
ITERATIONS = 8
ROUNDS = {"short": 1000, "full": 3000}
REWARM_S = 5e-3
INTERCEPT = 0.02


def intercept(_part: str, setting: Setting) -> Found:
    """Measure what samples of 1, 2, 4 and 8 iterations of lenet cost besides these, in iterations (V9).

    The line through their times meets zero at what the first iteration takes more than the others. Both are taken from
    the same samples of eight, because the noise between samples is many times larger than the cost.
    """
    import torch

    rounds = ROUNDS[setting.form]
    with _one_thread(), torch.no_grad():
        work, clock = _lenet(setting.seed), wall_clock()
        warm = warm_up(work, clock, first_s=1e-3)
        # The re-warm is as long as in a run, but each of the eight iterations is timed by itself.
        shape = SampleShape(rewarm=max(1, round(REWARM_S / warm.iteration_s)), readings=ITERATIONS, group=1)
        watch = watch_for("cpu", 1)
        seen = list(
            repeat_until_fit(
                lambda: take_sample(work, shape, clock, watch), count=rounds, fit=_is_undisturbed, setting=setting
            )
        )

    # The first iteration of a sample is compared with the median of the other seven of the same sample.
    firsts = [(first, statistics.median(rest)) for first, *rest in (sample.iterations_s for sample in seen)]
    share = statistics.median(first / other - 1 for first, other in firsts)
    return Found(
        measured=f"what a sample of lenet costs besides its iterations, median of {rounds} samples, in iterations",
        values=(share,),
        shown=f"{100 * share:+.2f} %",
        bound="at most 2 % either way",
        holds=abs(share) <= INTERCEPT,
    )


def _is_undisturbed(sample: Sample) -> bool:
    return rejection_reason(sample, threads=1, device="cpu") is None


@contextmanager
def _one_thread() -> Iterator[None]:
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _lenet(seed: int) -> InferencePasses:
    from cnnbench.models import MODELS
    from cnnbench.timing.work import random_inputs

    spec = MODELS["lenet"]
    return InferencePasses(spec.build().eval(), random_inputs((1, *spec.input_shape), seed))
