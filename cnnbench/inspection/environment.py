"""Describe a worker: versions, processor, device and what it does natively; one operation answers each question."""

from __future__ import annotations

import platform
import shutil
import subprocess

from cnnbench import machine
from cnnbench._version import __version__
from cnnbench.record import Environment

# Processor flags by which Linux lists bf16 products (x86: AVX-512 BF16, AMX; Arm: BF16).
_BF16_FLAGS = frozenset({"avx512_bf16", "amx_bf16", "bf16"})

# Lowest CUDA compute capability whose tensor cores take bf16 (Ampere).
_BF16_CAPABILITY = (8, 0)


def probe() -> Environment:
    """Return the environment of this process; this initialises CUDA if there is a device."""
    import torch

    on_cuda = torch.cuda.is_available()
    name, blocker = machine.compiler()

    # `gpu`, `cuda` and `driver` are None without a CUDA device.
    return Environment(
        cnnbench=__version__,
        python=platform.python_version(),
        torch=str(torch.__version__),
        torchvision=machine.version_of("torchvision"),
        system=f"{platform.system()} {platform.release()} {platform.machine()}",
        cpu=machine.cpu_name(),
        cores=machine.usable_cores(),
        cpu_quota=machine.cpu_quota(),
        memory_bytes=machine.memory_bytes(),
        cpu_capability=torch.backends.cpu.get_cpu_capability(),
        native_bf16=not _BF16_FLAGS.isdisjoint(machine.cpu_flags()),
        compiler=name,
        compile_blocker=blocker,
        gpu=torch.cuda.get_device_name() if on_cuda else None,
        gpu_native_bf16=on_cuda and torch.cuda.get_device_capability() >= _BF16_CAPABILITY,
        cuda=torch.version.cuda if on_cuda else None,
        driver=_driver() if on_cuda else None,
    )


def _driver() -> str | None:
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return None
    # nvidia-smi prints a line for each GPU; all GPUs share one driver.
    asked = [tool, "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        return (
            subprocess.run(asked, capture_output=True, text=True, timeout=20, check=True).stdout.split("\n")[0].strip()
        )
    except (OSError, subprocess.SubprocessError):
        return None
