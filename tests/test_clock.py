"""Clocks: what is waited for, and the fake one that other tests trust."""

import time
from collections.abc import Iterator
from typing import Any

import pytest

from cnnbench import clock as clocks
from cnnbench.clock import SLEEP_CYCLES, FakeTime, clock_for, cuda_clock, wall_clock

near: Any = pytest.approx


def test_wall_clock_reads_steady_clock_and_never_waits() -> None:
    clock = wall_clock()
    before = time.perf_counter_ns()
    read = clock.now_ns()
    clock.synchronize()
    assert before <= read <= time.perf_counter_ns()
    assert not clock.asynchronous


def test_each_device_gets_its_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    torch = pytest.importorskip("torch")
    waited: list[str] = []
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: waited.append("cuda"))
    cpu, cuda = clock_for("cpu"), clock_for("cuda")
    cpu.synchronize()
    assert waited == []
    cuda.synchronize()
    assert waited == ["cuda"]
    assert (cpu.asynchronous, cuda.asynchronous) == (False, True)
    assert cpu.device_span is None
    assert cuda.device_span is not None


def test_fake_time_stands_until_it_is_told() -> None:
    fake = FakeTime()
    clock = fake.clock()
    assert [clock.now_ns(), clock.now_ns()] == [0, 0]
    fake.advance(0.25)
    assert clock.now_ns() == 250_000_000


def test_every_reading_of_fake_time_costs_its_tick() -> None:
    clock = FakeTime(tick_ns=40).clock()
    assert [clock.now_ns(), clock.now_ns(), clock.now_ns()] == [40, 80, 120]


def test_waiting_ends_when_the_device_does() -> None:
    fake = FakeTime()
    clock = fake.clock()
    fake.enqueue(0.003)
    fake.enqueue(0.002)
    fake.advance(0.001)
    assert clock.now_ns() == 1_000_000  # the host went on meanwhile
    clock.synchronize()
    assert clock.now_ns() == 5_000_000
    clock.synchronize()
    assert clock.now_ns() == 5_000_000  # nothing left to wait for


def test_an_idle_device_starts_when_it_is_given_work() -> None:
    fake = FakeTime()
    fake.advance(0.010)
    fake.enqueue(0.001)
    fake.clock().synchronize()
    assert fake.host_ns == 11_000_000


def test_waiting_never_turns_time_back() -> None:
    fake = FakeTime()
    clock = fake.clock()
    fake.enqueue(0.001)
    fake.advance(0.005)
    clock.synchronize()
    assert clock.now_ns() == 5_000_000


# The device's own time


def spans(fake: FakeTime, clock: clocks.Clock, *, host_s: float, told_s: float) -> float | None:
    """Return the device's time for ten operators of 1 ms, each after `host_s` of the host, which is told `told_s`."""

    def enqueue() -> None:
        for _ in range(10):
            fake.advance(host_s)
            fake.enqueue(0.001)

    assert clock.device_span is not None
    return clock.device_span(enqueue, told_s)


@pytest.mark.parametrize("host_s", [0.0, 0.0005, 0.001, 0.005])
def test_fake_time_spans_what_the_device_does_without_gaps(host_s: float) -> None:
    fake = FakeTime()
    fake.enqueue(0.5)  # work from before is waited for
    assert spans(fake, fake.clock(), host_s=host_s, told_s=10 * host_s) == near(0.010)
    assert fake.host_ns == fake.device_ns


@pytest.mark.parametrize(("told_s", "found_s"), [(0.0251, 0.010), (0.0249, None)])
def test_a_host_that_is_not_done_in_twice_its_time_gives_nothing(told_s: float, found_s: float | None) -> None:
    fake = FakeTime()
    assert spans(fake, fake.clock(), host_s=0.005, told_s=told_s) == (found_s and near(found_s))


class Event:
    """A CUDA event on the device of a fake time."""

    def __init__(self, fake: FakeTime) -> None:
        self.fake, self.at_ns = fake, 0

    def record(self) -> None:
        self.at_ns = max(self.fake.device_ns, self.fake.host_ns)

    def query(self) -> bool:
        return self.fake.host_ns > self.at_ns

    def synchronize(self) -> None:
        self.fake.clock().synchronize()

    def elapsed_time(self, end: "Event") -> float:
        return (end.at_ns - self.at_ns) * 1e-6


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeTime]:
    """Put a device of 2 GHz, whose time is fake, in the place of CUDA; its first sleep takes long."""
    cuda = pytest.importorskip("torch").cuda
    fake, slept = FakeTime(), list[int]()

    def sleep(cycles: int) -> None:
        fake.enqueue(cycles / 2e9 + (0.5 if not slept else 0.0))
        slept.append(cycles)

    class Current:
        def __init__(self, index: int) -> None:
            assert index == 0

        def __enter__(self) -> None: ...
        def __exit__(self, *error: object) -> None: ...

    for name, value in {
        "Event": lambda *, enable_timing: Event(fake) if enable_timing else None,
        "_sleep": sleep,
        "synchronize": fake.clock().synchronize,
        "current_device": lambda: 0,
        "device": Current,
    }.items():
        monkeypatch.setattr(cuda, name, value)
    clocks._cycles_per_s.cache_clear()
    yield fake
    assert slept[:2] == [SLEEP_CYCLES] * 2
    clocks._cycles_per_s.cache_clear()


@pytest.mark.parametrize("host_s", [0.0005, 0.005])
def test_a_cuda_device_is_held_until_all_is_enqueued(device: FakeTime, host_s: float) -> None:
    for _ in range(2):  # its cycles are counted once
        assert spans(device, cuda_clock(), host_s=host_s, told_s=10 * host_s) == near(0.010)


def test_a_cuda_device_that_woke_up_too_early_gives_nothing(device: FakeTime) -> None:
    assert spans(device, cuda_clock(), host_s=0.005, told_s=0.024) is None
