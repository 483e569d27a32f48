"""Peak memory of one cell, in a process of its own: the kernel's high-water mark, or what CUDA's allocator counted."""

from __future__ import annotations

import ctypes
import gc
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import nn

from cnnbench.record import Measurement, Outcome
from cnnbench.runners import Assignment
from cnnbench.spec import Case, ModelSpec, UnsupportedError
from cnnbench.timing.job import check_first, inference, training
from cnnbench.timing.work import INPUTS
from cnnbench.variants import prepare

if TYPE_CHECKING:
    from cnnbench.timing.loop import Work

# Passes, or steps, whose peak is taken: a second one finds what the first left behind. Our choice.
MEASURED_PASSES = 2

# More passes before those measured on CUDA: of a model with CUDA graphs the second one still records.
CUDA_PASSES_BEFORE = 2

_RESET_HIGH_WATER = "5"  # to /proc/PID/clear_refs, see proc(5)


def run(assignment: Assignment) -> Outcome:
    """Return how much memory the case needs beyond a process that has torch imported: weights, one input, its passes.

    Taken when it runs: building, reading weights and compiling come before, and what they needed at their height does
    not count, nor what the compiler keeps. What stays for the passes does: weights, state of the optimiser, caches.

    On a CPU a tiny model makes the same passes first, because first ones load libraries (an optimiser imports 80 MB).
    What a model left after an eager pass is added to the peak of further passes, of the compiled model where it is
    one. On CUDA `peak_memory_bytes` is what was allocated at most and `reserved_memory_bytes` what was reserved.

    Raises:
        UnsupportedError: the system does not tell the peak of a process.
    """
    gc.freeze()  # what the process began with is no garbage; looking through it takes 0.1 s and more each time
    try:
        return _on_cuda(assignment) if assignment.case.device == "cuda" else _on_cpu(assignment)
    finally:
        gc.unfreeze()


def _on_cpu(assignment: Assignment) -> Outcome:
    case, spec = assignment.case, assignment.spec
    _reset_high_water()  # says whether it can be had, before anything is built
    with _ready(spec, replace(case, input_shape=(3, 8, 8)), _tiny()) as (tiny, _), _eager(case):
        tiny.first()

    del tiny
    before = _private_bytes()
    with _ready(spec, case, assignment.build()) as (work, spare_bytes):
        with _eager(case):
            check_first(work.first())
        held = _private_bytes() - before
        if case.variant.compile_mode:
            work.first()
        peak = held - spare_bytes + peak_bytes(lambda: work.repeat(MEASURED_PASSES))

    return Outcome(measurements=(Measurement(quantity="peak_memory_bytes", samples=(float(peak),)),))


def _on_cuda(assignment: Assignment) -> Outcome:
    case = assignment.case
    with _ready(assignment.spec, case, assignment.build()) as (work, spare_bytes):
        check_first(work.first())
        work.repeat(CUDA_PASSES_BEFORE)
        assignment.clock.synchronize()
        gc.collect()
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        work.repeat(MEASURED_PASSES)
        assignment.clock.synchronize()
        found = {
            "peak_memory_bytes": torch.cuda.max_memory_allocated() - spare_bytes,
            "reserved_memory_bytes": torch.cuda.max_memory_reserved(),
        }

    return Outcome(measurements=tuple(Measurement(quantity=q, samples=(float(n),)) for q, n in found.items()))


@contextmanager
def _ready(spec: ModelSpec, case: Case, model: nn.Module) -> Iterator[tuple[Work, int]]:
    """Yield the passes or steps as they are timed, and the bytes of the inputs beyond one, which no user must hold."""
    prepared = prepare(model, case.variant, case.device)
    values = (INPUTS - 1) * case.batch_size * math.prod(case.input_shape)
    spare_bytes = values * prepared.place(torch.empty(1)).element_size()
    if case.task == "train":
        yield training(spec, case, prepared), spare_bytes
        return
    with torch.no_grad(), prepared.context():
        yield inference(spec, case, prepared), spare_bytes


def _tiny() -> nn.Module:
    """Return a model that loads what models use: convolution, normalisation, pooling, matrix product."""
    return nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(72, 2)
    )


@contextmanager
def _eager(case: Case) -> Iterator[None]:
    """Be where a compiled variant runs as it is written."""
    if not case.variant.compile_mode:
        yield
        return
    with torch.compiler.set_stance("force_eager"):
        yield


def peak_bytes(work: Callable[[], object]) -> int:
    """Return how far memory rose above its present height while `work` ran, by the kernel's own high-water mark.

    Before, freed memory that the allocator kept is given back, because `work` would fill it unseen: in a forked process
    that may be a parent's. Pages of files, which are code that a first use brings in, are taken off.

    Raises:
        UnsupportedError: the system does not tell the peak of a process.
    """
    _give_back()
    _reset_high_water()
    before = _status_bytes()
    work()
    after = _status_bytes()
    return after["VmHWM"] - before["VmRSS"] - max(0, after["RssFile"] - before["RssFile"])


def _private_bytes() -> int:
    """Return the memory in use that is no page of a file."""
    _give_back()
    status = _status_bytes()
    return status["VmRSS"] - status["RssFile"]


def _give_back() -> None:
    gc.collect()
    with suppress(AttributeError):  # only glibc has it, and others keep less
        ctypes.CDLL(None).malloc_trim(0)


def _reset_high_water() -> None:
    try:
        Path("/proc/self/clear_refs").write_text(_RESET_HIGH_WATER, encoding="ascii")
    except OSError as error:
        raise UnsupportedError(
            "Peak memory is read from the Linux kernel's high-water mark, and this system lets nobody reset it "
            f"(/proc/self/clear_refs: {error.strerror})."
        ) from error


def _status_bytes() -> dict[str, int]:
    """Return the sizes in /proc/self/status by name; the kernel writes them in kB of 1,024 bytes."""
    lines = (line.split() for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines())
    return {words[0].rstrip(":"): int(words[1]) * 1024 for words in lines if words[-1] == "kB"}
