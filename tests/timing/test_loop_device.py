"""What a sample holds beside its times: the device's own time, and what a watch saw meanwhile."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from cnnbench.clock import FakeTime
from cnnbench.timing.disturbance import Disturbance, Reading
from cnnbench.timing.loop import SampleShape, Timed, take_sample
from cnnbench.timing.work import InferencePasses

INPUT: Any = [None]
MS = 1e-3
US = 1e-6
near: Any = pytest.approx


def kernels(fake: FakeTime, *, host_s: float, device_s: float, count: int = 10) -> InferencePasses:
    """Return passes of `count` operators, each `host_s` to enqueue and `device_s` on the device."""

    def call(_: object) -> None:
        for _ in range(count):
            fake.advance(host_s)
            fake.enqueue(device_s)

    return InferencePasses(call, INPUT)


@pytest.mark.parametrize(
    ("host_s", "device_s", "latency_s", "alone_s"),
    [
        (50 * US, 5 * US, 505 * US, 50 * US),  # bound by launching: the device waits for nine tenths of the time
        (5 * US, 50 * US, 505 * US, 500 * US),  # bound by the device
    ],
)
def test_the_device_s_own_time_has_no_gaps(host_s: float, device_s: float, latency_s: float, alone_s: float) -> None:
    fake = FakeTime()
    passes = kernels(fake, host_s=host_s, device_s=device_s)
    found = take_sample(passes, SampleShape(rewarm=40, readings=20, group=1), fake.clock())
    assert (found.latency_s, found.device_s) == (near(latency_s), near(alone_s))
    assert fake.host_ns == fake.device_ns  # the device is left idle


def test_nine_tenths_of_a_pass_of_small_kernels_are_launching() -> None:
    fake = FakeTime()

    def call(_: object) -> None:
        for _ in range(10):
            fake.enqueue(5 * US)
            fake.advance(50 * US)  # the launch returns when the kernel has long begun

    found = take_sample(InferencePasses(call, INPUT), SampleShape(rewarm=1, readings=1, group=1), fake.clock())
    assert (found.latency_s, found.device_s) == (near(500 * US), near(50 * US))
    assert found.device_s is not None
    assert 1 - found.device_s / found.latency_s == near(0.9)


def test_self_synchronising_pass_has_no_device_time() -> None:
    fake = FakeTime()
    clock = fake.clock()

    def call(_: object) -> None:
        fake.enqueue(1 * MS)
        clock.synchronize()
        fake.advance(1 * MS)
        fake.enqueue(1 * MS)

    found = take_sample(InferencePasses(call, INPUT), SampleShape(rewarm=1, readings=1, group=1), clock)
    assert (found.latency_s, found.device_s) == (near(3 * MS), None)


@pytest.mark.parametrize(("late_s", "alone_s"), [(0.9 * MS, 1 * MS), (3 * MS, 1 * MS), (9 * MS, None)])
def test_a_host_that_is_late_once_is_given_more_time(late_s: float, alone_s: float | None) -> None:
    fake = FakeTime()
    host_s = iter([1 * MS] * 3 + [1 * MS + late_s] * 2)  # re-warm, reading, and at most two tries

    def call(_: object) -> None:
        fake.advance(next(host_s))
        fake.enqueue(1 * MS)

    found = take_sample(InferencePasses(call, INPUT), SampleShape(rewarm=2, readings=1, group=1), fake.clock())
    assert found.device_s == (alone_s and near(alone_s))
    assert len(list(host_s)) == (1 if late_s < MS else 0)


def test_where_the_host_is_the_device_there_is_no_pass_more() -> None:
    fake, calls = FakeTime(), list[object]()
    found = take_sample(
        InferencePasses(calls.append, INPUT),
        SampleShape(rewarm=2, readings=3, group=1),
        replace(fake.clock(), asynchronous=False),
    )
    assert (found.device_s, len(calls)) == (None, 5)


@dataclass
class Script:
    """A watch and a piece of work in one, which write down what happens."""

    log: list[str] = field(default_factory=list)
    phases: tuple[str, ...] = ()

    def first(self) -> object:
        return None

    def repeat(self, count: int) -> None:
        self.log.append(f"repeat {count}")

    def timed(self, readings: int, group: int, clock: object) -> Timed:
        self.log.append(f"timed {readings} {group}")
        return Timed(readings_ns=(1,) * readings)

    def read(self) -> Reading:
        self.log.append("read")
        return Reading(wall_ns=len(self.log), cpu_ns=0)

    def seen(self, before: Reading, after: Reading) -> Disturbance:
        assert (before.wall_ns, after.wall_ns) == (1, 4)
        return Disturbance(cpu_share=0.5, steal_share=0.25, throttled=True, sm_clock_share=0.125)


def test_watch_reads_before_rewarm_and_after_timed_iterations() -> None:
    script = Script()
    found = take_sample(script, SampleShape(rewarm=7, readings=2, group=3), FakeTime().clock(), script)
    assert script.log == ["read", "repeat 7", "timed 2 3", "read", "repeat 1"]
    assert (found.cpu_share, found.steal_share, found.throttled, found.sm_clock_share) == (0.5, 0.25, True, 0.125)


def test_without_a_watch_nothing_is_known() -> None:
    found = take_sample(Script(), SampleShape(rewarm=1, readings=1, group=1), FakeTime().clock())
    assert (found.cpu_share, found.steal_share, found.throttled, found.sm_clock_share) == (None, None, False, None)
