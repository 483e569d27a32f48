"""Clocks: what is waited for, and the fake one that other tests trust."""

import time

import pytest

from cnnbench.clock import FakeTime, clock_for, wall_clock


def test_the_wall_clock_reads_the_steady_clock_and_has_nothing_to_wait_for() -> None:
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
