"""Which core each thread of a worker runs on: the same in every worker whose samples are compared."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from cnnbench.timing.idle import TASKS

# Of the tensor whose addition starts torch's threads: twice what torch computes with one thread alone (32,768). It
# starts all that it may (47 of 47 were seen). A larger tensor is memory that is touched for the first time: one of a
# million took 1,100 page faults and 3 to 8 ms, this one 125 and under 2 ms.
ELEMENTS = 1 << 16


def keep_to_cores(threads: int) -> None:
    """Keep to as many cores as there are threads, the same ones in every worker whose samples are compared.

    A worker stays on the core that it woke up on, and cores differ by what their neighbours do: of two equal workers of
    LeNet with one thread, each on a core of its choice, one was called FASTER in 8 of 140 cases, and in none of 80 on
    one core (two shared cores).
    """
    if hasattr(os, "sched_setaffinity"):  # Linux
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])


@contextmanager
def one_thread() -> Iterator[None]:
    """Compute with the calling thread alone meanwhile, so that torch starts no others.

    Workers are built side by side on the same cores; and threads that were there before, as after a large model was
    put into channels_last, `start_threads` would not know for torch's, and they would be left without cores.
    """
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


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
