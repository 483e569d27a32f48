"""Load one core in bursts, by a process that keeps the core busy and sleeps in turns."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

# Mean length of a busy and of an idle stretch. A comparison of 12 blocks takes about as long, so that a burst hits some
# of its blocks and misses others.
BUSY_S = 0.5
IDLE_S = 0.5

# Each length varies by up to this share, so that no block can keep in step with the bursts.
SPREAD = 0.5


@contextmanager
def bursts(seed: int) -> Iterator[None]:
    """Run load bursts on the last usable core until the context ends, or this process does."""
    command = [sys.executable, "-m", "cnnbench.selftest.load_burst", str(seed), str(os.getpid())]
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True)
    try:
        yield
    finally:
        process.kill()
        process.wait()


def burst(seed: int, parent: int) -> None:
    """Keep a core busy in bursts until the process `parent` has ended."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    lengths = random.Random(seed)  # noqa: S311  # lengths of a load

    # A process whose parent has ended gets another parent.
    while os.getppid() == parent:
        until = time.monotonic() + BUSY_S * lengths.uniform(1 - SPREAD, 1 + SPREAD)
        while time.monotonic() < until:
            pass
        time.sleep(IDLE_S * lengths.uniform(1 - SPREAD, 1 + SPREAD))


if __name__ == "__main__":
    burst(int(sys.argv[1]), int(sys.argv[2]))
