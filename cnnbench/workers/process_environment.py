"""Make the environment that workers start in: their code, and variables that set the size of thread pools."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

# How often threads of libgomp look for work before they sleep, unless the user sets it: 0.8 ms, a tenth of the default.
# The next worker's sample must wait for that. Passes took as long as with the default (docs/measurement.md), because
# their serial parts are far shorter.
SPIN_COUNT = "30000"


def code_folder() -> tempfile.TemporaryDirectory[str]:
    """Return a folder that holds this package alone: what lies beside it must not come before other packages."""
    folder = tempfile.TemporaryDirectory(prefix="cnnbench-code-")  # lives as long as the server
    (Path(folder.name) / "cnnbench").symlink_to(Path(__file__).resolve().parent.parent)
    return folder


def worker_environment(threads: int) -> dict[str, str]:
    """Return the environment of workers: pools of `threads`, no pool in numpy, no extra processes for the compiler."""
    pools = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), str(threads))
    return {
        "GOMP_SPINCOUNT": SPIN_COUNT,
        **os.environ,
        **pools,
        "OPENBLAS_NUM_THREADS": "1",  # numpy's; its pool would exist before the first fork
        "TORCHINDUCTOR_COMPILE_THREADS": "1",  # a pool of compilers would take time from the samples
        "PYTHONWARNINGS": "ignore",  # deprecations in a library are not what is measured
    }
