"""Memory of a worker: its limit, where a model comes to lie, and that what a pass frees is kept for the next."""

from __future__ import annotations

import ctypes
import math
import resource
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import random

    from torch import Tensor

# Blocks that are taken, and between which sizes (even on a logarithmic scale): 2 MB in all, of which half stays. The
# allocator serves from the heap what is smaller than 128 KiB, and so these holes. Our choice.
BLOCKS = 256
SMALLEST_BYTES, LARGEST_BYTES = 64, 1 << 16

# Of glibc's malloc.h.
_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4

_NEVER = -1
_NONE = 0


def limit_memory(limit_bytes: int | None) -> None:
    """Let this process take so many bytes of private memory at most; None: no limit."""
    if limit_bytes is not None:
        hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
        resource.setrlimit(resource.RLIMIT_DATA, (limit_bytes, hard))


def release_memory_limit() -> None:
    """Let an error be told: at the limit there may be no memory for its text."""
    hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
    resource.setrlimit(resource.RLIMIT_DATA, (hard, hard))


def keep_freed_memory() -> None:
    """Tell glibc to keep what is freed for the next allocation; where there is another C library, do nothing.

    By default it gives the top of the heap back to the system as soon as that is free, and takes it anew page by page;
    and blocks above a threshold (of 32 MiB at the most) each come from the system and go back to it. Whether the
    activations of a pass are at the top is an accident of what was allocated before: MobileNetV2 (batch 1) took 3,500
    page faults in each pass of most processes and 13 in those of some, where a pass was a quarter faster. At batch 8 it
    took 78,000 in each pass and 300 ms, 18,818 and 177 ms while only large blocks went back, and takes none and 147 ms
    (torch 2.15, two shared cores, three processes of each in turns). VGG16 at batch 8 holds 1.78 GB then, not 1.58.
    """
    with suppress(AttributeError):  # only glibc has it
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_TRIM_THRESHOLD, _NEVER)
        mallopt(_M_MMAP_MAX, _NONE)


def randomise_heap(rng: random.Random) -> list[Tensor]:
    """Take blocks of memory of random sizes, give half of them back, and return those that must be held on to.

    What is built afterwards falls into the holes, so at other offsets within pages and cache lines in each process.
    Without it all workers that build one model lie alike, since they are forked from one server, and a copy of it
    under another name lies otherwise: that shifts a comparison of equals by 1 % or so, the same way in all
    rounds, and no interval knows of it (Mytkowicz et al. 2009, Producing Wrong Data Without Doing Anything Obviously
    Wrong; Curtsinger and Berger 2013, Stabilizer).
    """
    import torch

    low, high = math.log(SMALLEST_BYTES), math.log(LARGEST_BYTES)
    sizes = [int(math.exp(rng.uniform(low, high))) for _ in range(BLOCKS)]
    blocks = [torch.empty(size, dtype=torch.uint8) for size in sizes]
    return rng.sample(blocks, BLOCKS // 2)
