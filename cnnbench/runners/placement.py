"""Where a network comes to lie in memory: drawn anew in every worker, because it is no part of what is compared."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import random

    from torch import Tensor

BLOCKS = 256
SMALLEST_BYTES, LARGEST_BYTES = 64, 1 << 16
"""Blocks that are taken, and between which sizes (even on a logarithmic scale): 2 MB in all, of which half stays. The
allocator serves from the heap what is smaller than 128 KiB, and so these holes. Our choice."""


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
