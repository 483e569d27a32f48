"""Wait until this process is idle, so that the next worker's sample has the cores for itself."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

# Folder in which Linux lists the threads of this process.
TASKS = Path("/proc/self/task")

# A process is idle when two polls in a row, 0.5 ms apart, see none of its other threads run. One poll is not enough: a
# thread that waits briefly for a lock may run again. The wait ends after 0.2 s in any case. OpenMP's threads were seen
# to spin for 4 to 8 ms after a parallel region.
IDLE_STEP_S = 0.0005
IDLE_POLLS = 2
IDLE_CAP_S = 0.2

# Without a list of threads, a process is idle when it used at most a tenth of each of three intervals of 2 ms. Together
# they are longer than the tick of 4 ms in which systems may count the CPU time of running threads.
TIME_STEP_S = 0.002
TIME_SHARE = 0.1
TIME_POLLS = 3


def wait_until_idle(tasks: Path = TASKS) -> None:
    """Wait until no other thread of this process runs, for `IDLE_CAP_S` at most.

    A pool's threads spin for a while after the last pass, and would take a core from the next worker's sample.
    """
    if tasks.is_dir():
        _settle(lambda: not others_run(tasks), step_s=IDLE_STEP_S, polls=IDLE_POLLS)
    else:
        _settle(_make_quiet_check(), step_s=TIME_STEP_S, polls=TIME_POLLS)


def others_run(tasks: Path = TASKS) -> bool:
    """Return whether a thread other than the caller is running or waits for a core."""
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
    """Return the letter of a thread's state from its line "123 (name) S ...", empty if the thread has ended.

    The name may contain brackets, so the last one counts.
    """
    try:
        return stat.read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[0]
    except OSError:
        return ""


def _make_quiet_check() -> Callable[[], bool]:
    """Return a function that tells whether little CPU time was spent since its last call; the first call says no."""
    last = float("-inf")

    def quiet() -> bool:
        nonlocal last
        before, last = last, time.process_time()
        return last - before <= TIME_SHARE * TIME_STEP_S

    return quiet
