"""The roofline model: how close a pass comes to the limits of the machine, and which one binds it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from cnnbench.record import Record
from cnnbench.spec import Case, Precision

# Share of the peak above which a cell is invalid: it did not do the work that was counted, or the device was not
# waited for. The 5 % allow for noise in the measured peak (measuring method, docs/measurement.md).
ABOVE_PEAK = 1.05

# Forward passes that a training step costs: the backward pass computes the gradients of inputs and of weights, each
# as much work as the forward pass (Kaplan et al. 2020, appendix B).
TRAINING = 3

_FLOPS_PER_MAC = 2
_PASSES_OF_ACTIVATIONS = 2  # written by one layer, read by the next
_FP32_BYTES = 4
_HALF: frozenset[Precision] = frozenset({"amp_bf16", "amp_fp16", "bf16"})

# The ceilings of each precision, its own first; the highest counts. A convolution in fp32 can be faster than a matrix
# product, as on CPUs, and Winograd's algorithm needs fewer FLOPs than are counted.
_PEAKS: Mapping[Precision, tuple[str, ...]] = MappingProxyType(
    {
        "fp32": ("fp32_flop_per_s", "conv_flop_per_s"),
        "tf32": ("tf32_flop_per_s", "conv_flop_per_s"),
        "amp_bf16": ("bf16_flop_per_s",),
        "bf16": ("bf16_flop_per_s",),
        "amp_fp16": ("fp16_flop_per_s",),
    }
)

Bound = Literal["compute", "memory", "launches"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Ceilings:
    """The most that a machine can do, in FLOP/s and bytes/s, and the seconds of one call; None if not measured."""

    fp32_flop_per_s: float | None = None
    tf32_flop_per_s: float | None = None
    bf16_flop_per_s: float | None = None
    fp16_flop_per_s: float | None = None
    conv_flop_per_s: float | None = None
    copy_bytes_per_s: float | None = None
    triad_bytes_per_s: float | None = None
    dispatch_s: float | None = None

    def peak(self, precision: Precision) -> float | None:
        """Return the highest FLOP/s in `precision`; None if it was not measured, such as for an emulated one."""
        own, *others = (getattr(self, name) for name in _PEAKS[precision])
        return None if own is None else max(own, *(other for other in others if other is not None), 0.0)

    def bandwidth(self) -> float | None:
        """Return the higher bytes/s of copy and triad; None if neither was measured."""
        return max((b for b in (self.copy_bytes_per_s, self.triad_bytes_per_s) if b is not None), default=None)


def ceilings_of(record: Record) -> Ceilings | None:
    """Return the ceilings in `record`; None if it is not a good record of ceilings.

    A record with a warning is not good: beside other work, the machine reaches less than it can.
    """
    if record.status != "ok" or record.case.role != "ceilings" or record.warnings:
        return None
    return Ceilings(**{name: _first_value(record, name) for name in Ceilings.__slots__})


@dataclass(frozen=True, kw_only=True, slots=True)
class Cost:
    """The computed cost of a forward pass: multiply-adds, activations and input of one image, bytes in fp32."""

    macs: float
    weight_bytes: float
    activation_bytes: float
    input_bytes: float
    operator_calls: float
    frozen: bool = False  # whether some parameters get no gradient


def cost_of(record: Record) -> Cost | None:
    """Return the cost in a complexity record; None if it lacks a part, such as one of an older version."""
    names = ("macs", "weight_bytes", "activation_bytes", "operator_calls")
    found = {name: value for name in names if (value := _first_value(record, name)) is not None}
    if len(found) < len(names):
        return None
    frozen = _first_value(record, "params") != _first_value(record, "trainable_params")
    return Cost(**found, input_bytes=float(_FP32_BYTES * math.prod(record.case.input_shape)), frozen=frozen)


@dataclass(frozen=True, kw_only=True, slots=True)
class Roofline:
    """Where a cell stands under the roof.

    `flops_per_byte` is its intensity; `peak_flop_per_s` and `bytes_per_s` are the roof. `flop_per_s` is what it
    achieved, `share` is that over min(peak, intensity x bandwidth), and `of_peak` that over the peak alone. `bound_by`
    is what alone would take longest. For a compiled cell this is never the launches: its operators are fused, so it
    calls others than eager. The bytes are estimated: every layer's output is written and read once. `share` can exceed
    1 if caches or fused layers save some of that.
    """

    flops_per_byte: float
    peak_flop_per_s: float
    bytes_per_s: float
    flop_per_s: float
    share: float
    of_peak: float
    bound_by: Bound

    @property
    def is_impossible(self) -> bool:
        """Return whether the cell did more than the machine can do, so that the time must be wrong."""
        return self.of_peak > ABOVE_PEAK


def roofline(case: Case, latency_s: float | None, cost: Cost | None, ceilings: Ceilings | None) -> Roofline | None:
    """Return where `case`, whose pass takes `latency_s`, stands under the roof (Williams et al. 2009).

    FLOPs are two for each multiply-add; bytes are weights, twice the activations, and the input. A training step takes
    all of these and the calls three times. Return None if the latency, a part of the cost or the ceiling of the
    precision is not known. Return None, too, if nothing is multiplied, or if a training step leaves out frozen layers.
    """
    if cost is None or ceilings is None or not latency_s or cost.macs <= 0 or (case.task == "train" and cost.frozen):
        return None

    peak, bandwidth = ceilings.peak(case.variant.precision), ceilings.bandwidth()
    if peak is None or bandwidth is None or ceilings.dispatch_s is None:
        return None

    passes = TRAINING if case.task == "train" else 1
    flops = passes * _FLOPS_PER_MAC * cost.macs * case.batch_size
    moved = passes * _bytes(case, cost)
    # Seconds that each resource would take if the others cost nothing.
    alone_s: dict[Bound, float] = {
        "compute": flops / peak,
        "memory": moved / bandwidth,
    }
    # Calls were counted in eager; a compiled variant fuses operators and calls others.
    if case.variant.compile_mode is None:
        alone_s["launches"] = passes * cost.operator_calls * ceilings.dispatch_s

    return Roofline(
        flops_per_byte=flops / moved,
        peak_flop_per_s=peak,
        bytes_per_s=bandwidth,
        flop_per_s=flops / latency_s,
        share=max(alone_s["compute"], alone_s["memory"]) / latency_s,  # flops / min(peak, flops / bytes x bandwidth)
        of_peak=alone_s["compute"] / latency_s,
        bound_by=max(alone_s, key=lambda bound: alone_s[bound]),
    )


def _bytes(case: Case, cost: Cost) -> float:
    """Return the bytes that a forward pass over one batch moves; 16-bit tensors take half of that."""
    an_image = _PASSES_OF_ACTIVATIONS * cost.activation_bytes + cost.input_bytes
    whole = cost.weight_bytes + case.batch_size * an_image
    return whole / 2 if case.variant.precision in _HALF else whole


def _first_value(record: Record, quantity: str) -> float | None:
    return next(iter(record.samples(quantity)), None)
