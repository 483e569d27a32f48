"""Memory of a worker: where models lie, and whether what is freed stays."""

import os
import random
import subprocess
import sys

import pytest

from cnnbench.timing.heap import BLOCKS, LARGEST_BYTES, SMALLEST_BYTES, randomise_heap

FORKED = """
import os, random, sys
import torch
from cnnbench.models import MODELS
from cnnbench.timing.heap import randomise_heap
for _ in range(4):
    if os.fork() == 0:
        held = randomise_heap(random.SystemRandom()) if sys.argv[1] == "scattered" else []
        print(*(p.data_ptr() % 4096 for p in MODELS["lenet"].build().parameters()), flush=True)
        os._exit(0)
    os.wait()
"""

FREEING = """
import resource, sys
import torch
from cnnbench.timing.heap import keep_freed_memory
if sys.argv[1] == "kept":
    keep_freed_memory()
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
def forward():
    activations = [torch.zeros(24 * 2**20, dtype=torch.uint8) for _ in range(4)]
for _ in range(4):
    forward()
before = faults()
for _ in range(8):
    forward()
print((faults() - before) // 8)
"""


def test_half_of_the_blocks_are_held() -> None:
    held = randomise_heap(random.Random(0))
    sizes = [block.numel() for block in held]
    assert len(sizes) == BLOCKS // 2
    assert all(SMALLEST_BYTES <= size <= LARGEST_BYTES for size in sizes)
    assert len(set(sizes)) > BLOCKS // 4


def test_the_generator_decides() -> None:
    one, same, other = ([block.numel() for block in randomise_heap(random.Random(seed))] for seed in (1, 1, 2))
    assert one == same != other


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="no fork")
@pytest.mark.parametrize(("how", "places"), [("inherited", 1), ("scattered", 4)])
def test_workers_of_one_server_differ_by_where_a_network_lies(how: str, places: int) -> None:
    done = subprocess.run([sys.executable, "-c", FORKED, how], capture_output=True, text=True, check=True)
    assert len(done.stdout.splitlines()) == 4
    assert len(set(done.stdout.splitlines())) == places


@pytest.mark.skipif(sys.platform != "linux", reason="another C library keeps memory in its own way")
@pytest.mark.parametrize(("how", "least", "most"), [("default", 1000, 10**6), ("kept", 0, 100)])
def test_what_a_pass_frees_is_kept_for_the_next(how: str, least: int, most: int) -> None:
    # Without it glibc gives back or not, as the heap happens to lie; with it always, unless told otherwise.
    env = {**os.environ, "MALLOC_TRIM_THRESHOLD_": "1", "MALLOC_MMAP_THRESHOLD_": "65536"}
    done = subprocess.run([sys.executable, "-c", FREEING, how], capture_output=True, text=True, check=True, env=env)
    assert least <= int(done.stdout) <= most  # page faults of a pass that writes 24,576 pages, of which some are huge
