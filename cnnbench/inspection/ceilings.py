"""Measures what the machine can do at most, with torch alone: matrix products, a convolution, memory, one call."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

import torch

from cnnbench.clock import Clock
from cnnbench.inspection.environment import probe
from cnnbench.record import Measurement, Outcome, RecordedWarning
from cnnbench.spec import Case, Device

# Shortest time between two readings of the clock; waiting for a CUDA device (10 to 20 us) is then below 0.5 %.
READING_S = 0.005

# A matrix product that would take longer is left out: the smaller ones came close to the peak already. Our choice.
LONGEST_S = 0.5

# Rows and columns of the matrices: on a CPU 512 fill the caches, a large GPU is not full before some thousands.
SIZES: Mapping[Device, tuple[int, ...]] = MappingProxyType({"cpu": (512, 1024, 2048), "cuda": (2048, 4096, 8192)})

# Channels and batch of the 3x3 convolution at 56x56, the layer that residual models repeat most.
CONVOLUTIONS: Mapping[Device, tuple[int, int]] = MappingProxyType({"cpu": (64, 4), "cuda": (256, 64)})

# Of the three arrays together: eight times a last-level cache of 32 MB. STREAM asks for four times (McCalpin 1995).
ARRAYS_BYTES = 256 * 2**20

# Operators called in one go, so that reading the clock does not count.
DISPATCH_CALLS = 100

# Share of their time that the threads of the matrix products must have been on a core; below it other work had some,
# and what was reached is no ceiling. Our choice: alone, threads reach 0.97 and more, two of three that compete 0.7.
LEAST_CPU = 0.9

# The matrix product that is measured once more to check the ceilings.
SHARE_SIZE = 2048


@dataclass(frozen=True, kw_only=True, slots=True)
class Trial:
    """One way to reach a ceiling: `run` does `amount` (FLOPs, bytes or calls); `prepare` sets what it runs under."""

    quantity: str
    amount: float
    run: Callable[[], object]
    prepare: Callable[[], None] | None = None

    def timed_s(self, clock: Clock, repeats: int) -> float:
        """Return the seconds of one run, from `repeats` in one reading.

        Inside are the runs and waiting for the device; outside the preparation and, before short runs, one untimed.
        """
        if self.prepare is not None:
            self.prepare()
        if repeats > 1:
            self.run()
        clock.synchronize()
        start = clock.now_ns()
        for _ in range(repeats):
            self.run()
        clock.synchronize()
        return (clock.now_ns() - start) * 1e-9 / repeats


@dataclass(frozen=True, kw_only=True, slots=True)
class Shares:
    """Achieved shares of the ceilings in a second measurement, by medians: a 2048 matrix product in fp32, a copy."""

    product: float
    copy: float


@dataclass(frozen=True, kw_only=True, slots=True)
class CeilingSamples:
    """The readings of a trial, seconds of one run each, and nanoseconds of wall and CPU time that they took."""

    trial: Trial
    repeats: int
    readings_s: list[float] = field(default_factory=list)
    spent_ns: list[tuple[int, int]] = field(default_factory=list)

    def cores(self) -> float:
        """Return how many cores the process had at work, on average over all readings."""
        return sum(cpu for _, cpu in self.spent_ns) / max(1, sum(wall for wall, _ in self.spent_ns))


def run(case: Case, clock: Clock) -> Outcome:
    """Return the ceilings of the case's device with the case's threads; `budget.total_s` is the time for measuring."""
    environment = probe()
    native_bf16 = environment.gpu_native_bf16 if case.device == "cuda" else environment.native_bf16
    return measure_ceilings(case.device, clock, seconds=case.budget.total_s, native_bf16=native_bf16)


def measure_ceilings(device: Device, clock: Clock, *, seconds: float, native_bf16: bool) -> Outcome:
    """Return the ceilings of `device`, one sample each, after `seconds` of measuring and what setting up takes.

    `native_bf16`: the device computes in bf16 itself; emulated it has no ceiling of its own, and TF32 came with it.
    """
    with torch.no_grad():
        taken = rounds(trials(device, native_bf16=native_bf16), clock, seconds=seconds)
    warnings = disturbed(taken, torch.get_num_threads()) if device == "cpu" else ()
    return Outcome(measurements=reached(taken), warnings=warnings)


def disturbed(taken: Iterable[CeilingSamples], threads: int) -> tuple[RecordedWarning, ...]:
    """Return the warning that the matrix products in fp32 did not have `threads` cores to themselves, if so."""
    share = max(one.cores() for one in taken if one.trial.quantity == "fp32_flop_per_s") / threads
    if share >= LEAST_CPU:
        return ()
    seen = f"{100 * share:.0f} % of the time"
    fact = f"the threads that should show what the machine can do at most were on a core for {seen}"
    advice = "These are lower bounds. Close other programs, then run 'cnnbench doctor'."
    return (RecordedWarning(code="ceilings_disturbed", fact=fact, advice=advice),)


def measure_shares(ceilings: Outcome, device: Device, clock: Clock, *, seconds: float) -> Shares:
    """Return what a second measurement of a matrix product and of a copy reaches of `ceilings`, by its medians."""
    with torch.no_grad():
        again = (_product(SHARE_SIZE, torch.float32, device, "fp32_flop_per_s"), _memory(device)[0])
        taken = rounds(again, clock, seconds=seconds)
    known = {m.quantity: m.samples[0] for m in ceilings.measurements}
    product, copy = (t.trial.amount / statistics.median(t.readings_s) / known[t.trial.quantity] for t in taken)
    return Shares(product=product, copy=copy)


def reached(taken: Iterable[CeilingSamples]) -> tuple[Measurement, ...]:
    """Return by quantity the best rate of all its trials; for `dispatch_s` the median seconds of a call.

    A ceiling is what the machine can do at most, so a slow moment must not lower it: the fastest reading counts.
    """
    found: dict[str, float] = {}
    for one in taken:
        name, amount = one.trial.quantity, one.trial.amount
        if name == "dispatch_s":
            found[name] = statistics.median(one.readings_s) / amount
        else:
            found[name] = max(found.get(name, 0.0), amount / min(one.readings_s))
    return tuple(Measurement(quantity=name, samples=(value,)) for name, value in found.items())


def rounds(
    tried: Iterable[Trial], clock: Clock, *, seconds: float, cpu_ns: Callable[[], int] = time.process_time_ns
) -> tuple[CeilingSamples, ...]:
    """Return the readings of trials that take turns, one reading each, for `seconds`, at least one round.

    Left out are those that would take too long by the rate of an earlier one of their quantity.
    """
    rates: dict[str, float] = {}
    kept: list[CeilingSamples] = []
    for trial in tried:
        if trial.quantity in rates and trial.amount / rates[trial.quantity] > LONGEST_S:
            continue
        run_s = _settled_s(trial, clock)
        rates[trial.quantity] = trial.amount / run_s
        kept.append(CeilingSamples(trial=trial, repeats=math.ceil(READING_S / run_s)))

    end = clock.now_ns() + seconds * 1e9
    while not kept[0].readings_s or clock.now_ns() < end:
        for one in kept:
            wall, cpu = clock.now_ns(), cpu_ns()
            one.readings_s.append(one.trial.timed_s(clock, one.repeats))
            one.spent_ns.append((clock.now_ns() - wall, cpu_ns() - cpu))

    return tuple(kept)


def _settled_s(trial: Trial, clock: Clock) -> float:
    """Return the seconds of the faster of two runs after a first one, which sets libraries up and is thrown away."""
    trial.timed_s(clock, 1)
    return max(min(trial.timed_s(clock, 1) for _ in range(2)), 1e-9)


def trials(device: Device, *, native_bf16: bool) -> tuple[Trial, ...]:
    """Return everything that is tried on `device`, with its tensors."""
    kinds = [("fp32_flop_per_s", torch.float32)]
    if device == "cuda":
        kinds += [("tf32_flop_per_s", torch.float32)] if native_bf16 else []
        kinds += [("fp16_flop_per_s", torch.float16)]
    kinds += [("bf16_flop_per_s", torch.bfloat16)] if native_bf16 else []
    products = [_product(size, dtype, device, name) for name, dtype in kinds for size in SIZES[device]]
    layouts = (torch.contiguous_format, torch.channels_last)
    convolutions = [_convolution(device, layout) for layout in layouts]
    return (*products, *convolutions, *_memory(device), _dispatch(device))


def _product(size: int, dtype: torch.dtype, device: Device, quantity: str) -> Trial:
    """Return a square matrix product; a multiply-add is two FLOPs."""
    a, b = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    out = torch.empty_like(a)
    tf32 = quantity.startswith("tf32")
    return Trial(
        quantity=quantity,
        amount=2.0 * size**3,
        run=lambda: torch.mm(a, b, out=out),
        prepare=(lambda: _allow_tf32(allowed=tf32)) if device == "cuda" else None,
    )


def _convolution(device: Device, layout: torch.memory_format) -> Trial:
    """Return a 3x3 convolution of images (batch, channels, 56, 56) with padding 1."""
    channels, batch = CONVOLUTIONS[device]
    images = torch.randn(batch, channels, 56, 56, device=device).to(memory_format=layout)
    weight = torch.randn(channels, channels, 3, 3, device=device).to(memory_format=layout)
    return Trial(
        quantity="conv_flop_per_s",
        amount=2.0 * 9 * channels**2 * batch * 56**2,
        run=lambda: torch.conv2d(images, weight, padding=1),
        prepare=(lambda: _allow_tf32(allowed=False)) if device == "cuda" else None,
    )


def _memory(device: Device) -> tuple[Trial, Trial]:
    """Return copy (a = b) and triad (a = b + 3 c); bytes read and written, without what a cache reads to write."""
    length = ARRAYS_BYTES // 3 // 4
    a, b, c = (torch.ones(length, device=device) for _ in range(3))
    copy = Trial(quantity="copy_bytes_per_s", amount=2.0 * 4 * length, run=lambda: a.copy_(b))
    triad = Trial(quantity="triad_bytes_per_s", amount=3.0 * 4 * length, run=lambda: torch.add(b, c, alpha=3.0, out=a))
    return copy, triad


def _dispatch(device: Device) -> Trial:
    """Return calls of one operator on a tensor of one number, where nothing but the call costs time."""
    one = torch.ones(1, device=device)

    def call() -> None:
        for _ in range(DISPATCH_CALLS):
            torch.add(one, one)

    return Trial(quantity="dispatch_s", amount=float(DISPATCH_CALLS), run=call)


def _allow_tf32(*, allowed: bool) -> None:
    """Set the CUDA flags of a product; cuDNN times its algorithms, because the fastest is the ceiling."""
    torch.set_float32_matmul_precision("high" if allowed else "highest")
    torch.backends.cudnn.allow_tf32 = allowed
    torch.backends.cudnn.benchmark = True
