"""What disturbed a sample from outside: stolen time, missing CPU time, throttling, a slow clock; never its time."""

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

# Share of all cores' time that may be stolen in a sample. Our choice: as much as the interval of a shared machine may
# be wide.
MOST_STEAL = 0.02

# Share of its time that a single thread must have been on a core. Our choice: passes wait for nothing, so that what is
# missing was given to other processes, or slept away.
LEAST_CPU = 0.95

# Share of its highest clock that a CUDA device must run at. Our choice: below what a cooled device keeps under load,
# above what a hot or capped one falls to.
LEAST_SM_CLOCK = 0.75


@dataclass(frozen=True, kw_only=True, slots=True)
class Reading:
    """The counters at one moment: nanoseconds of wall and of this process's CPU time, stolen ticks of all cores, how
    often its control groups were throttled, and the device's clock over its highest; None where the system has none.
    """  # noqa: D205

    wall_ns: int
    cpu_ns: int
    steal_ticks: int | None = None
    throttled: int | None = None
    sm_clock_share: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Disturbance:
    """What the counters say about the time between two readings."""

    cpu_share: float | None = None
    steal_share: float | None = None
    throttled: bool = False
    sm_clock_share: float | None = None


class DisturbanceMonitor(Protocol):
    """Reads the counters right before and right after the timed iterations of a sample."""

    def read(self) -> Reading:
        """Return the counters as they stand."""

    def seen(self, before: Reading, after: Reading) -> Disturbance:
        """Return what they say about the time in between."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SystemWatch:
    """Reads the system's counters; made once in the process that takes the samples.

    `threads` and `cores`: what CPU time and stolen time are shares of. `groups`: the `cpu.stat` files that count
    throttling. `sm_clock`: reads the device's clock over its highest.
    """

    threads: int
    cores: int
    stat: Path
    groups: tuple[Path, ...]
    sm_clock: Callable[[], float | None]

    def read(self) -> Reading:
        """Return the counters as they stand; some 50 us."""
        ticks = cpu_ticks(self.stat)
        throttled = [count for group in self.groups if (count := _throttled(group)) is not None]
        return Reading(
            wall_ns=time.perf_counter_ns(),
            cpu_ns=time.process_time_ns(),
            steal_ticks=None if ticks is None else ticks[0],
            throttled=sum(throttled) if throttled else None,
            sm_clock_share=self.sm_clock(),
        )

    def seen(self, before: Reading, after: Reading) -> Disturbance:
        """Return what two readings say about the time in between, see `between`."""
        return between(before, after, threads=self.threads, cores=self.cores)


def watch_for(device: Device, threads: int) -> SystemWatch:
    """Return the watch over this process's samples of `threads` threads on `device`."""
    return SystemWatch(
        threads=threads,
        cores=all_cores(),
        stat=STAT,
        groups=tuple(f for g in own_cgroups() if _throttled(f := g / "cpu.stat") is not None),
        sm_clock=_sm_clock() if device == "cuda" else _no_clock,
    )


def between(before: Reading, after: Reading, *, threads: int, cores: int) -> Disturbance:
    """Return what two readings say about the time in between, for `threads` threads on a machine of `cores` cores.

    The kernel counts stolen time in ticks of 10 ms. A sample of 10 ms on two cores therefore sees none of it or half of
    its time, and a tick that ends in the sample may have begun before: the mean over many samples is right, one sample
    is not. Where a share s is stolen all the time, a sample of T seconds sees a tick in about s * cores * T / 10 ms of
    all cases. The CPU time of the reading thread is exact; that of others is brought up to date every 1 to 10 ms. The
    kernel counts a throttling when it ends, so that the sample in which a thread had to wait sees it.
    """
    wall_s = (after.wall_ns - before.wall_ns) * 1e-9
    if wall_s <= 0:
        return Disturbance()
    stolen = _gained(before.steal_ticks, after.steal_ticks)
    clocks = [r.sm_clock_share for r in (before, after) if r.sm_clock_share is not None]
    return Disturbance(
        cpu_share=(after.cpu_ns - before.cpu_ns) * 1e-9 / (wall_s * threads),
        steal_share=None if stolen is None else stolen * TICK_S / (wall_s * cores),
        throttled=bool(_gained(before.throttled, after.throttled)),
        sm_clock_share=min(clocks, default=None),
    )


def disturbed(sample: Sample, *, threads: int, device: Device) -> str | None:
    """Return why a sample of `threads` threads is void, or None: by what was counted, never by the time it took.

    With several threads CPU time is not judged, because some may have less to do; nor beside a CUDA device, which the
    host may wait for asleep.
    """
    if sample.steal_share is not None and sample.steal_share > MOST_STEAL:
        return f"the hypervisor gave {100 * sample.steal_share:.1f} % of the cores' time to others"
    if device == "cpu" and threads == 1 and sample.cpu_share is not None and sample.cpu_share < LEAST_CPU:
        return f"the thread was on a core for {100 * sample.cpu_share:.1f} % of the time only"
    if sample.throttled:
        return "the control group was throttled at its CPU quota"
    if sample.sm_clock_share is not None and sample.sm_clock_share < LEAST_SM_CLOCK:
        return f"the device ran at {100 * sample.sm_clock_share:.0f} % of its highest clock"
    return None


def _gained(before: int | None, after: int | None) -> int | None:
    return None if before is None or after is None else max(0, after - before)


def _throttled(stat: Path) -> int | None:
    """Return how often a control group was throttled; the group at the root does not count it."""
    try:
        lines: Iterable[str] = stat.read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) for line in lines if line.startswith("nr_throttled ")), None)


def _no_clock() -> None:
    return None


def _sm_clock() -> Callable[[], float | None]:
    """Return what reads the current CUDA device's SM clock over its highest, None where NVML is not to be had."""
    import torch

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # an old name of the same library says that it is old
            nvml: Any = importlib.import_module("pynvml")
        nvml.nvmlInit()
        uuid = f"GPU-{torch.cuda.get_device_properties(torch.cuda.current_device()).uuid}"
        handle = nvml.nvmlDeviceGetHandleByUUID(uuid)
        highest = nvml.nvmlDeviceGetMaxClockInfo(handle, nvml.NVML_CLOCK_SM)
    except Exception:  # no library, no driver, no rights, a virtual device: all mean that nobody knows
        return _no_clock

    def read() -> float | None:
        try:
            return float(nvml.nvmlDeviceGetClockInfo(handle, nvml.NVML_CLOCK_SM) / highest)
        except (nvml.NVMLError, ZeroDivisionError):
            return None

    return read
