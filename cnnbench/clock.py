"""Clocks for the timing code: wall time, wall time around a CUDA device, and a fake clock for exact tests."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

from cnnbench.spec import Device

# Function (enqueue, host seconds) -> device seconds; see `Clock.device_span`.
Span = Callable[[Callable[[], None], float], float | None]

# The device sleeps for this multiple of the host seconds that enqueueing needs. A disturbed host may thus take up to
# twice as long as expected. If it takes longer, there is no result (None).
HELD = 2.0

# Cycles of the sleep that calibrates the cycles per second: about 5 ms, so that the launch overhead is negligible.
SLEEP_CYCLES = 10_000_000


@dataclass(frozen=True, kw_only=True, slots=True)
class Clock:
    """A source of time, and a way to wait for the device.

    `now_ns` returns nanoseconds of a steady clock. `synchronize` waits until all work given to the device is done. On a
    CPU it does nothing, because operations are finished when they return. `asynchronous` clocks are for devices that
    work on after an operation has returned.

    `device_span` takes a function that enqueues work, and the seconds that the host needs for that. It returns the
    seconds that the device needs, without time spent waiting for the host. It returns None if the device could not be
    held busy until all work was enqueued: the function waits for the device itself, or enqueues more than the device's
    queue holds. The field is None if the host is the device.
    """

    now_ns: Callable[[], int]
    synchronize: Callable[[], None]
    asynchronous: bool
    device_span: Span | None = None


def _do_nothing() -> None:
    return None


def wall_clock() -> Clock:
    """Return the clock for devices that finish an operation before it returns."""
    return Clock(now_ns=time.perf_counter_ns, synchronize=_do_nothing, asynchronous=False)


def cuda_clock() -> Clock:
    """Return the clock for the current CUDA device; `synchronize` waits for all its streams."""
    import torch  # imported here, so that planning needs no torch

    return Clock(
        now_ns=time.perf_counter_ns, synchronize=torch.cuda.synchronize, asynchronous=True, device_span=_cuda_span
    )


def _cuda_span(enqueue: Callable[[], None], host_s: float) -> float | None:
    """Return the device seconds between two events behind a sleep, during which the host enqueues all work."""
    import torch

    begin, end = _event(), _event()

    # The device must not wake up before the host has enqueued everything.
    cycles = math.ceil(HELD * host_s * _cycles_per_s(torch.cuda.current_device()))
    torch.cuda.synchronize()
    _sleep(cycles)
    begin.record()
    enqueue()
    end.record()
    late = begin.query()  # the device woke up too early, so it may have waited for the host
    torch.cuda.synchronize()

    # Events give milliseconds.
    return None if late else float(begin.elapsed_time(end)) * 1e-3


def _event() -> Any:
    import torch

    return torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]


def _sleep(cycles: int) -> None:
    import torch

    torch.cuda._sleep(cycles)  # type: ignore[no-untyped-call]  # noqa: SLF001  # torch offers no other way


@cache
def _cycles_per_s(device: int) -> float:
    """Return the cycles of the sleep kernel per second on device number `device`."""
    import torch

    begin, end = _event(), _event()
    with torch.cuda.device(device):
        _sleep(SLEEP_CYCLES)  # warm-up: the first launch loads the kernel, and an idle device is slow
        begin.record()
        _sleep(SLEEP_CYCLES)
        end.record()
        end.synchronize()
    return SLEEP_CYCLES / (float(begin.elapsed_time(end)) * 1e-3)


def clock_for(device: Device) -> Clock:
    """Return the clock that fits `device`."""
    return cuda_clock() if device == "cuda" else wall_clock()


class FakeTime:
    """Time that moves only on request, so that tests of timing code can assert exact numbers.

    `advance` moves the host's time. `enqueue` gives work to an asynchronous device; `Clock.synchronize` waits for it.
    """

    def __init__(self, *, tick_ns: int = 0) -> None:
        """Start at zero; every reading of the clock costs `tick_ns`."""
        self.host_ns = 0
        self.device_ns = 0
        self.tick_ns = tick_ns

    def advance(self, seconds: float) -> None:
        """Let the host work for `seconds`."""
        self.host_ns += round(seconds * 1e9)

    def enqueue(self, seconds: float) -> None:
        """Give the device `seconds` of work without waiting for it."""
        self.device_ns = max(self.device_ns, self.host_ns) + round(seconds * 1e9)

    def _now(self) -> int:
        self.host_ns += self.tick_ns
        return self.host_ns

    def _wait(self) -> None:
        self.host_ns = max(self.host_ns, self.device_ns)

    def _span(self, enqueue: Callable[[], None], host_s: float) -> float | None:
        self._wait()
        self.enqueue(HELD * host_s)
        begin_ns = self.device_ns
        enqueue()
        late = self.host_ns > begin_ns
        took_ns = self.device_ns - begin_ns
        self._wait()
        return None if late else took_ns * 1e-9

    def clock(self) -> Clock:
        """Return the clock that reads this time."""
        return Clock(now_ns=self._now, synchronize=self._wait, asynchronous=True, device_span=self._span)
