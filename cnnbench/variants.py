"""Table of variants: what a name such as `channels_last+amp` means, and how a model is put under it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal

from cnnbench.spec import Device, UsageError, Variant, unknown_name

if TYPE_CHECKING:
    import torch
    from torch import nn

    from cnnbench.record import Environment

# The variant that every group measures: speed-ups are relative to it unless another reference is asked for.
REFERENCE = "eager"


@dataclass(frozen=True, kw_only=True, slots=True)
class VariantRow:
    """One row of the table; `sets` is the field of `Variant` that it changes, which no other row of a sum may set."""

    name: str
    sets: str
    change: Callable[[Variant, Device], Variant]
    devices: tuple[Device, ...] = ("cpu", "cuda")
    meaning: str


def _amp(variant: Variant, device: Device) -> Variant:
    return replace(variant, precision="amp_fp16" if device == "cuda" else "amp_bf16")


_ROWS = (
    VariantRow(name=REFERENCE, sets="", change=lambda v, _: v, meaning="fp32, as the model is written; the reference"),
    VariantRow(
        name="channels_last",
        sets="channels_last",
        change=lambda v, _: replace(v, channels_last=True),
        meaning="weights and input with the channels innermost (NHWC)",
    ),
    VariantRow(name="amp", sets="precision", change=_amp, meaning="autocast: bf16 on CPU, fp16 on CUDA"),
    VariantRow(
        name="bf16",
        sets="precision",
        change=lambda v, _: replace(v, precision="bf16"),
        meaning="weights and input cast to bf16 beforehand",
    ),
    VariantRow(
        name="compile",
        sets="compile_mode",
        change=lambda v, _: replace(v, compile_mode="default"),
        meaning="torch.compile, default mode",
    ),
    VariantRow(
        name="compile_reduce_overhead",
        sets="compile_mode",
        change=lambda v, _: replace(v, compile_mode="reduce-overhead"),
        devices=("cuda",),
        meaning="torch.compile with CUDA graphs",
    ),
    VariantRow(
        name="compile_max_autotune",
        sets="compile_mode",
        change=lambda v, _: replace(v, compile_mode="max-autotune"),
        meaning="torch.compile that tries many kernels; compiling takes minutes",
    ),
    VariantRow(
        name="tf32",
        sets="precision",
        change=lambda v, _: replace(v, precision="tf32"),
        devices=("cuda",),
        meaning="fp32 products rounded to TF32 in the tensor cores",
    ),
    VariantRow(
        name="cudnn_benchmark",
        sets="cudnn_benchmark",
        change=lambda v, _: replace(v, cudnn_benchmark=True),
        devices=("cuda",),
        meaning="cuDNN times its algorithms in the first call and keeps the fastest",
    ),
    VariantRow(
        name="default_malloc",
        sets="default_malloc",
        change=lambda v, _: replace(v, default_malloc=True),
        devices=("cpu",),
        meaning="passes return freed memory to the system, as glibc does by default; other variants keep it",
    ),
)

# Every single variant by name, read-only, in the order in which the parts of a sum are written.
VARIANTS = MappingProxyType({row.name: row for row in _ROWS})


def parse_variant(text: str, *, device: Device, threads: int) -> Variant:
    """Return the variant that `text` asks for on `device`: a name or a sum such as `channels_last+compile`.

    Raises:
        UsageError: a part is unknown, or two parts set the same condition.
    """
    parts = [part.strip() for part in text.split("+")]
    for part in parts:
        if part not in VARIANTS:
            raise unknown_name("variant", part, VARIANTS, "Variants can be combined: channels_last+compile.")

    # The order of the table, not of `text`, so that equal sums have equal names.
    chosen = [row for row in _ROWS if row.name in parts and row.name != REFERENCE]

    # Parts that set the same field exclude each other, such as amp and bf16.
    for field in dict.fromkeys(row.sets for row in chosen):
        rivals = [row.name for row in chosen if row.sets == field]
        if len(rivals) > 1:
            raise UsageError(f"Variant '{text}': {' and '.join(rivals)} set the same {field}. Use one of them.")

    variant = Variant(name="+".join(row.name for row in chosen) or REFERENCE, threads=threads)
    for row in chosen:
        variant = row.change(variant, device)

    return variant


@dataclass(frozen=True, kw_only=True, slots=True)
class Support:
    """How a machine supports a variant: natively, emulated (correct but slow), or not at all; `reason` says why."""

    status: Literal["native", "emulated", "unsupported"]
    reason: str = ""


NATIVE = Support(status="native")


def support(variant: Variant, *, device: Device, environment: Environment) -> Support:
    """Return how the machine of `environment` supports `variant` on `device`."""
    if device == "cuda" and environment.gpu is None:
        return Support(
            status="unsupported", reason="torch sees no CUDA device here; 'cnnbench doctor' shows what it sees"
        )

    # A sum needs all its parts, so the first one that the device lacks decides.
    for name in variant.name.split("+"):
        if device not in VARIANTS[name].devices:
            needed = "a CUDA device" if device == "cpu" else "the CPU"
            return Support(status="unsupported", reason=f"{name} needs {needed}, but the device is {device}")

    if variant.default_malloc and not environment.system.startswith("Linux"):
        return Support(status="unsupported", reason="memory is kept only with glibc on Linux, so nothing differs here")
    if variant.compile_mode and environment.compile_blocker:
        return Support(status="unsupported", reason=environment.compile_blocker)

    # Emulated bf16 gives correct results; it is measured, and its record says why it is slow.
    has_bf16 = environment.gpu_native_bf16 if device == "cuda" else environment.native_bf16
    if variant.precision in ("amp_bf16", "bf16") and not has_bf16:
        where = environment.gpu if device == "cuda" else environment.cpu
        return Support(status="emulated", reason=f"{where} has no bf16 instructions, so bf16 is emulated")

    return NATIVE


def extend_variant(
    asked: Variant, *, channels_last: bool, amp: bool, device: Device, environment: Environment
) -> Variant:
    """Return `asked` with the additions of a recipe; autocast is added only if the device supports it natively."""
    layout = ("channels_last",) if channels_last and not asked.channels_last else ()
    autocast = ("amp",) if amp and asked.precision == "fp32" else ()
    more = parse_variant("+".join((asked.name, *layout, *autocast)), device=device, threads=asked.threads)
    if autocast and support(more, device=device, environment=environment) != NATIVE:
        return parse_variant("+".join((asked.name, *layout)), device=device, threads=asked.threads)
    return more


def native_variants(*, device: Device, threads: int, environment: Environment) -> tuple[str, ...]:
    """Return the names of all single variants that the machine supports natively, which is what `all` stands for."""
    asked = ((row.name, parse_variant(row.name, device=device, threads=threads)) for row in _ROWS)
    return tuple(n for n, v in asked if support(v, device=device, environment=environment) == NATIVE)


@dataclass(frozen=True, kw_only=True, slots=True)
class Prepared:
    """A model under a `variant`: what to call, how to place an input, and the context to call it in.

    Enter `context` once, outside every loop, because autocast drops its casts of the weights whenever it is left.
    """

    variant: Variant
    call: Callable[[torch.Tensor], object]
    model: nn.Module
    place: Callable[[torch.Tensor], torch.Tensor]
    context: Callable[[], AbstractContextManager[object]]


def prepare(model: nn.Module, variant: Variant, device: Device) -> Prepared:
    """Return `model` moved to `device` and put under `variant`; set the process-wide flags that the variant names."""
    import torch

    _set_flags(variant, device)

    # bf16 casts weights and inputs once, here; autocast keeps them in fp32 and casts within each pass.
    dtype = torch.bfloat16 if variant.precision == "bf16" else torch.float32
    layout = torch.channels_last if variant.channels_last else torch.preserve_format
    model = cast_real(model.to(device=device), dtype)
    if variant.channels_last:
        model = model.to(memory_format=torch.channels_last)

    # This only wraps the model: compiling happens in the first call, which is timed as such.
    call = torch.compile(model, mode=variant.compile_mode) if variant.compile_mode else model

    def place(images: torch.Tensor) -> torch.Tensor:
        # Only images (N, C, H, W) have a memory format; features of a frozen part have fewer dimensions.
        images = images.to(device=device, dtype=dtype)
        return images.to(memory_format=layout) if images.dim() == _NCHW else images

    return Prepared(variant=variant, call=call, model=model, place=place, context=_autocast(variant, device))


def cast_real(model: nn.Module, dtype: torch.dtype) -> nn.Module:
    """Cast the real weights and buffers of `model`; complex ones would lose their imaginary parts."""
    if not any(t.is_complex() for t in (*model.parameters(), *model.buffers())):
        return model.to(dtype=dtype)
    cast: nn.Module = model._apply(  # type: ignore[no-untyped-call]  # noqa: SLF001 - as `to` does
        lambda t: t.to(dtype=dtype) if t.is_floating_point() else t
    )
    return cast


_NCHW = 4


def _set_flags(variant: Variant, device: Device) -> None:
    import torch

    if device == "cuda":
        torch.set_float32_matmul_precision("high" if variant.precision == "tf32" else "highest")
        torch.backends.cudnn.allow_tf32 = variant.precision == "tf32"
        torch.backends.cudnn.benchmark = variant.cudnn_benchmark


def _autocast(variant: Variant, device: Device) -> Callable[[], AbstractContextManager[object]]:
    import torch

    if variant.precision == "amp_bf16":
        return lambda: torch.autocast(device, dtype=torch.bfloat16)
    if variant.precision == "amp_fp16":
        return lambda: torch.autocast(device, dtype=torch.float16)
    return nullcontext


def split_variants(texts: Sequence[str]) -> tuple[str, ...]:
    """Return the variants asked for, each once, `eager` first; `all` is kept, because it depends on the machine."""
    names = [REFERENCE, *(t.strip() for text in texts for t in text.split(",") if t.strip())]
    return tuple(dict.fromkeys(names))
