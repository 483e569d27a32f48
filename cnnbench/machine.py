"""The machine as the operating system shows it: cores, quotas, memory, compiler; no torch, nothing measured."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sysconfig
from importlib import metadata
from pathlib import Path

import psutil

_CGROUP = Path("/sys/fs/cgroup")


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
    """Return the instruction-set flags that the kernel lists, empty where it lists none."""
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
    """Return the smallest CPU quota on the way to the root, in cores, or None where there is none."""
    quotas = []
    for group in own_cgroups() if groups is None else groups:
        words = _read(group / "cpu.max").split()
        if len(words) == 2 and words[0] != "max":  # noqa: PLR2004  # "quota period", in microseconds
            quotas.append(int(words[0]) / int(words[1]))
    return min(quotas, default=None)


def memory_bytes(groups: tuple[Path, ...] | None = None) -> int:
    """Return the memory that this process may use in all: the machine's, or less under a control group's limit."""
    groups = own_cgroups() if groups is None else groups
    limits = [int(text) for group in groups if (text := _read(group / "memory.max")).isdigit()]
    return min([int(psutil.virtual_memory().total), *limits])


def free_memory_bytes(groups: tuple[Path, ...] | None = None) -> int:
    """Return the memory that is free now for a new process, within the control group's limit.

    The kernel counts cached files as used and drops those not read lately when memory is needed, so they are free.
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
    """Return the threads that a cell gets unless asked: affinity, cut to the floor of the quota, at least one."""
    quota = cpu_quota(groups)
    cores = usable_cores()
    return max(1, min(cores, int(quota) if quota is not None else cores))


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError:
        return ""


def compiler() -> tuple[str | None, str | None]:
    """Return (the C++ compiler's name and version, None), or (None, why torch.compile cannot work)."""
    found = os.environ.get("CXX") or next((c for c in ("g++", "clang++") if shutil.which(c)), None)
    path = shutil.which(found) if found else None
    if path is None:
        return None, "torch.compile needs a C++ compiler: install g++ (Debian: apt-get install g++)"
    include = Path(sysconfig.get_paths()["include"])
    if not (include / "Python.h").is_file():
        return None, f"torch.compile needs Python's headers, {include}/Python.h (Debian: apt-get install python3-dev)"
    try:
        shown = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=20, check=True).stdout
    except (OSError, subprocess.SubprocessError) as error:
        return None, f"torch.compile needs a C++ compiler, and '{path} --version' fails: {error}"
    return next(iter(shown.splitlines()), path), None
