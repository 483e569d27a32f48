"""Set up the heap of a worker: limit it, vary where a model lies, and keep freed memory."""

from __future__ import annotations

import ctypes
import math
import resource
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import random

    from torch import Tensor

# Number of blocks that are allocated, and the range of their sizes (even on a logarithmic scale): 2 MB in all, of which
# half stays. The allocator serves requests below 128 KiB from the heap, so these blocks leave their holes there.
BLOCKS = 256
SMALLEST_BYTES, LARGEST_BYTES = 64, 1 << 16

# From glibc's malloc.h.
_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4

_NEVER = -1
_NONE = 0


def limit_memory(limit_bytes: int | None) -> None:
    """Limit the private memory of this process to `limit_bytes`; None sets no limit."""
    if limit_bytes is not None:
        hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
        resource.setrlimit(resource.RLIMIT_DATA, (limit_bytes, hard))


def release_memory_limit() -> None:
    """Lift the limit so that an error can be reported: at the limit there may be no memory for its text."""
    hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
    resource.setrlimit(resource.RLIMIT_DATA, (hard, hard))


def keep_freed_memory() -> None:
    """Tell glibc to keep freed memory for the next allocation; do nothing with another C library.

    By default glibc returns the top of the heap to the system as soon as it is free, and takes it again page by page.
    Each block above a threshold (of 32 MiB at most) comes from the system and goes back to it. Whether the activations
    of a pass lie at the top depends on earlier allocations. MobileNetV2 at batch 1 took 3,500 page faults in each pass
    of most processes. It took 13 in those of some, where a pass was a quarter faster.

    At batch 8 a pass took 78,000 page faults and 300 ms by default. While only large blocks went back, it took 18,818
    and 177 ms; now it takes none and 147 ms (torch 2.15, two shared cores, three processes of each in turns). VGG16 at
    batch 8 then holds 1.78 GB instead of 1.58 GB.
    """
    with suppress(AttributeError):  # only glibc has it
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_TRIM_THRESHOLD, _NEVER)
        mallopt(_M_MMAP_MAX, _NONE)


def randomise_heap(rng: random.Random) -> list[Tensor]:
    """Allocate memory blocks of random sizes, free half of them, and return those that the caller must keep.

    Later allocations fall into the holes, so each process places a model at other offsets within pages and cache
    lines. Otherwise all workers of a model would have the same layout, since they are forked from one server. A copy of
    the model under another name would have another layout. That shifts a comparison of equal models by about 1 %, the
    same way in all rounds, and no interval covers it (Mytkowicz et al. 2009, Producing Wrong Data Without Doing
    Anything Obviously Wrong; Curtsinger and Berger 2013, Stabilizer).
    """
    import torch

    low, high = math.log(SMALLEST_BYTES), math.log(LARGEST_BYTES)
    sizes = [int(math.exp(rng.uniform(low, high))) for _ in range(BLOCKS)]
    blocks = [torch.empty(size, dtype=torch.uint8) for size in sizes]
    return rng.sample(blocks, BLOCKS // 2)
