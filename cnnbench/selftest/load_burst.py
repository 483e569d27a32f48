"""A load burst on one core: a process of its own that by turns keeps a core busy and sleeps."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

# Mean length of a busy and of an idle stretch: about the length of a comparison of 12 blocks, so that some of its
# blocks are hit and others not. Our choice.
BUSY_S = 0.5
IDLE_S = 0.5

# Lengths vary by this share to both sides, so that no block can keep step with them. Our choice.
SPREAD = 0.5


@contextmanager
def bursts(seed: int) -> Iterator[None]:
    """Have load bursts on the last of the usable cores; the process ends with what is inside, or with this process."""
    command = [sys.executable, "-m", "cnnbench.selftest.load_burst", str(seed), str(os.getpid())]
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True)
    try:
        yield
    finally:
        process.kill()
        process.wait()


def burst(seed: int, parent: int) -> None:
    """Keep a core busy by turns until the process `parent` has gone."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    lengths = random.Random(seed)  # noqa: S311  # lengths of a load
    while os.getppid() == parent:
        until = time.monotonic() + BUSY_S * lengths.uniform(1 - SPREAD, 1 + SPREAD)
        while time.monotonic() < until:
            pass
        time.sleep(IDLE_S * lengths.uniform(1 - SPREAD, 1 + SPREAD))


if __name__ == "__main__":
    burst(int(sys.argv[1]), int(sys.argv[2]))
