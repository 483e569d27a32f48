"""Experiments in fake time: a device that must be waited for, and warm-up of slow starters and the never steady."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, cast

from cnnbench.clock import Clock, FakeTime
from cnnbench.quantity import show
from cnnbench.runners.passes import InferencePasses
from cnnbench.runners.sampling import (
    Sample,
    Timed,
    shape_sample,
    take_sample,
    unsynchronised,
)
from cnnbench.runners.warming import WARM_CAP_S, warm_up
from cnnbench.selftest import Found, Setting
from cnnbench.selftest.clocking import passes_of


class _NeverWaits(InferencePasses):
    """Passes that do not wait for the device, as a network does that computes where nobody looks."""

    def timed(self, readings: int, group: int, clock: Clock) -> Timed:
        """Read the clock around passes that were only begun."""
        return super().timed(readings, group, replace(clock, synchronize=lambda: None))


LAUNCH_S = 20e-6
DEVICE_JITTER = 0.03
DEVICE_TIMES_S = (0.2e-3, 1e-3, 5e-3, 50e-3)
DEVICE_TRIES = 5
DEVICE_SHARE = 0.01
"""The fake device: seconds of the host to begin a pass, spread of the device's time for it, and the times tried."""


def asynchronous(part: str, setting: Setting) -> Found:
    """V8: samples of a device that works while the host goes on, with and without waiting for it."""
    rng = random.Random(setting.seed)  # noqa: S311  # times of a fake device
    waits = part == "waited for"
    kind = InferencePasses if waits else _NeverWaits
    off: list[float] = []
    invalid = 0
    for device_s in DEVICE_TIMES_S * DEVICE_TRIES:
        sample = _on_device(kind, device_s, rng)
        off.append(sample.latency_s / (LAUNCH_S + device_s) - 1)
        invalid += unsynchronised(sample)
    tries = len(off)
    if waits:
        worst = max(off, key=abs)
        return Found(
            measured=f"latency of a fake asynchronous device, largest error of {tries} samples; samples held invalid",
            values=(worst, float(invalid)),
            shown=f"{100 * worst:+.2f} %; {invalid}",
            bound="within 1 %; 0",
            holds=abs(worst) <= DEVICE_SHARE and invalid == 0,
        )
    return Found(
        measured=f"samples of {tries} held invalid because the device was not waited for",
        values=(float(invalid),),
        shown=f"{invalid} of {tries}",
        bound=f"{tries} of {tries}",
        holds=invalid == tries,
    )


def _on_device(kind: type[InferencePasses], device_s: float, rng: random.Random) -> Sample:
    fake = FakeTime()

    def begin_pass(_: object) -> None:
        fake.advance(LAUNCH_S)
        fake.enqueue(device_s * rng.lognormvariate(0.0, DEVICE_JITTER))

    shape = shape_sample(device_s, reading_s=0.0, asynchronous=True)
    steady = replace(shape, readings=max(shape.readings, DEVICE_READINGS))
    return take_sample(kind(begin_pass, cast("Any", (None,))), steady, fake.clock())


DEVICE_READINGS = 200
"""Iterations of a sample of the fake device: with fewer the jitter of 3 % would move the median by more than the error
that is looked for (1.25 x 3 % / sqrt(200) = 0.27 %)."""

SETTLED_S = 5e-3
STARTS: Sequence[tuple[str, float]] = (("a step", 0.4), ("a ramp", 2.0))
SLOW = 3.0
GROWTH_PER_S = 0.8
"""Warm-up, in fake time: a pass of 5 ms that is at first three times slower, until a step or along a ramp of so many
seconds; and one that gets slower for ever, by 3 % every 50 ms."""


def warming(part: str, setting: Setting) -> Found:
    """V10: where warm-up ends for a slow start, and whether a network that never settles is noticed."""
    del setting
    if part == "never settles":
        fake = FakeTime()
        work = passes_of(lambda: fake.advance(SETTLED_S * (1 + GROWTH_PER_S) ** (fake.host_ns * 1e-9)))
        warm = warm_up(work, _of_cpu(fake), first_s=SETTLED_S, cap_s=WARM_CAP_S)
        return Found(
            measured="warm-up of a network that gets slower and slower: its length, and whether it counts as settled",
            values=(warm.spent_s, float(warm.steady)),
            shown=f"{show(warm.spent_s, 'seconds')}, {'settled' if warm.steady else 'not_steady'}",
            bound="not_steady",
            holds=not warm.steady,
        )
    ends = {name: _slow_start(name, until_s) for name, until_s in STARTS}
    after = {name: ends[name][0] - until_s for name, until_s in STARTS}
    return Found(
        measured="first sample after the end of a slow start (a step at 0.4 s, a ramp of 2 s): how long after, error",
        values=tuple(value for name, _ in STARTS for value in (after[name], ends[name][1])),
        shown=", ".join(f"{name} {after[name]:+.2f} s {100 * ends[name][1]:+.1f} %" for name, _ in STARTS),
        bound="after it, within 1 %",
        holds=all(after[name] >= 0 and abs(ends[name][1]) <= DEVICE_SHARE for name, _ in STARTS),
    )


def _slow_start(kind: str, until_s: float) -> tuple[float, float]:
    """Return when the first sample begins, and by what share it is slower than the settled network."""
    fake = FakeTime()

    def slower() -> float:
        done = min(1.0, fake.host_ns * 1e-9 / until_s)
        return 1.0 if done == 1 else SLOW if kind == "a step" else SLOW - (SLOW - 1) * done

    work, clock = passes_of(lambda: fake.advance(SETTLED_S * slower())), _of_cpu(fake)
    warm = warm_up(work, clock, first_s=SLOW * SETTLED_S)
    begin_s = fake.host_ns * 1e-9
    shape = shape_sample(warm.iteration_s, reading_s=0.0, asynchronous=False)
    return begin_s, take_sample(work, shape, clock).latency_s / SETTLED_S - 1


def _of_cpu(fake: FakeTime) -> Clock:
    """Return the clock of a device that has finished when a pass returns."""
    return replace(fake.clock(), asynchronous=False)
