"""Detect disturbances of a sample from outside: stolen time, missing CPU time, throttling, a slow clock."""

from __future__ import annotations

import importlib
import time
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from cnnbench.machine import STAT, TICK_S, all_cores, cpu_ticks, own_cgroups
from cnnbench.spec import Device

if TYPE_CHECKING:
    from cnnbench.timing.loop import Sample

# Largest share of all cores' time that may be stolen in a sample. It equals the width that an interval may have on a
# shared machine.
MOST_STEAL = 0.02

# Smallest share of its time that a single thread must spend on a core. Passes wait for nothing, so the missing time
# went to other processes or to sleep.
LEAST_CPU = 0.95

# Smallest share of its highest clock at which a CUDA device must run. A cooled device stays above it under load; a hot
# or capped one falls below it.
LEAST_SM_CLOCK = 0.75


@dataclass(frozen=True, kw_only=True, slots=True)
class Reading:
    """The counters at one moment: wall time and this process's CPU time, stolen ticks of all cores, throttlings of its
    control groups, and the device's clock over its highest; None if the system has no such counter.
    """  # noqa: D205

    wall_ns: int
    cpu_ns: int
    steal_ticks: int | None = None
    throttled: int | None = None
    sm_clock_share: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Disturbance:
    """What the counters say about the time between two readings; None if they cannot tell."""

    cpu_share: float | None = None
    steal_share: float | None = None
    throttled: bool = False
    sm_clock_share: float | None = None


class DisturbanceMonitor(Protocol):
    """Reads the counters before the re-warm and right after the timed iterations of a sample."""

    def read(self) -> Reading:
        """Return the counters as they stand."""

    def seen(self, before: Reading, after: Reading) -> Disturbance:
        """Return what the counters say about the time between two readings."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SystemWatch:
    """Reads the system's counters; created once in the process that takes the samples.

    CPU time is a share of the time of `threads`, stolen time one of the time of `cores`. `groups` are the `cpu.stat`
    files that count throttling. `sm_clock` reads the device's clock over its highest.
    """

    threads: int
    cores: int
    stat: Path
    groups: tuple[Path, ...]
    sm_clock: Callable[[], float | None]

    def read(self) -> Reading:
        """Return the counters as they stand; this takes about 50 us."""
        ticks = cpu_ticks(self.stat)
        throttled = [count for group in self.groups if (count := _throttle_count(group)) is not None]
        return Reading(
            wall_ns=time.perf_counter_ns(),
            cpu_ns=time.process_time_ns(),
            steal_ticks=None if ticks is None else ticks[0],
            throttled=sum(throttled) if throttled else None,
            sm_clock_share=self.sm_clock(),
        )

    def seen(self, before: Reading, after: Reading) -> Disturbance:
        """Return what two readings say about the time in between; see `disturbance_between`."""
        return disturbance_between(before, after, threads=self.threads, cores=self.cores)


def watch_for(device: Device, threads: int) -> SystemWatch:
    """Return the watch over this process's samples with `threads` threads on `device`."""
    return SystemWatch(
        threads=threads,
        cores=all_cores(),
        stat=STAT,
        groups=tuple(f for g in own_cgroups() if _throttle_count(f := g / "cpu.stat") is not None),
        sm_clock=_sm_clock_reader() if device == "cuda" else _no_clock,
    )


def disturbance_between(before: Reading, after: Reading, *, threads: int, cores: int) -> Disturbance:
    """Return what two readings say about the time in between, for `threads` threads on a machine of `cores` cores.

    The kernel counts stolen time in ticks of 10 ms. A sample of 10 ms on two cores therefore sees none of it or half of
    its time, and a tick that ends in the sample may have begun before it. The mean over many samples is right; a single
    sample is not. If a share s is stolen all the time, a sample of T seconds sees a tick in about s * cores * T / 10 ms
    of all cases.

    The CPU time of the reading thread is exact; the system updates that of other threads every 1 to 10 ms. The kernel
    counts a throttling when it ends, so the sample in which a thread had to wait sees it.
    """
    wall_s = (after.wall_ns - before.wall_ns) * 1e-9
    if wall_s <= 0:
        return Disturbance()
    stolen = _increase(before.steal_ticks, after.steal_ticks)
    # The device may slow down within a sample, so the lower of its two clocks counts.
    clocks = [r.sm_clock_share for r in (before, after) if r.sm_clock_share is not None]
    return Disturbance(
        cpu_share=(after.cpu_ns - before.cpu_ns) * 1e-9 / (wall_s * threads),
        steal_share=None if stolen is None else stolen * TICK_S / (wall_s * cores),
        throttled=bool(_increase(before.throttled, after.throttled)),
        sm_clock_share=min(clocks, default=None),
    )


def rejection_reason(sample: Sample, *, threads: int, device: Device) -> str | None:
    """Return why a sample of `threads` threads is rejected, or None; the counters decide, never the time it took.

    With several threads, CPU time is not judged because some of them may have less to do. With a CUDA device it is not
    judged either, because the host may sleep while it waits.
    """
    if sample.steal_share is not None and sample.steal_share > MOST_STEAL:
        return f"the hypervisor gave {100 * sample.steal_share:.1f} % of the cores' time to others"
    if device == "cpu" and threads == 1 and sample.cpu_share is not None and sample.cpu_share < LEAST_CPU:
        return f"the thread was on a core for only {100 * sample.cpu_share:.1f} % of the time"
    if sample.throttled:
        return "the control group was throttled at its CPU quota"
    if sample.sm_clock_share is not None and sample.sm_clock_share < LEAST_SM_CLOCK:
        return f"the device ran at {100 * sample.sm_clock_share:.0f} % of its highest clock"
    return None


def _increase(before: int | None, after: int | None) -> int | None:
    return None if before is None or after is None else max(0, after - before)


def _throttle_count(stat: Path) -> int | None:
    """Return how often a control group was throttled; None for the root group, which does not count it."""
    try:
        lines: Iterable[str] = stat.read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) for line in lines if line.startswith("nr_throttled ")), None)


def _no_clock() -> None:
    return None


def _sm_clock_reader() -> Callable[[], float | None]:
    """Return a function that reads the current CUDA device's SM clock over its highest; it gives None without NVML."""
    import torch

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # an old package of this name warns that it is deprecated
            nvml: Any = importlib.import_module("pynvml")
        nvml.nvmlInit()
        # NVML numbers the devices without regard to CUDA_VISIBLE_DEVICES, so torch's index may name another one.
        uuid = f"GPU-{torch.cuda.get_device_properties(torch.cuda.current_device()).uuid}"
        handle = nvml.nvmlDeviceGetHandleByUUID(uuid)
        highest = nvml.nvmlDeviceGetMaxClockInfo(handle, nvml.NVML_CLOCK_SM)
    except Exception:  # no library, driver or permission, or a virtual device: the clock is unknown
        return _no_clock

    def read() -> float | None:
        # The driver may refuse a single reading, and a virtual device may name 0 as its highest clock.
        try:
            return float(nvml.nvmlDeviceGetClockInfo(handle, nvml.NVML_CLOCK_SM) / highest)
        except (nvml.NVMLError, ZeroDivisionError):
            return None

    return read
