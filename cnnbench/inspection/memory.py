"""Measure the peak memory of a cell in its own process: the kernel's high-water mark, or CUDA's allocator counts."""

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

from cnnbench.jobs import Assignment
from cnnbench.record import Measurement, Outcome
from cnnbench.spec import Case, ModelSpec, UnsupportedError
from cnnbench.timing.latency_job import check_first, inference, training
from cnnbench.timing.work import INPUTS
from cnnbench.variants import prepare

if TYPE_CHECKING:
    from cnnbench.timing.loop import Work

# Passes, or steps, whose peak is taken. The second one finds what the first left behind.
MEASURED_PASSES = 2

# Extra passes before the measured ones on CUDA: a model with CUDA graphs still records in its second pass.
CUDA_PASSES_BEFORE = 2

_RESET_HIGH_WATER = "5"  # to /proc/PID/clear_refs, see proc(5)


def run(assignment: Assignment) -> Outcome:
    """Return how much memory the case needs beyond a process that has torch imported: weights, one input, its passes.

    The peak is that of the passes. Building, reading weights and compiling come before: their own peaks do not count,
    nor does what the compiler keeps. What stays for the passes counts: weights, state of the optimiser, caches.

    On a CPU a tiny model makes the same passes first, because first passes load libraries (an optimiser imports 80 MB).
    The result is the sum of two parts: what the model holds after an eager pass, and the peak of further passes. A
    compiled variant makes these further passes compiled. On CUDA `peak_memory_bytes` is the most that was allocated,
    and `reserved_memory_bytes` the most that was reserved.

    Raises:
        UnsupportedError: the system does not report the peak of a process.
    """
    gc.freeze()  # objects from before are no garbage, and searching them takes 0.1 s and more each time
    try:
        return _measure_on_cuda(assignment) if assignment.case.device == "cuda" else _measure_on_cpu(assignment)
    finally:
        gc.unfreeze()


def _measure_on_cpu(assignment: Assignment) -> Outcome:
    case, spec = assignment.case, assignment.spec
    _reset_high_water()  # fails here, before anything is built, if the system has no high-water mark

    # The tiny model loads the libraries, so that they do not count for the case.
    with _prepare_work(spec, replace(case, input_shape=(3, 8, 8)), _tiny_model()) as (tiny, _), _force_eager(case):
        tiny.first()

    # An eager pass of the case shows what its model holds, without the compiler.
    del tiny
    before = _private_bytes()
    with _prepare_work(spec, case, assignment.build()) as (work, spare_bytes):
        with _force_eager(case):
            check_first(work.first())
        held = _private_bytes() - before

        # Compile now: what that takes lies before the measured passes.
        if case.variant.compile_mode:
            work.first()
        peak = held - spare_bytes + peak_bytes(lambda: work.repeat(MEASURED_PASSES))

    return Outcome(measurements=(Measurement(quantity="peak_memory_bytes", samples=(float(peak),)),))


def _measure_on_cuda(assignment: Assignment) -> Outcome:
    case = assignment.case
    with _prepare_work(assignment.spec, case, assignment.build()) as (work, spare_bytes):
        check_first(work.first())
        work.repeat(CUDA_PASSES_BEFORE)
        assignment.clock.synchronize()

        # Give back what only the first passes needed, or it would count as reserved.
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
def _prepare_work(spec: ModelSpec, case: Case, model: nn.Module) -> Iterator[tuple[Work, int]]:
    """Yield the passes or steps as they are timed, and the bytes of all inputs but one.

    A user need not hold these spare inputs, so they are subtracted from the peak.
    """
    prepared = prepare(model, case.variant, case.device)
    values = (INPUTS - 1) * case.batch_size * math.prod(case.input_shape)
    # the variant decides how many bytes a value has
    spare_bytes = values * prepared.place(torch.empty(1)).element_size()
    if case.task == "train":
        yield training(spec, case, prepared), spare_bytes
        return
    with torch.no_grad(), prepared.context():
        yield inference(spec, case, prepared), spare_bytes


def _tiny_model() -> nn.Module:
    """Return a small model that loads the code that models use: convolution, normalisation, pooling, matrix product."""
    return nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(72, 2)
    )


@contextmanager
def _force_eager(case: Case) -> Iterator[None]:
    """Run a compiled variant eagerly inside the context."""
    if not case.variant.compile_mode:
        yield
        return
    with torch.compiler.set_stance("force_eager"):
        yield


def peak_bytes(work: Callable[[], object]) -> int:
    """Return how far memory rose above its present height while `work` ran, by the kernel's own high-water mark.

    Freed memory that the allocator kept is given back before, because `work` would fill it unseen. In a forked process
    this memory may be the parent's. Pages of files are subtracted: they are code that a first use brings in.

    Raises:
        UnsupportedError: the system does not report the peak of a process.
    """
    _give_back()
    _reset_high_water()
    before = _status_bytes()
    work()
    after = _status_bytes()
    return after["VmHWM"] - before["VmRSS"] - max(0, after["RssFile"] - before["RssFile"])


def _private_bytes() -> int:
    """Return the bytes of memory in use, without pages of files."""
    _give_back()
    status = _status_bytes()
    return status["VmRSS"] - status["RssFile"]


def _give_back() -> None:
    gc.collect()
    with suppress(AttributeError):  # only glibc has it; other C libraries keep less
        ctypes.CDLL(None).malloc_trim(0)


def _reset_high_water() -> None:
    try:
        Path("/proc/self/clear_refs").write_text(_RESET_HIGH_WATER, encoding="ascii")
    except OSError as error:
        raise UnsupportedError(
            "Peak memory is read from the Linux kernel's high-water mark, but this system does not allow resetting it "
            f"(/proc/self/clear_refs: {error.strerror})."
        ) from error


def _status_bytes() -> dict[str, int]:
    """Return the sizes in /proc/self/status by name; the kernel writes them in kB of 1,024 bytes."""
    lines = (line.split() for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines())
    return {words[0].rstrip(":"): int(words[1]) * 1024 for words in lines if words[-1] == "kB"}
