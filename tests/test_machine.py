"""The machine as the system shows it: made-up control groups, and compilers that are not there or do not work."""

from __future__ import annotations

import os
import sysconfig
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from cnnbench import machine
from cnnbench.machine import (
    Counters,
    Noise,
    compiler,
    cpu_quota,
    cpu_ticks,
    default_threads,
    free_memory_bytes,
    memory_bytes,
    noise_between,
    oom_kills,
    own_cgroups,
    read_counters,
    usable_cores,
    version_of,
)

MIB = 2**20


def group(folder: Path, **files: str) -> Path:
    """Make the folder of a control group; `cpu_max` stands for the file `cpu.max`."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("_", ".")).write_text(text + "\n", encoding="utf-8")
    return folder


def membership(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "membership"
    path.write_text(text, encoding="utf-8")
    return path


def test_groups_are_found_from_the_innermost_to_the_root(tmp_path: Path) -> None:
    root = tmp_path / "cgroup"
    group(root / "a" / "b")
    found = own_cgroups(root, membership(tmp_path, "1:name=systemd:/other\n0::/a/b\n"))
    assert found == (root / "a" / "b", root / "a", root)


def test_a_group_that_is_not_shown_here_is_left_out(tmp_path: Path) -> None:
    root = group(tmp_path / "cgroup")
    assert own_cgroups(root, membership(tmp_path, "0::/docker/0123\n")) == (root,)


def test_the_root_group_is_itself(tmp_path: Path) -> None:
    root = group(tmp_path / "cgroup")
    assert own_cgroups(root, membership(tmp_path, "0::/\n")) == (root,)


@pytest.mark.parametrize("text", ["", "5:cpu,cpuacct:/a\n"])
def test_without_version_2_there_are_no_groups(tmp_path: Path, text: str) -> None:
    assert own_cgroups(group(tmp_path / "cgroup"), membership(tmp_path, text)) == ()


def test_without_control_groups_there_are_none(tmp_path: Path) -> None:
    assert own_cgroups(tmp_path, tmp_path / "missing") == ()


@pytest.mark.parametrize(
    ("inner", "outer", "cores"),
    [
        ("150000 100000", "max 100000", 1.5),
        ("max 100000", "50000 100000", 0.5),
        ("400000 100000", "200000 100000", 2.0),  # the smallest on the way counts
        ("max 100000", "max 100000", None),
        ("max", "", None),
        ("nonsense", "", None),
    ],
)
def test_quota(tmp_path: Path, inner: str, outer: str, cores: float | None) -> None:
    groups = (group(tmp_path / "a", cpu_max=inner), group(tmp_path, cpu_max=outer))
    assert cpu_quota(groups) == cores


def test_quota_without_files_is_none(tmp_path: Path) -> None:
    assert cpu_quota((tmp_path,)) is None
    assert cpu_quota(()) is None


@pytest.mark.parametrize(("quota", "threads"), [("50000 100000", 1), ("100000 100000", 1), ("290000 100000", 2)])
def test_threads_are_the_floor_of_the_quota(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quota: str, threads: int
) -> None:
    monkeypatch.setattr(machine, "usable_cores", lambda: 8)
    assert default_threads((group(tmp_path, cpu_max=quota),)) == threads


def test_threads_are_never_more_than_the_cores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "usable_cores", lambda: 3)
    assert default_threads((group(tmp_path, cpu_max="800000 100000"),)) == 3
    assert default_threads(()) == 3


def test_processes_that_train_together_share_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cnnbench.machine.usable_cores", lambda: 5)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    assert default_threads(()) == 2
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "8")
    assert default_threads(()) == 1


def test_usable_cores_follow_the_affinity(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {1, 5, 7}, raising=False)
    assert usable_cores() == 3


def test_usable_cores_without_affinity(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert usable_cores() == 1


def test_memory_is_the_smallest_limit(tmp_path: Path) -> None:
    groups = (group(tmp_path / "a", memory_max=str(3 * MIB)), group(tmp_path, memory_max=str(2 * MIB)))
    assert memory_bytes(groups) == 2 * MIB


@pytest.mark.parametrize("text", ["max", "", str(2**63 - 4096)])
def test_memory_without_a_limit_is_the_machine_s(tmp_path: Path, text: str) -> None:
    assert memory_bytes((group(tmp_path, memory_max=text),)) == memory_bytes(()) > 64 * MIB


def test_free_memory_is_what_the_tightest_limit_leaves(tmp_path: Path) -> None:
    groups = (
        group(tmp_path / "a", memory_max=str(9 * MIB), memory_current=str(8 * MIB)),
        group(tmp_path, memory_max=str(5 * MIB), memory_current=str(2 * MIB)),
    )
    assert free_memory_bytes(groups) == MIB
    assert free_memory_bytes(groups[1:]) == 3 * MIB


def test_free_memory_is_never_below_zero(tmp_path: Path) -> None:
    assert free_memory_bytes((group(tmp_path, memory_max="4096", memory_current="8192"),)) == 0


def test_cached_files_count_as_free(tmp_path: Path) -> None:
    used = group(tmp_path, memory_max=str(9 * MIB), memory_current=str(8 * MIB))
    group(tmp_path, memory_stat=f"anon {MIB}\nfile {7 * MIB}\ninactive_file {5 * MIB}\nactive_file {2 * MIB}")
    assert free_memory_bytes((used,)) == 6 * MIB


def test_versions_are_read_without_importing() -> None:
    assert version_of("no-such-distribution") == "missing"
    assert version_of("pytest") == pytest.__version__


# Counters


def proc(folder: Path) -> Path:
    """Make a folder like /proc: 8 stolen ticks of 136, 250 us of pressure, a load of 1.5."""
    (folder / "pressure").mkdir()
    for name, text in {
        "stat": "cpu  10 2 30 40 15 16 15 8 99 99\ncpu0 1 1 1 1 1 1 1 1 1 1\nintr 5\n",
        "pressure/cpu": "some avg10=1.00 avg60=2.00 avg300=3.00 total=250\nfull avg10=0.00 total=7\n",
        "loadavg": "1.50 0.75 0.25 2/87 2833\n",
    }.items():
        (folder / name).write_text(text, encoding="utf-8")
    return folder


def clock(monkeypatch: pytest.MonkeyPatch, answer: Any) -> None:
    def cpu_freq() -> Any:
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(psutil, "cpu_freq", cpu_freq)


def test_counters_are_read_as_the_kernel_shows_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock(monkeypatch, SimpleNamespace(current=2500.0))
    assert read_counters(12.5, proc(tmp_path)) == Counters(
        at_s=12.5, steal_ticks=8, total_ticks=136, pressure_us=250, load=1.5, clock_cycles_per_s=2.5e9
    )


# An answer that is an exception is raised, as psutil does where the system has no such counter.
@pytest.mark.parametrize(
    "answer", [None, SimpleNamespace(current=0.0), NotImplementedError(), FileNotFoundError(), AttributeError()]
)
def test_a_system_that_shows_no_counters_has_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: Any) -> None:
    clock(monkeypatch, answer)
    assert read_counters(12.5, tmp_path) == Counters(at_s=12.5)


@pytest.mark.parametrize("text", ["", "cpu 1 2 3 4 5 6 7\n", "cpu0 1 2 3 4 5 6 7 8\n"])
def test_a_count_without_stolen_ticks_is_none(tmp_path: Path, text: str) -> None:
    path = tmp_path / "stat"
    path.write_text(text, encoding="utf-8")
    assert cpu_ticks(path) is None


def test_two_readings_tell_the_noise_in_between() -> None:
    before = Counters(
        at_s=10.0, steal_ticks=8, total_ticks=100, pressure_us=250_000, load=9.0, clock_cycles_per_s=2.0e9
    )
    after = Counters(
        at_s=12.0, steal_ticks=18, total_ticks=500, pressure_us=750_000, load=1.5, clock_cycles_per_s=3.0e9
    )
    assert noise_between(before, after) == Noise(
        steal_share=0.025, pressure_share=0.25, load=1.5, clock_cycles_per_s=2.5e9
    )


def test_uncounted_noise_is_missing_and_zero_time_has_no_shares() -> None:
    assert noise_between(Counters(at_s=1.0), Counters(at_s=2.0)) == Noise()
    at = Counters(at_s=1.0, steal_ticks=1, total_ticks=9, pressure_us=5)
    assert noise_between(at, at) == Noise()


def program(folder: Path, script: str) -> Path:
    path = folder / "compiler"
    path.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    path.chmod(0o755)
    return path


@pytest.fixture
def headers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make a folder that holds Python's headers."""
    include = tmp_path / "include"
    include.mkdir()
    (include / "Python.h").touch()
    monkeypatch.setattr(sysconfig, "get_paths", lambda: {"include": str(include)})
    return include


def test_a_compiler_says_its_first_line(tmp_path: Path, headers: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", str(program(tmp_path, "echo 'made-up 1.2'; echo 'no warranty'")))
    assert compiler() == ("made-up 1.2", None)


def test_a_compiler_that_says_nothing_goes_by_its_path(
    tmp_path: Path, headers: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = program(tmp_path, "true")
    monkeypatch.setenv("CXX", str(path))
    assert compiler() == (str(path), None)


def test_without_a_compiler_the_reason_names_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert compiler() == (None, "torch.compile needs a C++ compiler: install g++ (Debian: apt-get install g++)")


def test_without_headers_the_reason_names_them(tmp_path: Path, headers: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (headers / "Python.h").unlink()
    monkeypatch.setenv("CXX", str(program(tmp_path, "true")))
    reason = f"torch.compile needs Python's headers, {headers}/Python.h (Debian: apt-get install python3-dev)"
    assert compiler() == (None, reason)


def test_a_compiler_that_fails_is_none(tmp_path: Path, headers: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = program(tmp_path, "exit 3")
    monkeypatch.setenv("CXX", str(path))
    failed = f"Command '['{path}', '--version']' returned non-zero exit status 3."
    assert compiler() == (None, f"torch.compile needs a C++ compiler, and '{path} --version' fails: {failed}")


def test_kills_for_lack_of_memory_are_counted(tmp_path: Path) -> None:
    (tmp_path / "vmstat").write_text("pgfault 7\noom_kill 3\noom_kill_other 9\n")
    assert oom_kills(tmp_path / "vmstat") == 3
    assert oom_kills(tmp_path / "gone") is None
