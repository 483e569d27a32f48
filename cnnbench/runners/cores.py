"""Which core each thread of a worker runs on: the same in every worker whose samples are compared."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence

from cnnbench.runners.idle import TASKS

ELEMENTS = 1 << 20
"""Of the tensor whose addition starts torch's threads: 32 times what torch gives to one thread at the least."""


def keep_to_cores(threads: int) -> None:
    """Keep to as many cores as there are threads, the same ones in every worker whose samples are compared.

    A worker stays on the core that it woke up on, and cores differ by what their neighbours do: of two equal workers of
    LeNet with one thread, each on a core of its choice, one was called FASTER in 8 of 140 cases, and in none of 80 on
    one core (two shared cores).
    """
    if hasattr(os, "sched_setaffinity"):  # Linux
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])


def start_threads() -> tuple[int, ...]:
    """Have torch start the threads that it computes with beside the calling one, and return their ids (Linux)."""
    import torch

    before = _threads()
    torch.zeros(ELEMENTS).add_(1.0)
    return tuple(sorted(_threads() - before))


def pin(others: Sequence[int]) -> None:
    """Keep the calling thread to the first core that it may use, and each of `others` to one of the next.

    The calling thread does what is not done in parallel, so a worker is as fast as the core that it is on: pairs of
    equal workers of LeNet with two threads on two shared cores differed by 7.3 % in one round of ten sets and by 1.8 %
    in the next (root mean square), by far most where their calling threads were on different cores, and by 0.9 and
    1.5 % pinned. Threads that start later are on the caller's core, so this comes after the first pass.
    """
    if not hasattr(os, "sched_setaffinity"):
        return
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) <= len(others):
        return  # more threads than cores: the system shares them out
    for thread, core in zip((threading.get_native_id(), *others), cores, strict=False):
        os.sched_setaffinity(thread, {core})


def _threads() -> set[int]:
    return {int(task.name) for task in TASKS.iterdir()} if TASKS.is_dir() else set()
