"""What the suite shares: the process is set up as cnnbench's own workers are, before torch is loaded."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from cnnbench import machine
from cnnbench.record import Environment
from cnnbench.workers.process_environment import worker_environment

os.environ.update(worker_environment(machine.default_threads()))  # libgomp reads it once, when torch loads it


@pytest.fixture(scope="session")
def threads() -> int:
    """Return the threads of every pass: all cores that may be used, cut to the CPU quota."""
    return machine.default_threads()


@pytest.fixture(scope="session")
def environment(threads: int, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Environment]:
    """Fix threads and compile caches of this process, which are cold, and return what the machine is."""
    import torch

    from cnnbench.inspection.environment import probe

    with pytest.MonkeyPatch.context() as patch:
        for name in ("TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR"):
            patch.setenv(name, str(tmp_path_factory.mktemp(name.lower())))
        torch.set_num_threads(threads)
        yield probe()


def pytest_benchmark_update_machine_info(config: pytest.Config, machine_info: dict[str, object]) -> None:
    """Keep what cnnbench says of the machine beside what pytest-benchmark says: the number of cores that it may use."""
    del config
    machine_info["cnnbench"] = {"torch": machine.version_of("torch"), "threads": machine.default_threads()}
