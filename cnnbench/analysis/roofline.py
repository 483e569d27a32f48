"""How close a cell comes to what the machine can do: the roofline, and what binds the cell."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from cnnbench.record import Record
from cnnbench.spec import Case, Precision

# A cell that does more than this share of the peak did not do the work that was counted, or was not waited for: it is
# invalid. The 5 % are for the noise of the peak (measuring method, docs/measurement.md).
ABOVE_PEAK = 1.05

# A step costs three forward passes: the backward pass makes the gradients of inputs and of weights, each of them as
# much work as the forward pass (Kaplan et al. 2020, appendix B).
TRAINING = 3

_FLOPS_PER_MAC = 2
_PASSES_OF_ACTIVATIONS = 2  # written by one layer, read by the next
_FP32_BYTES = 4
_HALF: frozenset[Precision] = frozenset({"amp_bf16", "amp_fp16", "bf16"})

# The ceilings of each precision, its own first; the highest counts. A convolution in fp32 can be faster than a matrix
# product, as it is on CPUs, and Winograd's needs fewer FLOPs than are counted.
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
    """What a machine can do at most, in FLOP/s and bytes/s, and the seconds that one call costs; None: not measured."""

    fp32_flop_per_s: float | None = None
    tf32_flop_per_s: float | None = None
    bf16_flop_per_s: float | None = None
    fp16_flop_per_s: float | None = None
    conv_flop_per_s: float | None = None
    copy_bytes_per_s: float | None = None
    triad_bytes_per_s: float | None = None
    dispatch_s: float | None = None

    def peak(self, precision: Precision) -> float | None:
        """Return the highest FLOP/s in `precision`; None where it was not measured, as for an emulated one."""
        own, *others = (getattr(self, name) for name in _PEAKS[precision])
        return None if own is None else max(own, *(other for other in others if other is not None), 0.0)

    def bandwidth(self) -> float | None:
        """Return the higher bytes/s of copy and triad, None where neither was measured."""
        return max((b for b in (self.copy_bytes_per_s, self.triad_bytes_per_s) if b is not None), default=None)


def ceilings_of(record: Record) -> Ceilings | None:
    """Return the ceilings in `record`, or None where it is no good record of ceilings.

    One with a warning is none: what was reached beside other work is below what the machine can do.
    """
    if record.status != "ok" or record.case.role != "ceilings" or record.warnings:
        return None
    return Ceilings(**{name: _one(record, name) for name in Ceilings.__slots__})


@dataclass(frozen=True, kw_only=True, slots=True)
class Cost:
    """What one forward pass costs on paper: multiply-adds, activations and input of one image, bytes in fp32."""

    macs: float
    weight_bytes: float
    activation_bytes: float
    input_bytes: float
    operator_calls: float
    frozen: bool = False  # whether some parameters get no gradient


def cost_of(record: Record) -> Cost | None:
    """Return the cost in a complexity record, or None where it lacks a part, as those of older versions do."""
    names = ("macs", "weight_bytes", "activation_bytes", "operator_calls")
    found = {name: value for name in names if (value := _one(record, name)) is not None}
    if len(found) < len(names):
        return None
    frozen = _one(record, "params") != _one(record, "trainable_params")
    return Cost(**found, input_bytes=float(_FP32_BYTES * math.prod(record.case.input_shape)), frozen=frozen)


@dataclass(frozen=True, kw_only=True, slots=True)
class Roofline:
    """Where a cell stands under the roof.

    `flops_per_byte` is its intensity, `peak_flop_per_s` and `bytes_per_s` are the roof; `flop_per_s` achieved; `share`
    of min(peak, intensity x bandwidth); `of_peak`, of the peak alone; `bound_by`: what alone would take longest; of a
    compiled cell never the launches, as its operators are fused and what eager calls is not what it calls. The bytes
    are estimated, with every layer's output written and read once; where caches or fused layers spare some of that,
    `share` can exceed 1.
    """

    flops_per_byte: float
    peak_flop_per_s: float
    bytes_per_s: float
    flop_per_s: float
    share: float
    of_peak: float
    bound_by: Bound

    @property
    def impossible(self) -> bool:
        """Whether more was done than the machine can do, so that the time must be wrong."""
        return self.of_peak > ABOVE_PEAK


def roofline(case: Case, latency_s: float | None, cost: Cost | None, ceilings: Ceilings | None) -> Roofline | None:
    """Return where `case`, whose pass takes `latency_s`, stands under the roof (Williams et al. 2009).

    FLOPs are two a multiply-add, bytes are weights, activations twice and input; for a training step all of it and the
    calls three times. None where something is not known: the latency, a part of the cost, the ceiling of the
    precision; where nothing is multiplied; and for a training step that leaves frozen layers out.
    """
    if cost is None or ceilings is None or not latency_s or cost.macs <= 0 or (case.task == "train" and cost.frozen):
        return None

    peak, bandwidth = ceilings.peak(case.variant.precision), ceilings.bandwidth()
    if peak is None or bandwidth is None or ceilings.dispatch_s is None:
        return None

    passes = TRAINING if case.task == "train" else 1
    flops = passes * _FLOPS_PER_MAC * cost.macs * case.batch_size
    moved = passes * _bytes(case, cost)
    alone_s: dict[Bound, float] = {
        "compute": flops / peak,
        "memory": moved / bandwidth,
    }
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
    """Return the bytes that a forward pass over a batch moves; tensors of 16 bits are half as large."""
    an_image = _PASSES_OF_ACTIVATIONS * cost.activation_bytes + cost.input_bytes
    whole = cost.weight_bytes + case.batch_size * an_image
    return whole / 2 if case.variant.precision in _HALF else whole


def _one(record: Record, quantity: str) -> float | None:
    return next(iter(record.samples(quantity)), None)
