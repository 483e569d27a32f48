"""Measure the most that the machine can do, with torch alone: matrix products, a convolution, memory, one call."""

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

# Shortest time between two readings of the clock. Waiting for a CUDA device takes 10 to 20 us, below 0.5 % of it.
READING_S = 0.005

# Longest matrix product. A longer one is left out, because the smaller ones have come close to the peak already.
LONGEST_S = 0.5

# Rows and columns of the matrices. On a CPU, 512 fill the caches; a large GPU needs some thousands to be full.
SIZES: Mapping[Device, tuple[int, ...]] = MappingProxyType({"cpu": (512, 1024, 2048), "cuda": (2048, 4096, 8192)})

# Channels and batch of the 3x3 convolution at 56x56, the layer that residual models repeat most.
CONVOLUTIONS: Mapping[Device, tuple[int, int]] = MappingProxyType({"cpu": (64, 4), "cuda": (256, 64)})

# Size of the three arrays together: eight times a last-level cache of 32 MB. STREAM asks for four times the cache
# (McCalpin 1995).
ARRAYS_BYTES = 256 * 2**20

# Operator calls in one run, so many that the cost of reading the clock does not show.
DISPATCH_CALLS = 100

# Share of their time that the threads of the matrix products must have spent on a core. A lower share means that other
# work took the cores, and the rates are no ceilings. Threads that run alone reach 0.97 and more; two of three that
# compete reach 0.7.
LEAST_CPU = 0.9

# Rows and columns of the matrix product that is measured once more to check the ceilings.
SHARE_SIZE = 2048


@dataclass(frozen=True, kw_only=True, slots=True)
class Trial:
    """A way to reach a ceiling: `run` does `amount` (FLOPs, bytes or calls); `prepare` sets the flags for it."""

    quantity: str
    amount: float
    run: Callable[[], object]
    prepare: Callable[[], None] | None = None

    def timed_s(self, clock: Clock, repeats: int) -> float:
        """Return the seconds of one run, the mean of `repeats` runs in one reading.

        The timed region holds the runs and the wait for the device. The preparation is outside, and so is one untimed
        run, which short runs (`repeats` above 1) have first.
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
    """Shares of the ceilings that a second measurement reached, by medians: a 2048 matrix product in fp32, a copy."""

    product: float
    copy: float


@dataclass(frozen=True, kw_only=True, slots=True)
class CeilingSamples:
    """The readings of a trial, in seconds of one run, and the wall and CPU nanoseconds that each reading took."""

    trial: Trial
    repeats: int
    readings_s: list[float] = field(default_factory=list)
    spent_ns: list[tuple[int, int]] = field(default_factory=list)

    def cores(self) -> float:
        """Return how many cores the process kept busy, on average over all readings."""
        return sum(cpu for _, cpu in self.spent_ns) / max(1, sum(wall for wall, _ in self.spent_ns))


def run(case: Case, clock: Clock) -> Outcome:
    """Return the ceilings of the case's device with the case's threads; measuring takes `budget.total_s`."""
    environment = probe()
    native_bf16 = environment.gpu_native_bf16 if case.device == "cuda" else environment.native_bf16
    return measure_ceilings(case.device, clock, seconds=case.budget.total_s, native_bf16=native_bf16)


def measure_ceilings(device: Device, clock: Clock, *, seconds: float, native_bf16: bool) -> Outcome:
    """Return the ceilings of `device`, one sample each.

    Measuring takes `seconds`; setting up comes on top. `native_bf16`: the device computes in bf16 itself. Emulated bf16
    has no ceiling of its own. The flag stands for TF32 too, because GPUs gained both together.
    """
    with torch.no_grad():
        taken = rounds(trials(device, native_bf16=native_bf16), clock, seconds=seconds)
    warnings = disturbance_warnings(taken, torch.get_num_threads()) if device == "cpu" else ()
    return Outcome(measurements=best_rates(taken), warnings=warnings)


def disturbance_warnings(taken: Iterable[CeilingSamples], threads: int) -> tuple[RecordedWarning, ...]:
    """Return a warning if the matrix products in fp32 did not have `threads` cores to themselves."""
    share = max(one.cores() for one in taken if one.trial.quantity == "fp32_flop_per_s") / threads
    if share >= LEAST_CPU:
        return ()
    seen = f"{100 * share:.0f} % of the time"
    fact = f"the threads that measured the machine's ceilings were on a core for only {seen}"
    advice = "These are lower bounds. Close other programs, then run 'cnnbench doctor'."
    return (RecordedWarning(code="ceilings_disturbed", fact=fact, advice=advice),)


def measure_shares(ceilings: Outcome, device: Device, clock: Clock, *, seconds: float) -> Shares:
    """Return the shares of `ceilings` that a second measurement of a matrix product and a copy reaches, by medians."""
    with torch.no_grad():
        again = (_product(SHARE_SIZE, torch.float32, device, "fp32_flop_per_s"), _memory(device)[0])
        taken = rounds(again, clock, seconds=seconds)
    known = {m.quantity: m.samples[0] for m in ceilings.measurements}
    product, copy = (t.trial.amount / statistics.median(t.readings_s) / known[t.trial.quantity] for t in taken)
    return Shares(product=product, copy=copy)


def best_rates(taken: Iterable[CeilingSamples]) -> tuple[Measurement, ...]:
    """Return the best rate of each quantity over its trials; for `dispatch_s`, the median seconds of a call.

    A ceiling is the most that the machine can do. A slow moment must not lower it, so the fastest reading counts.
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
    """Return the readings of trials that take turns, one reading each, for `seconds` and at least one round.

    A trial is left out if it would take too long by the rate of an earlier trial of its quantity.
    """
    rates: dict[str, float] = {}
    kept: list[CeilingSamples] = []
    for trial in tried:
        # The rate of the last, smaller size predicts the seconds of this one.
        if trial.quantity in rates and trial.amount / rates[trial.quantity] > LONGEST_S:
            continue
        run_s = _settled_s(trial, clock)
        rates[trial.quantity] = trial.amount / run_s
        kept.append(CeilingSamples(trial=trial, repeats=math.ceil(READING_S / run_s)))

    # Trials take turns, so that a slow moment of the machine does not fall on one trial alone.
    end = clock.now_ns() + seconds * 1e9
    while not kept[0].readings_s or clock.now_ns() < end:
        for one in kept:
            wall, cpu = clock.now_ns(), cpu_ns()
            one.readings_s.append(one.trial.timed_s(clock, one.repeats))
            one.spent_ns.append((clock.now_ns() - wall, cpu_ns() - cpu))

    return tuple(kept)


def _settled_s(trial: Trial, clock: Clock) -> float:
    """Return the seconds of the faster of two runs; a run before them sets libraries up and does not count."""
    trial.timed_s(clock, 1)
    return max(min(trial.timed_s(clock, 1) for _ in range(2)), 1e-9)


def trials(device: Device, *, native_bf16: bool) -> tuple[Trial, ...]:
    """Return all trials for `device`, with their tensors."""
    kinds = [("fp32_flop_per_s", torch.float32)]
    if device == "cuda":
        kinds += [("tf32_flop_per_s", torch.float32)] if native_bf16 else []
        kinds += [("fp16_flop_per_s", torch.float16)]
    kinds += [("bf16_flop_per_s", torch.bfloat16)] if native_bf16 else []
    # Small sizes come first: `rounds` predicts from them how long a larger size takes.
    products = [_product(size, dtype, device, name) for name, dtype in kinds for size in SIZES[device]]
    layouts = (torch.contiguous_format, torch.channels_last)
    convolutions = [_convolution(device, layout) for layout in layouts]
    return (*products, *convolutions, *_memory(device), _dispatch(device))


def _product(size: int, dtype: torch.dtype, device: Device, quantity: str) -> Trial:
    """Return the product of two square matrices; a multiply-add counts as two FLOPs."""
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
        # FLOPs of a multiply-add, weights of a kernel, channels in and out, images, positions
        amount=2.0 * 9 * channels**2 * batch * 56**2,
        run=lambda: torch.conv2d(images, weight, padding=1),
        prepare=(lambda: _allow_tf32(allowed=False)) if device == "cuda" else None,
    )


def _memory(device: Device) -> tuple[Trial, Trial]:
    """Return a copy (a = b) and a triad (a = b + 3 c).

    Their amounts are the bytes read and written, without what a cache reads before it can write.
    """
    # a third of the bytes for each array, 4 bytes for each fp32 value
    length = ARRAYS_BYTES // 3 // 4
    a, b, c = (torch.ones(length, device=device) for _ in range(3))
    copy = Trial(quantity="copy_bytes_per_s", amount=2.0 * 4 * length, run=lambda: a.copy_(b))
    triad = Trial(quantity="triad_bytes_per_s", amount=3.0 * 4 * length, run=lambda: torch.add(b, c, alpha=3.0, out=a))
    return copy, triad


def _dispatch(device: Device) -> Trial:
    """Return calls of one operator on a tensor of one number, which cost nothing but the call."""
    one = torch.ones(1, device=device)

    def call() -> None:
        for _ in range(DISPATCH_CALLS):
            torch.add(one, one)

    return Trial(quantity="dispatch_s", amount=float(DISPATCH_CALLS), run=call)


def _allow_tf32(*, allowed: bool) -> None:
    """Set the CUDA flags of a product; cuDNN times its algorithms, because the fastest one gives the ceiling."""
    torch.set_float32_matmul_precision("high" if allowed else "highest")
    torch.backends.cudnn.allow_tf32 = allowed
    torch.backends.cudnn.benchmark = True
