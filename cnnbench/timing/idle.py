"""Waiting until this process is idle, so that the next worker's sample has the cores for itself."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

# Where Linux shows the threads of a process.
TASKS = Path("/proc/self/task")

# A process is idle when none of its other threads runs, seen twice in a row with 0.5 ms in between: one that waits for
# a lock for a moment may run again. After 0.2 s it is as idle as it gets. OpenMP's threads were seen to spin for 4 to 8
# ms after a parallel region.
IDLE_STEP_S = 0.0005
IDLE_POLLS = 2
IDLE_CAP_S = 0.2

# Where threads are not shown: a process is idle when it used at most a tenth of each of three times 2 ms, longer
# together than the tick of 4 ms in which systems may count the CPU time of running threads.
TIME_STEP_S = 0.002
TIME_SHARE = 0.1
TIME_POLLS = 3


def wait_until_idle(tasks: Path = TASKS) -> None:
    """Return when no other thread of this process runs, at the latest after `IDLE_CAP_S`.

    A pool's threads spin for a while after the last pass, and would take a core from the next worker's sample.
    """
    if tasks.is_dir():
        _settle(lambda: not others_run(tasks), step_s=IDLE_STEP_S, polls=IDLE_POLLS)
    else:
        _settle(_spent_little(), step_s=TIME_STEP_S, polls=TIME_POLLS)


def others_run(tasks: Path = TASKS) -> bool:
    """Return whether a thread other than the caller is running, or would if there were a core."""
    own = str(threading.get_native_id())
    return any(_state(thread / "stat") == "R" for thread in tasks.iterdir() if thread.name != own)


def _settle(quiet: Callable[[], bool], *, step_s: float, polls: int) -> None:
    seen, deadline = 0, time.monotonic() + IDLE_CAP_S
    while time.monotonic() < deadline:
        seen = seen + 1 if quiet() else 0
        if seen == polls:
            return
        time.sleep(step_s)


def _state(stat: Path) -> str:
    """Return the letter of a thread's state, empty if it has ended: "123 (name) S ..."; the name may hold brackets."""
    try:
        return stat.read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[0]
    except OSError:
        return ""


def _spent_little() -> Callable[[], bool]:
    """Return what tells whether little CPU time was spent since it was last asked; not so at the first time."""
    last = float("-inf")

    def quiet() -> bool:
        nonlocal last
        before, last = last, time.process_time()
        return last - before <= TIME_SHARE * TIME_STEP_S

    return quiet
