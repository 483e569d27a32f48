"""Peak memory: exact transients, also under a large parent; what counts of a cell and what does not."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

import pytest
import torch
from torch import Tensor, nn

from cnnbench.clock import FakeTime, wall_clock
from cnnbench.inspection import memory
from cnnbench.inspection.memory import peak_bytes
from cnnbench.jobs import Assignment, Job
from cnnbench.spec import Case, InvalidError, ModelSpec, Task, UnsupportedError
from cnnbench.variants import parse_variant, prepare
from tests.factories import case

MB = 1_000_000
SHAPE = (1, 8, 8)

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the kernel's high-water mark is Linux's")


def close_to(expected: float) -> object:
    """Return what is within 2 % + 2 MB of `expected` bytes."""
    return pytest.approx(expected, abs=0.02 * expected + 2 * MB, rel=0)


def fill(megabytes: int) -> Tensor:
    return torch.ones(megabytes * MB, dtype=torch.uint8)


# The high-water mark

UNDER_A_PARENT = """
import json, os, sys, numpy, torch
from cnnbench.inspection.memory import peak_bytes
held = numpy.ones(400_000_000, dtype=numpy.uint8)  # not torch: its pool of threads must not be there at the fork
kept = [bytearray(50_000) for _ in range(2_000)]
del kept[:-1]  # what the parent's allocator keeps of this would be filled unseen
if os.fork() == 0:
    peaks = [peak_bytes(lambda: torch.ones(mb * 1_000_000, dtype=torch.uint8)) for mb in (64, 256, 1024)]
    peaks.append(peak_bytes(lambda: [bytearray(50_000) for _ in range(800)]))
    print(json.dumps(peaks), flush=True)
    os._exit(0)
os.wait()
"""


def test_fork_of_large_parent_sees_memory_transients() -> None:
    done = subprocess.run(
        [sys.executable, "-c", UNDER_A_PARENT], capture_output=True, text=True, check=True, timeout=120
    )
    assert json.loads(done.stdout) == [close_to(mb * MB) for mb in (64, 256, 1024, 40)]


@pytest.mark.parametrize("megabytes", [64, 256])
def test_transients_are_seen_after_larger_ones(megabytes: int) -> None:
    fill(512)
    assert peak_bytes(lambda: fill(megabytes)) == close_to(megabytes * MB)


FREED_BETWEEN = """
import torch
from cnnbench.inspection.memory import peak_bytes
held = torch.ones(128_000_000, dtype=torch.uint8)

def work():
    one, two = (torch.ones(mb * 1_000_000, dtype=torch.uint8) for mb in (32, 64))
    del one, two
    torch.ones(48_000_000, dtype=torch.uint8)

print(peak_bytes(work))
"""


def test_peak_ignores_earlier_memory_and_counts_freed_memory() -> None:
    """In a new process: after other tests the allocator may have holes, and fill another one than it just freed."""
    done = subprocess.run(
        [sys.executable, "-c", FREED_BETWEEN], capture_output=True, text=True, check=True, timeout=120
    )
    assert float(done.stdout) == close_to(96 * MB)


def test_no_high_water_mark_is_unsupported(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> NoReturn:
        raise FileNotFoundError(2, "No such file or directory")

    monkeypatch.setattr(Path, "write_text", refuse)
    with pytest.raises(UnsupportedError) as caught:
        peak_bytes(list)
    assert str(caught.value) == (
        "Peak memory is read from the Linux kernel's high-water mark, but this system does not allow resetting it "
        "(/proc/self/clear_refs: No such file or directory)."
    )


# A cell


class Known(nn.Module):
    """Holds 64 MB of weights and needs 96 MB more for a moment."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(250_000, 64))

    def forward(self, images: Tensor) -> Tensor:
        fill(96)
        scores: Tensor = images.flatten(1)[:, :2] * self.weight[0, :2]
        return scores


def wasteful() -> nn.Module:
    """Need more while it is built than ever after."""
    fill(512)
    return Known()


def asked(variant: str = "eager", *, task: Task = "infer", batch_size: int = 1) -> Case:
    parsed = parse_variant(variant, device="cpu", threads=1)
    return replace(case("known", parsed, task=task, batch_size=batch_size, shape=SHAPE), role="memory")


def peak(what: Case, build: Callable[[], nn.Module]) -> float:
    found = memory.run(assignment(what, build)).measurements
    assert [m.quantity for m in found] == ["peak_memory_bytes"]
    return found[0].samples[0]


def assignment(what: Case, build: Callable[[], nn.Module]) -> Assignment:
    spec = ModelSpec(name="known", family="none", source="made here", input_shape=SHAPE, build=build)
    job = Job(case=what, scratch="")
    return Assignment(job=job, spec=spec, build=build, clock=wall_clock(), on_message=lambda *_: None)


def test_weights_and_passes_count_and_building_does_not() -> None:
    assert peak(asked(), wasteful) == close_to((64 + 96) * MB)


def test_weights_in_bf16_take_half() -> None:
    assert peak(asked("bf16"), wasteful) == close_to((32 + 96) * MB)


def test_one_input_counts_and_not_the_four_that_take_turns() -> None:
    batch_size = 250_000  # images of 256 bytes: 64 MB; the scores are 2 MB, the labels 2 MB
    assert peak(asked(batch_size=batch_size), Known) == close_to((64 + 96 + 64) * MB)


def test_training_holds_gradients_and_momentum_beside_weights() -> None:
    assert peak(asked(task="train"), lambda: nn.Sequential(nn.Flatten(), nn.Linear(64, 250_000))) == pytest.approx(
        3 * 65 * MB, rel=0.1
    )


class Product(Known):
    """Needs the 96 MB for a product that no compiler can leave out."""

    def forward(self, images: Tensor) -> Tensor:
        return images.flatten(1)[:, :2] * (self.weight @ torch.ones(64, 96)).amax()


@pytest.mark.slow
def test_what_compiling_needs_does_not_count() -> None:
    assert peak(asked("compile"), Product) == close_to((64 + 96) * MB)


def test_scores_that_are_no_numbers_are_no_result() -> None:
    class Broken(Known):
        def forward(self, images: Tensor) -> Tensor:
            return super().forward(images) / 0

    with pytest.raises(InvalidError, match=r"^the output holds NaN or infinity on normally distributed input$"):
        memory.run(assignment(asked(), Broken))


def test_cuda_peaks_are_read_for_passes_after_first(monkeypatch: pytest.MonkeyPatch) -> None:
    events: list[str] = []

    class Told(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            events.append("pass")
            return images.flatten(1)

    clock = FakeTime().clock()
    monkeypatch.setattr(memory, "prepare", lambda model, variant, _: prepare(model, variant, "cpu"))
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: events.append("empty"))
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda: events.append("reset"))
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda: 5_000 + 3 * 2 * 256)
    monkeypatch.setattr(torch.cuda, "max_memory_reserved", lambda: 9_000)
    waits = replace(clock, synchronize=lambda: events.append("wait"))
    found = memory.run(replace(assignment(replace(asked(batch_size=2), device="cuda"), Told), clock=waits)).measurements
    assert {m.quantity: m.samples for m in found} == {
        "peak_memory_bytes": (5_000.0,),
        "reserved_memory_bytes": (9_000.0,),
    }
    assert events == ["pass", "pass", "pass", "wait", "empty", "reset", "pass", "pass", "wait"]
