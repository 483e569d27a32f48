"""Check samples of a device that must be waited for (V8), and the end of warm-up (V10), both in fake time."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, cast

from cnnbench.clock import Clock, FakeTime
from cnnbench.quantities import show
from cnnbench.selftest import Found, Setting
from cnnbench.selftest.experiments.timed_loop import passes_of
from cnnbench.timing.loop import (
    Sample,
    Timed,
    is_unsynchronised,
    shape_sample,
    take_sample,
)
from cnnbench.timing.warmup import WARM_CAP_S, warm_up
from cnnbench.timing.work import InferencePasses


class _NeverWaits(InferencePasses):
    """Passes that do not wait for the device, like those of a model that computes on a device nobody knows of."""

    def timed(self, readings: int, group: int, clock: Clock) -> Timed:
        """Read the clock around passes that have only been begun."""
        return super().timed(readings, group, replace(clock, synchronize=lambda: None))


# The fake device: seconds that the host takes to begin a pass, the standard deviation of the logarithm of the device's
# time for it, the device's times, samples of each, and the share by which a latency may be wrong.
LAUNCH_S = 20e-6
DEVICE_JITTER = 0.03
DEVICE_TIMES_S = (0.2e-3, 1e-3, 5e-3, 50e-3)
DEVICE_TRIES = 5
DEVICE_SHARE = 0.01


def asynchronous(part: str, setting: Setting) -> Found:
    """Take samples of a device that works while the host goes on, with and without waiting for it (V8)."""
    rng = random.Random(setting.seed)  # noqa: S311  # times of a fake device
    waits = part == "waited for"
    kind = InferencePasses if waits else _NeverWaits
    off: list[float] = []
    invalid = 0

    for device_s in DEVICE_TIMES_S * DEVICE_TRIES:
        sample = _on_device(kind, device_s, rng)
        # The host begins a pass and then waits for the device, so the true latency is the sum of both times.
        off.append(sample.latency_s / (LAUNCH_S + device_s) - 1)
        invalid += is_unsynchronised(sample)

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

    # Times are meaningless if nobody waits for the device. All samples must be seen to be invalid.
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

    # More readings than a run takes of slow passes, because the jitter would move the median of a few.
    steady = replace(shape, readings=max(shape.readings, DEVICE_READINGS))
    return take_sample(kind(begin_pass, cast("Any", (None,))), steady, fake.clock())


# Iterations in a sample of the fake device. The jitter of 3 % moves their median by 1.25 x 3 % / sqrt(200) = 0.27 %;
# with fewer it would be more than the error that is looked for.
DEVICE_READINGS = 200

# Warm-up, in fake time. A pass takes 5 ms, but three times as long at first, until a step or along a ramp of so many
# seconds; True marks a device that has to settle, whose slow start is longer. A model that never settles takes 4 ms
# more after each second, or gets faster for ever, by 5 % every 10 ms. The latter's warm-up is told to end after 1 s.
SETTLED_S = 5e-3
SLOW = 3.0
STARTS: Sequence[tuple[str, float, bool]] = (
    ("a step at 0.04 s", 0.04, False),
    ("a ramp of 0.3 s", 0.3, False),
    ("a device's step at 0.4 s", 0.4, True),
    ("a device's ramp of 2 s", 2.0, True),
)
GROWTH_PER_S = 0.8
FALL_PER_S = 0.005
FALLING_CAP_S = 1.0

# Longest window of a warm-up, in seconds. It compares its time with the cap only between windows.
WINDOW_S = 1.0


def check_warmup(part: str, setting: Setting) -> Found:
    """Check where warm-up ends for a slow start, and that it ends at its cap for a model that never settles (V10)."""
    del setting
    if part == "never settles":
        slower = _never_settles(lambda at_s: 1 + GROWTH_PER_S * at_s, WARM_CAP_S, settle=True)
        faster = _never_settles(lambda at_s: FALL_PER_S**at_s, FALLING_CAP_S, settle=False)
        return Found(
            measured="how long warm-up lasts for a device that gets slower and slower, and for passes that get faster "
            "and faster",
            values=(slower, faster),
            shown=f"{show(slower, 'seconds')}, {show(faster, 'seconds')}",
            bound=f"{show(WARM_CAP_S, 'seconds')}, {show(FALLING_CAP_S, 'seconds')}, and a window more at most",
            holds=0 <= slower - WARM_CAP_S <= WINDOW_S and 0 <= faster - FALLING_CAP_S <= WINDOW_S,
        )

    # A first sample that begins before the slow start is over would contain part of it.
    ends = [(name, _slow_start(until_s, ramp="ramp" in name, settle=settle)) for name, until_s, settle in STARTS]
    return Found(
        measured="first sample after the end of a slow start: how long after, error",
        values=tuple(value for _, found in ends for value in found),
        shown=", ".join(f"{name} {after:+.2f} s {100 * error:+.1f} %" for name, (after, error) in ends),
        bound="after it, within 1 %",
        holds=all(after >= 0 and abs(error) <= DEVICE_SHARE for _, (after, error) in ends),
    )


def _never_settles(factor: Callable[[float], float], cap_s: float, *, settle: bool) -> float:
    """Return the seconds of warm-up for passes that take 5 ms times `factor`, given the seconds since the start."""
    fake = FakeTime()
    work = passes_of(lambda: fake.advance(SETTLED_S * factor(fake.host_ns * 1e-9)))
    return warm_up(work, _cpu_clock(fake), first_s=SETTLED_S, cap_s=cap_s, settle=settle).spent_s


def _slow_start(until_s: float, *, ramp: bool, settle: bool) -> tuple[float, float]:
    """Return the seconds from the slow start to the first sample, and the share by which the sample is too slow."""
    fake = FakeTime()

    def slower() -> float:
        # Share of the slow start that is over, from 0 to 1.
        done = min(1.0, fake.host_ns * 1e-9 / until_s)
        if done == 1:
            return 1.0
        return SLOW - (SLOW - 1) * done if ramp else SLOW

    work, clock = passes_of(lambda: fake.advance(SETTLED_S * slower())), _cpu_clock(fake)

    # The first call was part of the slow start, so it took `SLOW` times as long.
    warm = warm_up(work, clock, first_s=SLOW * SETTLED_S, settle=settle)
    after_s = fake.host_ns * 1e-9 - until_s
    shape = shape_sample(warm.iteration_s, reading_s=0.0, asynchronous=False)
    return after_s, take_sample(work, shape, clock).latency_s / SETTLED_S - 1


def _cpu_clock(fake: FakeTime) -> Clock:
    """Return the clock of a device that has finished its work when a pass returns."""
    return replace(fake.clock(), asynchronous=False)
