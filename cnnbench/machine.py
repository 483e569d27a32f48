"""The machine as the operating system shows it: cores, quotas, memory, compiler and noise counters, without torch."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sysconfig
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import psutil

from cnnbench.spec import Request

_CGROUP = Path("/sys/fs/cgroup")

# Linux counts the time of its cores here, in ticks.
PROC = Path("/proc")
STAT = PROC / "stat"

# Seconds per tick of /proc/stat: USER_HZ is 100 in the interface of every Linux (proc(5)).
TICK_S = 0.01

# Fields: user nice system idle iowait irq softirq steal. The guest fields that follow are part of `user` and `nice`
# already (proc(5)).
_STEAL = 7
_TICKS = 8


@dataclass(frozen=True, kw_only=True, slots=True)
class Counters:
    """The machine's counters at `at_s` seconds of a steady clock; None if the system lacks a counter.

    `steal_ticks` and `total_ticks` are of all cores since the machine started. `pressure_us` are microseconds in which
    some process waited for a core. `load` is the load average of the last minute, and `clock_cycles_per_s` the mean
    clock of the cores in Hz.
    """

    at_s: float
    steal_ticks: int | None = None
    total_ticks: int | None = None
    pressure_us: int | None = None
    load: float | None = None
    clock_cycles_per_s: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Noise:
    """Noise between two readings of the counters: shares of the time between them, and load and clock at its ends."""

    steal_share: float | None = None
    pressure_share: float | None = None
    load: float | None = None
    clock_cycles_per_s: float | None = None


def version_of(distribution: str) -> str:
    """Return the installed version of `distribution` without importing it, or 'missing'."""
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return "missing"


def cpu_name() -> str:
    """Return the processor's name as the kernel gives it."""
    named = (line.partition(":")[2].strip() for line in _cpu_lines() if line.startswith(("model name", "Hardware")))
    return next(named, platform.processor() or platform.machine())


def cpu_flags() -> frozenset[str]:
    """Return the instruction-set flags that the kernel lists, or an empty set if it lists none."""
    listed = (line.partition(":")[2].split() for line in _cpu_lines() if line.startswith(("flags", "Features")))
    return frozenset(next(listed, []))


def _cpu_lines() -> list[str]:
    return _read(Path("/proc/cpuinfo")).splitlines()


def usable_cores() -> int:
    """Return how many cores this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def own_cgroups(root: Path = _CGROUP, membership: Path = Path("/proc/self/cgroup")) -> tuple[Path, ...]:
    """Return the folders of this process's control group (version 2) and its parents, innermost first."""
    try:
        lines = membership.read_text(encoding="utf-8").splitlines()
    except OSError:
        return ()
    inner = next((line[3:] for line in lines if line.startswith("0::")), None)
    if inner is None:
        return ()
    folder = root / inner.lstrip("/")
    return tuple(p for p in (folder, *folder.parents) if p.is_relative_to(root) and p.is_dir())


def cpu_quota(groups: tuple[Path, ...] | None = None) -> float | None:
    """Return the smallest CPU quota of the control groups up to the root, in cores, or None if there is none."""
    quotas = []
    for group in own_cgroups() if groups is None else groups:
        words = _read(group / "cpu.max").split()
        if len(words) == 2 and words[0] != "max":  # noqa: PLR2004  # "quota period", in microseconds
            quotas.append(int(words[0]) / int(words[1]))
    return min(quotas, default=None)


def memory_bytes(groups: tuple[Path, ...] | None = None) -> int:
    """Return the total bytes that this process may use: the machine's memory, or a control group's lower limit."""
    groups = own_cgroups() if groups is None else groups
    limits = [int(text) for group in groups if (text := _read(group / "memory.max")).isdigit()]
    return min([int(psutil.virtual_memory().total), *limits])


def free_memory_bytes(groups: tuple[Path, ...] | None = None) -> int:
    """Return the bytes of memory that are free now for a new process, within the control group's limit.

    The kernel counts cached files as used. It drops those not read lately if memory is needed, so they are free.
    """
    free = [int(psutil.virtual_memory().available)]
    for group in own_cgroups() if groups is None else groups:
        limit, used = _read(group / "memory.max"), _read(group / "memory.current")
        if limit.isdigit() and used.isdigit():
            free.append(int(limit) - int(used) + _cached_bytes(group))
    return max(0, min(free))


def _cached_bytes(group: Path) -> int:
    counters = (line.split() for line in _read(group / "memory.stat").splitlines())
    return next((int(words[1]) for words in counters if words[0] == "inactive_file"), 0)


def default_threads(groups: tuple[Path, ...] | None = None) -> int:
    """Return the default threads of a cell: usable cores, cut to the quota rounded down, at least one.

    Processes that train together on this machine share these threads.
    """
    quota = cpu_quota(groups)
    cores = usable_cores()
    threads = min(cores, int(quota) if quota is not None else cores)
    return max(1, threads // int(os.environ.get("LOCAL_WORLD_SIZE", "1")))


def threads_of(request: Request) -> int:
    """Return the threads of every cell of `request`: the requested number, cut to what the process may use."""
    usable = default_threads()
    return usable if request.threads is None else min(request.threads, usable)


def rank_and_world_size(environ: Mapping[str, str] = os.environ) -> tuple[int, int]:
    """Return (rank, size) of the processes that torchrun started together; (0, 1) for a single process."""
    size = int(environ.get("WORLD_SIZE", "1"))
    return (int(environ["RANK"]) if size > 1 else 0), size


def all_cores() -> int:
    """Return how many cores the machine has, even if this process may use fewer."""
    return os.cpu_count() or 1


def cpu_ticks(stat: Path = STAT) -> tuple[int, int] | None:
    """Return (stolen ticks, total ticks) of all cores since the machine started, or None if they are unknown."""
    try:
        with stat.open("rb") as lines:
            words = lines.readline().split()
    except OSError:
        return None
    ticks = [int(word) for word in words[1 : _TICKS + 1]] if words[:1] == [b"cpu"] else []
    return (ticks[_STEAL], sum(ticks)) if len(ticks) == _TICKS else None


def read_counters(now_s: float, proc: Path = PROC) -> Counters:
    """Return the machine's counters, read at `now_s` seconds of a steady clock."""
    ticks = cpu_ticks(proc / "stat")

    # Pressure stall information: in the line "some", `total` is in microseconds since the machine started.
    some = next((line for line in _read(proc / "pressure" / "cpu").splitlines() if line.startswith("some ")), "")
    total = some.rpartition("total=")[2]
    load = _read(proc / "loadavg").split()

    return Counters(
        at_s=now_s,
        steal_ticks=None if ticks is None else ticks[0],
        total_ticks=None if ticks is None else ticks[1],
        pressure_us=int(total) if total.isdigit() else None,
        load=float(load[0]) if load else None,
        clock_cycles_per_s=_mean_clock(),
    )


def oom_kills(vmstat: Path = PROC / "vmstat") -> int | None:
    """Return how many processes the kernel has killed for lack of memory since it started; None if it does not say."""
    counts = (line.split() for line in _read(vmstat).splitlines())
    return next((int(words[1]) for words in counts if words[0] == "oom_kill"), None)


def _mean_clock() -> float | None:
    """Return the mean clock of the cores in Hz, or None if the system hides it (by an error, nothing, or zero)."""
    try:
        found: Any = psutil.cpu_freq()  # its type excludes None, but its documentation and code do not
    except (AttributeError, NotImplementedError, OSError, RuntimeError):  # from psutil: the system has no such counter
        return None
    return float(found.current) * 1e6 if found and found.current else None


def noise_between(before: Counters, after: Counters) -> Noise:
    """Return the noise between two readings.

    Stolen time is a share of all cores' time, pressure a share of the time that passed. The load is that of the later
    reading, the clock the mean of both.
    """
    # A counter that one of the readings lacks gives no share.
    elapsed_s = after.at_s - before.at_s
    stolen, total = _gain(before.steal_ticks, after.steal_ticks), _gain(before.total_ticks, after.total_ticks)
    waited = _gain(before.pressure_us, after.pressure_us)
    clocks = [c.clock_cycles_per_s for c in (before, after) if c.clock_cycles_per_s is not None]
    return Noise(
        steal_share=stolen / total if stolen is not None and total else None,
        pressure_share=waited * 1e-6 / elapsed_s if waited is not None and elapsed_s > 0 else None,
        load=after.load,
        clock_cycles_per_s=sum(clocks) / len(clocks) if clocks else None,
    )


def _gain(before: int | None, after: int | None) -> int | None:
    return None if before is None or after is None else after - before


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError:
        return ""


def compiler() -> tuple[str | None, str | None]:
    """Return (name and version of the C++ compiler, None), or (None, why torch.compile cannot work)."""
    # torch.compile takes its compiler from CXX as well.
    found = os.environ.get("CXX") or next((c for c in ("g++", "clang++") if shutil.which(c)), None)
    path = shutil.which(found) if found else None
    if path is None:
        return None, "torch.compile needs a C++ compiler: install g++ (Debian: apt-get install g++)"

    # The generated C++ includes Python.h, which Debian puts into a package of its own.
    include = Path(sysconfig.get_paths()["include"])
    if not (include / "Python.h").is_file():
        return None, f"torch.compile needs Python's headers, {include}/Python.h (Debian: apt-get install python3-dev)"

    # A compiler that is on the path may still be broken, so it is started once.
    try:
        shown = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=20, check=True).stdout
    except (OSError, subprocess.SubprocessError) as error:
        return None, f"torch.compile needs a C++ compiler, and '{path} --version' fails: {error}"
    return next(iter(shown.splitlines()), path), None
