"""Cores of a worker's threads: as many as there are threads, the same ones everywhere, one for each thread."""

import os
import subprocess
import sys

import pytest

from cnnbench.timing.affinity import keep_to_cores, pin

STARTED = """
import os, threading
import torch
from cnnbench.timing.affinity import keep_to_cores, use_one_thread, pin, start_threads
torch.set_num_threads(2)
keep_to_cores(2)
with use_one_thread():  # building computes, too
    torch.randn(512, 512) @ torch.randn(512, 512)
    torch.nn.Conv2d(256, 256, 3).to(memory_format=torch.channels_last)
assert torch.get_num_threads() == 2
others = start_threads()
pin(others)
torch.randn(512, 512) @ torch.randn(512, 512)
assert start_threads() == ()  # there are no more to start
print(*(sorted(os.sched_getaffinity(thread)) for thread in (threading.get_native_id(), *others)))
"""


class Cores:
    """Stands for the calls that say and set which cores a thread may use."""

    def __init__(self, *usable: int) -> None:
        self.usable = {0: set(usable)}

    def sched_getaffinity(self, thread: int) -> set[int]:
        return self.usable[thread]

    def sched_setaffinity(self, thread: int, cores: list[int]) -> None:
        self.usable[thread] = set(cores)


@pytest.mark.parametrize(
    ("usable", "threads", "kept"),
    [((0, 1), 1, {0}), ((5, 2, 9), 2, {2, 5}), ((0, 1), 2, {0, 1}), ((3,), 2, {3})],
)
def test_equal_workers_keep_to_the_same_cores(
    monkeypatch: pytest.MonkeyPatch, usable: tuple[int, ...], threads: int, kept: set[int]
) -> None:
    cores = Cores(*usable)
    monkeypatch.setattr("cnnbench.timing.affinity.os", cores)
    keep_to_cores(threads)
    assert cores.usable[0] == kept


@pytest.mark.parametrize(
    ("usable", "others", "pinned"),
    [
        ((4, 2), (71,), {70: {2}, 71: {4}}),
        ((0, 1, 2), (72, 71), {70: {0}, 72: {1}, 71: {2}}),
        ((3, 1), (), {70: {1}}),
        ((0,), (71,), {}),  # more threads than cores
    ],
)
def test_each_thread_has_a_core_of_its_own(
    monkeypatch: pytest.MonkeyPatch, usable: tuple[int, ...], others: tuple[int, ...], pinned: dict[int, set[int]]
) -> None:
    cores = Cores(*usable)
    monkeypatch.setattr("cnnbench.timing.affinity.os", cores)
    monkeypatch.setattr("cnnbench.timing.affinity.threading.get_native_id", lambda: 70)
    pin(others)
    assert cores.usable == {0: set(usable), **pinned}


def test_where_cores_cannot_be_chosen_none_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cnnbench.timing.affinity.os", object())
    keep_to_cores(1)
    pin((71,))


@pytest.mark.skipif(
    not hasattr(os, "sched_getaffinity") or len(os.sched_getaffinity(0)) < 2, reason="Linux, and two cores"
)
def test_torch_s_threads_are_found_and_pinned() -> None:
    done = subprocess.run([sys.executable, "-c", STARTED], capture_output=True, text=True, check=True)
    first, second = sorted(os.sched_getaffinity(0))[:2]
    assert done.stdout.strip() == f"[{first}] [{second}]"
