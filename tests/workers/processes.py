"""What tests of real workers look at from outside."""

import time
from pathlib import Path

from cnnbench.workers.client import Worker


def pid_of(worker: Worker) -> int:
    return int(worker._ending._pid)  # type: ignore[attr-defined]  # the ending of a forked worker


def gone(pid: int, *, within_s: float = 5.0) -> bool:
    """Return whether process `pid` ends within some seconds."""
    until = time.monotonic() + within_s
    while time.monotonic() < until:
        try:
            state = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            return True
        if state == "Z":  # whoever inherited it has not looked yet
            return True
        time.sleep(0.01)
    return False
