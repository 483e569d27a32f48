"""Bind each thread of a worker to a core, the same cores in all workers whose samples are compared."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from cnnbench.timing.thread_idle import TASKS

# Elements of the tensor whose addition starts torch's threads: twice what torch adds with one thread alone (32,768).
# All threads that torch may start were seen to start (47 of 47). A larger tensor touches more memory for the first
# time: one of a million elements took 1,100 page faults and 3 to 8 ms, this one 125 page faults and under 2 ms.
ELEMENTS = 1 << 16


def keep_to_cores(threads: int) -> None:
    """Bind this process to as many cores as there are threads, the same ones in every worker that is compared.

    A worker stays on the core that it woke up on, and cores differ by the load of their neighbours. Two equal workers
    of LeNet ran with one thread, each on a core of its choice: one was called FASTER in 8 of 140 cases. On one core it
    happened in none of 80 cases (two shared cores).
    """
    if hasattr(os, "sched_setaffinity"):  # Linux
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])


@contextmanager
def use_one_thread() -> Iterator[None]:
    """Make torch compute with the calling thread alone, so that it starts no others.

    Workers are built side by side on the same cores. Moreover, `start_threads` does not recognise threads that torch
    started earlier, for example to convert a large model to channels_last. These would get no cores of their own.
    """
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def start_threads() -> tuple[int, ...]:
    """Make torch start its compute threads beside the calling one, and return their ids (Linux)."""
    import torch

    before = _threads()
    torch.zeros(ELEMENTS).add_(1.0)
    return tuple(sorted(_threads() - before))


def pin(others: Sequence[int]) -> None:
    """Bind the calling thread to the first core that it may use, and each of `others` to one of the next.

    The calling thread does all work that is not parallel, so a worker is as fast as the core of this thread. Pairs of
    equal workers of LeNet, with two threads on two shared cores, differed by 7.3 % in one round of ten sets and by
    1.8 % in the next (root mean square). They differed by far the most if their calling threads were on different
    cores. Pinned, they differed by 0.9 and 1.5 %. Threads that start later inherit the caller's core, so call this
    after the first pass.
    """
    if not hasattr(os, "sched_setaffinity"):
        return
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) <= len(others):
        return  # more threads than cores: the system distributes them
    for thread, core in zip((threading.get_native_id(), *others), cores, strict=False):
        os.sched_setaffinity(thread, {core})


def _threads() -> set[int]:
    return {int(task.name) for task in TASKS.iterdir()} if TASKS.is_dir() else set()
