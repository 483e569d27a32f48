"""Counters around a sample: what two readings say, what makes a sample void, and what is missing."""

from __future__ import annotations

import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from cnnbench import machine
from cnnbench.spec import Device
from cnnbench.timing import disturbance as watch
from cnnbench.timing.disturbance import (
    Disturbance,
    Reading,
    SystemWatch,
    disturbance_between,
    rejection_reason,
    watch_for,
)
from cnnbench.timing.loop import Sample

CLEAN = Sample(latency_s=0.01, sample_s=0.01, rewarm_s=0.005, tail_s=0.0, iterations_s=(), phases_s=())
MS = 1_000_000
near: Any = pytest.approx


def test_two_readings_give_shares_of_the_time_in_between() -> None:
    before = Reading(wall_ns=5 * MS, cpu_ns=100 * MS, steal_ticks=7, throttled=3, sm_clock_share=0.9)
    after = Reading(wall_ns=105 * MS, cpu_ns=250 * MS, steal_ticks=9, throttled=4, sm_clock_share=0.8)
    assert disturbance_between(before, after, threads=2, cores=4) == Disturbance(
        cpu_share=near(0.75), steal_share=near(0.05), throttled=True, sm_clock_share=0.8
    )


def test_what_the_system_does_not_count_is_missing() -> None:
    before, after = Reading(wall_ns=0, cpu_ns=0), Reading(wall_ns=MS, cpu_ns=MS)
    assert disturbance_between(before, after, threads=1, cores=2) == Disturbance(cpu_share=near(1.0))


def test_no_time_has_no_shares() -> None:
    at = Reading(wall_ns=1, cpu_ns=1, steal_ticks=1, throttled=1, sm_clock_share=1.0)
    assert disturbance_between(at, at, threads=1, cores=1) == Disturbance()


@pytest.mark.parametrize(
    ("counted", "threads", "device", "reason"),
    [
        ({}, 1, "cpu", None),
        ({"cpu_share": 0.95, "steal_share": 0.02, "sm_clock_share": 0.75}, 1, "cpu", None),
        ({"steal_share": 0.021}, 8, "cpu", "the hypervisor gave 2.1 % of the cores' time to others"),
        ({"cpu_share": 0.949}, 1, "cpu", "the thread was on a core for only 94.9 % of the time"),
        ({"cpu_share": 0.5}, 2, "cpu", None),
        ({"cpu_share": 0.5}, 1, "cuda", None),
        ({"throttled": True}, 2, "cuda", "the control group was throttled at its CPU quota"),
        ({"sm_clock_share": 0.74}, 1, "cuda", "the device ran at 74 % of its highest clock"),
        ({"latency_s": 1e9, "tail_s": 1.0}, 1, "cpu", None),  # never the time
    ],
)
def test_what_makes_a_sample_void(counted: dict[str, Any], threads: int, device: Device, reason: str | None) -> None:
    assert rejection_reason(replace(CLEAN, **counted), threads=threads, device=device) == reason


def stat(folder: Path, throttled: int) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / "cpu.stat"
    path.write_text(f"usage_usec 5\nnr_periods 9\nnr_throttled {throttled}\nthrottled_usec 1\n", encoding="utf-8")
    return path


def test_the_counters_are_read_from_the_system(tmp_path: Path) -> None:
    counted = tmp_path / "stat"
    counted.write_text("cpu  1 2 3 4 5 6 7 80 9 10\ncpu0 1 2 3 4 5 6 7 80 9 10\n", encoding="utf-8")
    groups = (stat(tmp_path / "inner", 4), stat(tmp_path / "outer", 2), tmp_path / "gone")
    made = SystemWatch(threads=1, cores=2, stat=counted, groups=groups, sm_clock=lambda: 0.5)
    before = (time.perf_counter_ns(), time.process_time_ns())
    found = made.read()
    assert (found.steal_ticks, found.throttled, found.sm_clock_share) == (80, 6, 0.5)
    assert before[0] <= found.wall_ns <= time.perf_counter_ns()
    assert before[1] <= found.cpu_ns <= time.process_time_ns()


def test_a_system_that_shows_nothing_is_no_error(tmp_path: Path) -> None:
    made = SystemWatch(threads=1, cores=1, stat=tmp_path / "gone", groups=(), sm_clock=lambda: None)
    found = made.read()
    assert (found.steal_ticks, found.throttled, found.sm_clock_share) == (None, None, None)


def test_groups_that_do_not_count_throttling_are_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inner = stat(tmp_path / "inner", 4)
    (tmp_path / "cpu.stat").write_text("usage_usec 5\n", encoding="utf-8")  # as the root's
    monkeypatch.setattr(watch, "own_cgroups", lambda: (tmp_path / "inner", tmp_path, tmp_path / "gone"))
    monkeypatch.setattr(watch, "all_cores", lambda: 64)
    made = watch_for("cpu", 3)
    assert (made.threads, made.cores, made.stat, made.groups) == (3, 64, machine.STAT, (inner,))
    assert made.sm_clock() is None


def test_a_thread_at_work_is_seen_at_work_and_one_asleep_asleep() -> None:
    made = watch_for("cpu", 1)
    start = made.read()
    while time.perf_counter_ns() - start.wall_ns < 20 * MS:
        pass
    worked = made.read()
    time.sleep(0.02)
    slept = made.seen(worked, made.read())
    busy = made.seen(start, worked)
    assert busy.cpu_share is not None
    assert slept.cpu_share is not None
    assert slept.cpu_share < 0.5 < busy.cpu_share + 0.4  # others may have had the core


class NVMLError(Exception):
    """What NVML raises."""


def nvml(*, clock_mhz: int, fails: bool = False) -> SimpleNamespace:
    """Return what stands in for NVML, with one device of 2000 MHz at most."""

    def clock(handle: str, kind: int) -> int:
        assert (handle, kind) == ("GPU-12-34", 1)
        if fails:
            raise NVMLError
        return clock_mhz

    return SimpleNamespace(
        NVML_CLOCK_SM=1,
        NVMLError=NVMLError,
        nvmlInit=lambda: None,
        nvmlDeviceGetHandleByUUID=lambda uuid: uuid,
        nvmlDeviceGetMaxClockInfo=lambda handle, kind: 2000,
        nvmlDeviceGetClockInfo=clock,
    )


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pretend that there is a CUDA device."""
    torch = pytest.importorskip("torch")
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda index: SimpleNamespace(uuid="12-34"))


@pytest.mark.usefixtures("device")
@pytest.mark.parametrize(("fails", "share"), [(False, 0.7), (True, None)])
def test_the_device_s_clock_is_a_share_of_its_highest(
    monkeypatch: pytest.MonkeyPatch,
    fails: bool,  # noqa: FBT001
    share: float | None,
) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", nvml(clock_mhz=1400, fails=fails))
    assert watch_for("cuda", 1).read().sm_clock_share == share


@pytest.mark.usefixtures("device")
def test_without_nvml_nobody_knows_the_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)  # importing it fails
    assert watch_for("cuda", 1).read().sm_clock_share is None
