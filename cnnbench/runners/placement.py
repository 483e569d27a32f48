"""Memory of a worker: where a network comes to lie is drawn anew, and what a pass frees is kept for the next."""

from __future__ import annotations

import ctypes
import math
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import random

    from torch import Tensor

BLOCKS = 256
SMALLEST_BYTES, LARGEST_BYTES = 64, 1 << 16
"""Blocks that are taken, and between which sizes (even on a logarithmic scale): 2 MB in all, of which half stays. The
allocator serves from the heap what is smaller than 128 KiB, and so these holes. Our choice."""

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
"""Of glibc's malloc.h."""

_NEVER = -1
_LARGEST_MMAP_THRESHOLD = 32 * 2**20
"""Bytes from which glibc asks the system for a block of its own; it raises the threshold to this by itself as such
blocks are freed, and allows no more (mallopt(3), 64 bits)."""


def keep_freed_memory() -> None:
    """Tell glibc to keep what is freed for the next allocation; where there is another C library, do nothing.

    By default it gives the top of the heap back to the system as soon as that is free, and takes it anew page by page.
    Whether the activations of a pass are at the top is an accident of what was allocated before: MobileNetV2 (batch 1)
    took 3,500 page faults in each pass of most processes and 13 in those of some, where a pass was a quarter faster
    (torch 2.15). Blocks above 32 MiB still come from the system and go back to it, as they always do.
    """
    with suppress(AttributeError):  # only glibc has it
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_TRIM_THRESHOLD, _NEVER)
        mallopt(_M_MMAP_THRESHOLD, _LARGEST_MMAP_THRESHOLD)


def scatter_heap(rng: random.Random) -> list[Tensor]:
    """Take blocks of memory of random sizes, give half of them back, and return those that must be held on to.

    What is built afterwards falls into the holes, so at other offsets within pages and cache lines in each process.
    Without it all workers that build one network lie alike, since they are forked from one server, and a copy of it
    under another name lies otherwise: that shifts a comparison of equals by 1 % or so, the same way in all sets of
    workers, and no interval knows of it (Mytkowicz et al. 2009, Producing Wrong Data Without Doing Anything Obviously
    Wrong; Curtsinger and Berger 2013, Stabilizer).
    """
    import torch

    low, high = math.log(SMALLEST_BYTES), math.log(LARGEST_BYTES)
    sizes = [int(math.exp(rng.uniform(low, high))) for _ in range(BLOCKS)]
    blocks = [torch.empty(size, dtype=torch.uint8) for size in sizes]
    return rng.sample(blocks, BLOCKS // 2)
