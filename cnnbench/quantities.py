"""Table of quantities: the unit of each, which direction is better, and how its value is shown."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal, TypeVar

K = TypeVar("K")

Shown = Literal["seconds", "bytes", "count", "rate", "share", "ratio", "number", "per_second", "bytes_per_s"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Quantity:
    """A quantity: its name in records and CSV, SI unit, the better direction, how it is shown, and what it means."""

    name: str
    unit: str
    better: Literal["lower", "higher", ""]
    shown: Shown
    meaning: str


def _q(name: str, unit: str, better: Literal["lower", "higher", ""], shown: Shown, meaning: str) -> Quantity:
    return Quantity(name=name, unit=unit, better=better, shown=shown, meaning=meaning)


_ALL = (
    _q("params", "1", "lower", "count", "weights and biases, counted once where shared"),
    _q("trainable_params", "1", "", "count", "parameters that get a gradient"),
    _q("macs", "1", "lower", "count", "multiply-adds of convolutions, linear layers and attention at batch 1 (torch)"),
    _q("macs_fvcore", "1", "lower", "count", "multiply-adds as fvcore counts them (adds normalisation and pooling)"),
    _q("macs_torchinfo", "1", "lower", "count", "multiply-adds as torchinfo counts them (adds biases, leaf modules)"),
    _q("torchinfo_input_bytes", "B", "", "bytes", "one image, as torchinfo counts"),
    _q("torchinfo_output_bytes", "B", "", "bytes", "outputs of all layers forward and backward, as torchinfo counts"),
    _q("torchinfo_param_bytes", "B", "", "bytes", "parameters, as torchinfo counts"),
    _q("classes", "1", "", "count", "width of the model's output"),
    _q("weight_bytes", "B", "lower", "bytes", "parameters and buffers as stored"),
    _q("activation_bytes", "B", "lower", "bytes", "outputs of all leaf modules at batch 1"),
    _q("latency_s", "s", "lower", "seconds", "one pass over a batch: median of the iterations of one sample"),
    _q("lower_decile_s", "s", "lower", "seconds", "lower decile of the iterations of one sample, from 9 of them on"),
    _q("lower_quartile_s", "s", "lower", "seconds", "lower quartile of the iterations of one sample, from 3 on"),
    _q("iteration_s", "s", "lower", "seconds", "single passes, evenly picked from each sample, for percentiles"),
    _q("sample_s", "s", "lower", "seconds", "all iterations of a sample together, stalls included"),
    _q("throughput_img_per_s", "1/s", "higher", "rate", "images of all samples over the time of all, stalls included"),
    _q("forward_s", "s", "lower", "seconds", "forward pass and loss of a training step"),
    _q("backward_s", "s", "lower", "seconds", "backward pass of a training step"),
    _q("optimizer_s", "s", "lower", "seconds", "optimiser step and clearing of gradients of a training step"),
    _q("compile_s", "s", "lower", "seconds", "first call of a compiled variant, cold caches, never part of a sample"),
    _q("first_call_s", "s", "lower", "seconds", "first call of a variant that is not compiled"),
    _q("warmup_s", "s", "", "seconds", "passes before the first sample, first call left out"),
    _q("passes_s", "s", "", "seconds", "time inside warm-up and timed passes"),
    _q("top1", "1", "higher", "share", "test images whose class got the highest score"),
    _q("correct", "1", "higher", "count", "test images classified correctly"),
    _q("tested", "1", "", "count", "test images"),
    _q("trained", "1", "", "count", "training images"),
    _q("top5_correct", "1", "higher", "count", "test images whose class is among the five highest scores"),
    _q("calibration_error", "1", "lower", "share", "mean distance between confidence and share of correct predictions"),
    _q("predicted", "1", "", "count", "class given to each test image, in order"),
    _q("top_class", "1", "", "count", "classes with the highest scores, image after image, best first"),
    _q("top_share", "1", "", "share", "the model's confidence in them (softmax)"),
    _q("shift_correct", "1", "higher", "count", "correct on moved images: right, left, down, up by 1, 2 ... pixels"),
    _q("class_correct", "1", "higher", "count", "test images classified correctly, by class"),
    _q("class_total", "1", "", "count", "test images by class"),
    _q("confusion", "1", "", "count", "test images by class and then by predicted class, row by row"),
    _q("train_loss", "1", "lower", "number", "mean loss of the training images by epoch"),
    _q("train_top1", "1", "higher", "share", "training images classified correctly as they were trained on, by epoch"),
    _q("val_loss", "1", "lower", "number", "mean loss of the validation images by epoch"),
    _q("train_img_per_s", "1/s", "higher", "rate", "training images over the time of steps and data path, by epoch"),
    _q("data_share", "1", "lower", "share", "share of an epoch that the data path took, as the host sees it"),
    _q("learning_rate", "1", "", "number", "rate of the last step of each epoch"),
    _q("val_top1", "1", "higher", "share", "share of validation images classified correctly by epoch"),
    _q("epoch_s", "s", "lower", "seconds", "training steps and data path of an epoch, without validation"),
    _q("features_s", "s", "lower", "seconds", "computing the outputs of the frozen layers once for all images"),
    _q("step_step", "1", "", "count", "steps of the training before each record within epochs"),
    _q("step_train_loss", "1", "lower", "number", "mean loss of the training images since the record before"),
    _q("step_train_top1", "1", "higher", "share", "training images classified correctly since the record before"),
    _q("step_val_loss", "1", "lower", "number", "mean loss of the validation images after the step"),
    _q("step_val_top1", "1", "higher", "share", "validation images classified correctly after the step"),
    _q("step_kernels", "1", "", "number", "weights of the first convolution's first kernels after each such step"),
    _q("kernel_shape", "1", "", "count", "number of these kernels, and their inputs, height and width"),
    _q(
        "speedup",
        "1",
        "higher",
        "ratio",
        "time of the reference over time of this cell, by block, lower deciles",
    ),
    _q("peak_memory_bytes", "B", "lower", "bytes", "highest memory of a separate worker, above what it had before"),
    _q("reserved_memory_bytes", "B", "lower", "bytes", "most memory that CUDA's caching allocator reserved"),
    _q("device_s", "s", "lower", "seconds", "time of the CUDA device for one pass, without waiting for the host"),
    _q("cpu_share", "1", "", "share", "CPU time over wall time times threads during a sample"),
    _q("steal_share", "1", "lower", "share", "CPU time that the hypervisor gave to others, of all cores, in a sample"),
    _q("reading_s", "s", "", "seconds", "time of an empty timed region; never subtracted"),
    _q("pressure_share", "1", "lower", "share", "share of time in which some process waited for a core"),
    _q("load", "1", "lower", "number", "load average of the last minute"),
    _q("clock_cycles_per_s", "1/s", "", "per_second", "mean clock of the cores"),
    _q("compile_warm_s", "s", "lower", "seconds", "first call of a compiled variant in a new process, warm caches"),
    _q("graphs", "1", "", "count", "graphs that torch.compile made"),
    _q("graph_breaks", "1", "lower", "count", "places where torch.compile had to leave its graph"),
    _q("recompiles", "1", "lower", "count", "compilations after the first"),
    _q("break_even_calls", "1", "lower", "count", "passes after which compiling has paid for itself"),
    _q("max_relative_error", "1", "lower", "number", "largest relative error of the scores against fp64"),
    _q("numerics_allowed", "1", "", "number", "largest relative error that the variant may have"),
    _q("top1_agreed", "1", "higher", "count", "real images whose top class is that of fp64"),
    _q("top1_compared", "1", "", "count", "real images that were compared with fp64"),
    _q("layer_s", "s", "lower", "seconds", "a layer's own time within a pass: median by layer, in the order of calls"),
    _q("layered_pass_s", "s", "lower", "seconds", "passes with a clock in every layer"),
    _q("operator_calls", "1", "lower", "count", "operators called in one pass"),
    _q(
        "fp32_flop_per_s",
        "1/s",
        "higher",
        "per_second",
        "FLOP/s of the best fp32 matrix product",
    ),
    _q("tf32_flop_per_s", "1/s", "higher", "per_second", "FLOP/s of the best TF32 matrix product"),
    _q("bf16_flop_per_s", "1/s", "higher", "per_second", "FLOP/s of the best bf16 matrix product"),
    _q("fp16_flop_per_s", "1/s", "higher", "per_second", "FLOP/s of the best fp16 matrix product"),
    _q("conv_flop_per_s", "1/s", "higher", "per_second", "FLOP/s of a 3x3 convolution in fp32"),
    _q("copy_bytes_per_s", "B/s", "higher", "bytes_per_s", "bytes read and written in a second by a copy"),
    _q("triad_bytes_per_s", "B/s", "higher", "bytes_per_s", "bytes read and written in a second by a = b + s c"),
    _q("dispatch_s", "s", "lower", "seconds", "one operator on a tensor of one number: what a call costs at least"),
)

# Every quantity by name, read-only.
QUANTITIES = MappingProxyType({q.name: q for q in _ALL})

# Times of a sample by which cells are compared: the first that both cells have. Disturbances on a shared machine come
# and go within milliseconds and only make passes longer, so the fastest passes of a sample are the least disturbed
# (Chen and Revels 2016, Robust benchmarking in noisy environments). The very fastest pass is not used, because it gets
# faster with the number of passes. For LeNet against itself (two shared cores, two threads), one pair of samples
# scattered by 2.0 to 3.4 % by medians, and by 1.0 to 2.4 % by lower deciles.
COMPARED = ("lower_decile_s", "lower_quartile_s", "latency_s")


def compared_times(
    base: Callable[[str], Mapping[K, float]], own: Callable[[str], Mapping[K, float]]
) -> tuple[Mapping[K, float], Mapping[K, float]]:
    """Return the times by which two cells are compared, by block; `base` and `own` return a quantity's samples.

    Both results are of the same quantity: the first of `COMPARED` that covers all blocks in which both cells have a
    latency. A sample of one long pass has no lower decile, and its time must not be compared with that of a shorter
    pass.
    """
    wanted = base("latency_s").keys() & own("latency_s").keys()
    pairs = ((base(name), own(name)) for name in COMPARED)
    return next(pair for pair in pairs if pair[0].keys() & pair[1].keys() == wanted)


# Quantities that are recorded for every epoch of a training.
BY_EPOCH = (
    *("train_loss", "train_top1", "val_loss", "val_top1"),
    *("epoch_s", "train_img_per_s", "data_share", "learning_rate"),
)

# Quantities that are recorded within epochs; their names begin with `step_`.
BY_STEP = ("step", "train_loss", "train_top1", "val_loss", "val_top1")

# Directions in which images are moved, in the order of `shift_correct`.
DIRECTIONS = ("right", "left", "down", "up")

# Shown in place of a value that was not measured.
DASH = "-"

_WHOLE_FROM = 100.0
_SECOND_STEPS = ((1.0, 1.0, "s"), (1e-3, 1e3, "ms"), (0.0, 1e6, "us"))
_COUNT_STEPS = ((1e9, 1e-9, " G"), (1e6, 1e-6, " M"), (1e4, 1e-3, " k"))
_RATE_UNITS = {"per_second": "/s", "bytes_per_s": "B/s"}
_RATE_STEPS = ((1e12, 1e-12, "T"), (1e9, 1e-9, "G"), (1e6, 1e-6, "M"))
_BYTE_STEPS = ((2.0**30, 2.0**-30, "GiB"), (2.0**20, 2.0**-20, "MiB"), (2.0**10, 2.0**-10, "KiB"))


def show(value: float | None, shown: Shown) -> str:
    """Return `value` (SI unit) as text: three significant digits and a scaled unit, or a dash for None."""
    if value is None or not math.isfinite(value):
        return DASH

    # The last step of seconds begins at zero, so one always fits; small bytes and counts are written in full.
    if shown == "seconds":
        scale, unit = next((s, u) for low, s, u in _SECOND_STEPS if abs(value) >= low)
        return f"{digits3(value * scale)} {unit}"
    if shown == "bytes":
        return next((f"{digits3(value * s)} {u}" for low, s, u in _BYTE_STEPS if abs(value) >= low), f"{value:.0f} B")
    if shown == "count":
        return next((f"{digits3(value * s)}{u}" for low, s, u in _COUNT_STEPS if abs(value) >= low), f"{value:,.0f}")

    if shown in _RATE_UNITS:
        return _rate(value, _RATE_UNITS[shown])
    if shown == "share":
        return f"{100 * value:.1f} %"
    if shown == "rate":
        return f"{value:,.0f}" if value >= _WHOLE_FROM else digits3(value)

    return f"{value:.3f}x" if shown == "ratio" else f"{value:.4g}"


def _rate(value: float, unit: str) -> str:
    return next((f"{digits3(value * s)} {p}{unit}" for low, s, p in _RATE_STEPS if value >= low), f"{value:g} {unit}")


def show_range(center: float | None, low: float | None, high: float | None, shown: Shown) -> str:
    """Return `center` as `show` does and its interval in the same unit and decimals: "12.3 ms (12.1-12.6)"."""
    text = show(center, shown)
    if center is None or low is None or high is None or not all(map(math.isfinite, (center, low, high))):
        return text

    # The center sets the unit and the decimals of all three numbers, so that they can be compared at a glance.
    if shown == "seconds":
        factor = next(scale for least, scale, _ in _SECOND_STEPS if abs(center) >= least)
        decimals = _decimals3(center * factor)
    elif shown in {"share", "ratio"}:
        factor, decimals = (100.0, 1) if shown == "share" else (1.0, 3)
    else:
        # Other kinds carry their unit in each number.
        return f"{text} ({show(low, shown)}-{show(high, shown)})"
    return f"{text} ({low * factor:.{decimals}f}-{high * factor:.{decimals}f})"


def digits3(value: float) -> str:
    """Return `value` with three significant digits and no exponent: 0.0123, 1.23, 12.3, 123, 1234."""
    return "0" if value == 0 else f"{value:.{_decimals3(value)}f}"


def _decimals3(value: float) -> int:
    exponent = int(f"{value:.2e}".partition("e")[2])  # after rounding: 9.999 is shown as 10.0
    return max(0, 2 - exponent) if value else 0
