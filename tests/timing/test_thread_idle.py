"""Waiting until a process is idle: by the state of made-up threads, by CPU time, and with a real thread that spins."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest

from cnnbench.timing import thread_idle as idle
from cnnbench.timing.thread_idle import TASKS, others_run, wait_until_idle

OWN = threading.get_native_id()


def threads(folder: Path, **states: str) -> Path:
    """Make the folder of threads; `t12="S"` is thread 12 asleep, the caller's own runs."""
    for name, state in {**states, f"t{OWN}": "R"}.items():
        (folder / name[1:]).mkdir(parents=True, exist_ok=True)
        (folder / name[1:] / "stat").write_text(f"{name[1:]} (a (R) name) {state} 1 2 3\n", encoding="utf-8")
    return folder


@pytest.mark.parametrize(
    ("states", "busy"),
    [({}, False), ({"t1": "S", "t2": "D"}, False), ({"t1": "S", "t2": "R"}, True), ({"t1": "Z"}, False)],
)
def test_a_thread_other_than_the_caller_runs(tmp_path: Path, states: dict[str, str], busy: bool) -> None:  # noqa: FBT001
    assert others_run(threads(tmp_path, **states)) is busy


def test_a_thread_that_has_just_ended_does_not_run(tmp_path: Path) -> None:
    (threads(tmp_path) / "17").mkdir()
    assert not others_run(tmp_path)


class Time:
    """Stands in for the module `time`: each sleep uses CPU time, and may change what threads do."""

    def __init__(self, busy_s: Sequence[float] = (0.0,)) -> None:
        self.now, self.used, self.slept = 0.0, 0.0, list[float]()
        self.busy_s = busy_s

    def sleep(self, seconds: float) -> None:
        self.used += self.busy_s[min(len(self.slept), len(self.busy_s) - 1)]
        self.now += seconds
        self.slept.append(seconds)

    def monotonic(self) -> float:
        return self.now

    def process_time(self) -> float:
        return self.used


def asked(monkeypatch: pytest.MonkeyPatch, answers: str, tmp_path: Path) -> Time:
    """Wait while the other threads are as in `answers`, one letter a poll, the last one for ever."""
    pretended, polls = Time(), iter(answers)
    last = [answers[-1]]

    def others(tasks: Path) -> bool:
        assert tasks == tmp_path
        return next(polls, last[0]) == "R"

    monkeypatch.setattr(idle, "time", pretended)
    monkeypatch.setattr(idle, "others_run", others)
    wait_until_idle(tmp_path)
    return pretended


@pytest.mark.parametrize(("answers", "steps"), [("S", 1), ("RS", 2), ("RRRS", 4), ("SRSRSS", 5)])
def test_two_quiet_polls_in_a_row_are_idle(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, answers: str, steps: int
) -> None:
    assert asked(monkeypatch, answers, tmp_path).slept == [0.0005] * steps


def test_one_that_never_falls_idle_is_given_up_after_200_ms(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert asked(monkeypatch, "R", tmp_path).now == pytest.approx(0.2, abs=0.0006)


@pytest.mark.parametrize(
    ("busy_s", "steps"),
    [((0.0,), 3), ((0.00019,), 3), ((0.002, 0.002, 0.002, 0.002, 0.0), 7), ((0.0, 0.0, 0.00021, 0.0), 6)],
)
def test_without_thread_list_three_quiet_steps_mean_idle(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, busy_s: Sequence[float], steps: int
) -> None:
    pretended = Time(busy_s)
    monkeypatch.setattr(idle, "time", pretended)
    wait_until_idle(tmp_path / "missing")
    assert pretended.slept == [0.002] * steps


@pytest.mark.skipif(not TASKS.is_dir(), reason="threads are not shown here")
def test_a_real_thread_at_work_is_waited_for() -> None:
    begun, ended, leave = threading.Event(), threading.Event(), threading.Event()

    def spin() -> None:
        begun.set()
        hashlib.pbkdf2_hmac("sha256", b"spin", b"spin", 50_000)  # some 20 ms outside of Python
        ended.set()
        leave.wait(10)

    thread = threading.Thread(target=spin)
    thread.start()
    try:
        begun.wait(10)
        wait_until_idle()
        assert ended.is_set()
    finally:
        leave.set()
        thread.join()
