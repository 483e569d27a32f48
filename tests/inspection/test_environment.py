"""The environment of a worker: what torch and the system say, put together."""

from __future__ import annotations

import shutil
from typing import Any

import pytest
import torch

from cnnbench import machine
from cnnbench.inspection.environment import probe


@pytest.fixture(autouse=True)
def made_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Be on a made-up machine without a GPU."""
    seen: dict[str, Any] = {
        "compiler": lambda: (None, "no compiler"),
        "cpu_name": lambda: "Example CPU",
        "cpu_flags": lambda: frozenset({"avx2", "bf16x"}),
        "usable_cores": lambda: 4,
        "cpu_quota": lambda: 1.5,
        "memory_bytes": lambda: 2**33,
    }
    for name, function in seen.items():
        monkeypatch.setattr(machine, name, function)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


def test_a_machine_without_a_gpu() -> None:
    found = probe()
    assert (found.cpu, found.cores, found.cpu_quota, found.memory_bytes) == ("Example CPU", 4, 1.5, 2**33)
    assert (found.compiler, found.compile_blocker) == (None, "no compiler")
    assert (found.gpu, found.gpu_native_bf16, found.cuda, found.driver) == (None, False, None, None)
    assert (found.torch, found.torchvision) == (str(torch.__version__), machine.version_of("torchvision"))
    assert found.native_bf16 is False


@pytest.mark.parametrize("flag", ["avx512_bf16", "amx_bf16", "bf16"])
def test_bf16_is_known_by_its_flags(flag: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "cpu_flags", lambda: frozenset({"fp", flag}))
    assert probe().native_bf16 is True


@pytest.mark.parametrize(("capability", "native"), [((7, 5), False), ((8, 0), True), ((9, 0), True)])
def test_a_machine_with_a_gpu(capability: tuple[int, int], native: bool, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: FBT001
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "Example GPU")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: capability)
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(shutil, "which", lambda tool: None)
    found = probe()
    assert (found.gpu, found.gpu_native_bf16, found.cuda, found.driver) == ("Example GPU", native, "13.0", None)
