"""Clocks that the timing code is given: wall time, wall time around a CUDA device, and a fake one for exact tests."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from cnnbench.spec import Device


@dataclass(frozen=True, kw_only=True, slots=True)
class Clock:
    """A source of time and the way to wait for the device.

    `now_ns` returns nanoseconds of a steady clock. `synchronize` returns when all work given to the device is done; on
    a CPU it does nothing, because operations are finished when they return.
    """

    now_ns: Callable[[], int]
    synchronize: Callable[[], None]
    asynchronous: bool


def _done() -> None:
    return None


def wall_clock() -> Clock:
    """Return the clock for devices that finish an operation before it returns."""
    return Clock(now_ns=time.perf_counter_ns, synchronize=_done, asynchronous=False)


def cuda_clock() -> Clock:
    """Return the clock for the current CUDA device; `synchronize` waits for all its streams."""
    import torch  # lazily, so that planning needs no torch

    return Clock(now_ns=time.perf_counter_ns, synchronize=torch.cuda.synchronize, asynchronous=True)


def clock_for(device: Device) -> Clock:
    """Return the clock that measures `device` rightly."""
    return cuda_clock() if device == "cuda" else wall_clock()


class FakeTime:
    """Time that moves only when told, so that tests of timing code assert exact numbers.

    `advance` moves the host's time. `enqueue` gives an asynchronous device work that `Clock.synchronize` waits for.
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

    def clock(self) -> Clock:
        """Return the clock that reads this time."""
        return Clock(now_ns=self._now, synchronize=self._wait, asynchronous=True)
