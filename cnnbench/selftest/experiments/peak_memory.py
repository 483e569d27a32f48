"""Measure memory that a process takes for a moment, as the memory runner sees it (V12)."""

from __future__ import annotations

import subprocess
import sys

from cnnbench import machine
from cnnbench.quantities import show
from cnnbench.selftest import Found, NotRunHere, Setting
from cnnbench.spec import CnnbenchError

MB = 10**6

# A peak may be wrong by this share of the memory that is taken, and by these bytes.
SHARE = 0.02
SPARE_BYTES = 2 * MB

# Bytes that a large parent holds: more than any of the amounts, so that its size could be mistaken for the peak.
PARENT_BYTES = 1500 * MB

# Bytes that must be free besides, for torch in the measuring process.
OTHER_BYTES = 1000 * MB


def measure_peak_error(part: str, setting: Setting) -> Found:
    """Measure how far the peak that is seen is from the memory that is taken in `part` (V12)."""
    del setting
    count = int(part.split(maxsplit=1)[0]) * MB
    parent_bytes = PARENT_BYTES if "parent" in part else 0
    needed = count + parent_bytes + OTHER_BYTES

    # A machine that has too little memory swaps or ends the process, which says nothing about the peak.
    if machine.free_memory_bytes() < needed:
        raise NotRunHere(f"it needs {show(float(needed), 'bytes')} of free memory")

    seen = _peak(count, parent_bytes)
    most = SHARE * count + SPARE_BYTES

    return Found(
        measured=f"peak memory that is seen where {part} are taken for a moment",
        values=(float(seen),),
        shown=f"{seen / MB:.1f} MB",
        bound=f"{(count - most) / MB:.1f} to {(count + most) / MB:.1f} MB",
        holds=abs(seen - count) <= most,
    )


def _peak(count: int, parent_bytes: int) -> int:
    # A new process for each peak: memory that an older one has freed could be taken again unseen.
    command = [sys.executable, "-m", "cnnbench.selftest.memory_peak_process", str(count), str(parent_bytes)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    if done.returncode != 0:
        said = done.stderr.strip().splitlines() or ["no message"]
        raise CnnbenchError(f"the process that takes memory ended with {done.returncode}: {said[-1]}")
    return int(done.stdout)
