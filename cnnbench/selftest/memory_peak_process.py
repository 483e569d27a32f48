"""Take memory for a moment in a process of its own and print the peak, for the experiment on memory.

`python -m cnnbench.selftest.memory_peak_process BYTES PARENT_BYTES`: if PARENT_BYTES is above 0, the process takes so
many bytes for itself and measures in a child that it forks.
"""

from __future__ import annotations

import os
import sys

from cnnbench.inspection.memory import peak_bytes


def _take(count: int) -> None:
    import torch

    torch.ones(count, dtype=torch.uint8)  # ones, not zeros: the kernel gives no memory for pages that nobody writes


def main(count: int, parent_bytes: int) -> None:
    """Print the peak memory of a moment in which `count` bytes are taken."""
    if parent_bytes:
        import numpy as np

        held = np.ones(parent_bytes, dtype=np.uint8)  # not torch's: its threads would exist before the fork
        # The parent holds its memory until the child, which goes on below, has measured.
        if child := os.fork():
            status = os.waitpid(child, 0)[1]
            del held
            sys.exit(os.waitstatus_to_exitcode(status))

    os.write(1, f"{peak_bytes(lambda: _take(count))}\n".encode())
    if parent_bytes:
        os._exit(0)  # the child: it must not run what its parent registered for the end


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
