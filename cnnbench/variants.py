"""The table of variants: what `channels_last+amp` stands for, and how a model is put under it."""

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

# The variant that every group measures, because speed-ups are against it unless something else is asked.
REFERENCE = "eager"


@dataclass(frozen=True, kw_only=True, slots=True)
class VariantRow:
    """One row of the table: `sets` names the field of `Variant` that it changes; two rows of a sum may not share it."""

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
        meaning="passes give freed memory back to the system, as glibc does unless told; elsewhere it is kept",
    ),
)

# Every single variant by name, read-only, in the order in which the parts of a sum are written.
VARIANTS = MappingProxyType({row.name: row for row in _ROWS})


def parse_variant(text: str, *, device: Device, threads: int) -> Variant:
    """Return the variant that `text` asks for on `device`: a name or a sum such as `channels_last+compile`.

    Raises:
        UsageError: an unknown part, or two parts that set the same condition.
    """
    parts = [part.strip() for part in text.split("+")]
    for part in parts:
        if part not in VARIANTS:
            raise unknown_name("variant", part, VARIANTS, "Variants can be added up: channels_last+compile.")

    chosen = [row for row in _ROWS if row.name in parts and row.name != REFERENCE]
    for field in dict.fromkeys(row.sets for row in chosen):
        rivals = [row.name for row in chosen if row.sets == field]
        if len(rivals) > 1:
            raise UsageError(f"Variant '{text}': {' and '.join(rivals)} set the same, {field}. Take one of them.")

    variant = Variant(name="+".join(row.name for row in chosen) or REFERENCE, threads=threads)
    for row in chosen:
        variant = row.change(variant, device)

    return variant


@dataclass(frozen=True, kw_only=True, slots=True)
class Support:
    """Whether a machine does a variant: natively, emulated (right but slow), or not at all, and why not."""

    status: Literal["native", "emulated", "unsupported"]
    reason: str = ""


NATIVE = Support(status="native")


def support(variant: Variant, *, device: Device, environment: Environment) -> Support:
    """Return how the machine of `environment` does `variant` on `device`."""
    if device == "cuda" and environment.gpu is None:
        return Support(
            status="unsupported", reason="torch sees no CUDA device here; 'cnnbench doctor' shows what it sees"
        )

    for name in variant.name.split("+"):
        if device not in VARIANTS[name].devices:
            needed = "a CUDA device" if device == "cpu" else "the CPU"
            return Support(status="unsupported", reason=f"{name} needs {needed}, asked for on {device}")

    if variant.default_malloc and not environment.system.startswith("Linux"):
        return Support(status="unsupported", reason="only glibc, on Linux, is told to keep memory, so nothing differs")
    if variant.compile_mode and environment.compile_blocker:
        return Support(status="unsupported", reason=environment.compile_blocker)

    has_bf16 = environment.gpu_native_bf16 if device == "cuda" else environment.native_bf16
    if variant.precision in ("amp_bf16", "bf16") and not has_bf16:
        where = environment.gpu if device == "cuda" else environment.cpu
        return Support(status="emulated", reason=f"{where} has no bf16 instructions, so bf16 is emulated")

    return NATIVE


def with_more(asked: Variant, *, channels_last: bool, amp: bool, device: Device, environment: Environment) -> Variant:
    """Return `asked` with what a recipe adds to it; autocast only where the device does it itself."""
    layout = ("channels_last",) if channels_last and not asked.channels_last else ()
    autocast = ("amp",) if amp and asked.precision == "fp32" else ()
    more = parse_variant("+".join((asked.name, *layout, *autocast)), device=device, threads=asked.threads)
    if autocast and support(more, device=device, environment=environment) != NATIVE:
        return parse_variant("+".join((asked.name, *layout)), device=device, threads=asked.threads)
    return more


def native_variants(*, device: Device, threads: int, environment: Environment) -> tuple[str, ...]:
    """Return the names of all single variants that the machine does natively: what `all` stands for."""
    asked = ((row.name, parse_variant(row.name, device=device, threads=threads)) for row in _ROWS)
    return tuple(n for n, v in asked if support(v, device=device, environment=environment) == NATIVE)


@dataclass(frozen=True, kw_only=True, slots=True)
class Prepared:
    """A model under a `variant`: what to call, how an input is laid out, and the context to be inside of.

    `context` is entered once, outside every loop: autocast forgets its casts of the weights whenever it is left.
    """

    variant: Variant
    call: Callable[[torch.Tensor], object]
    model: nn.Module
    place: Callable[[torch.Tensor], torch.Tensor]
    context: Callable[[], AbstractContextManager[object]]


def prepare(model: nn.Module, variant: Variant, device: Device) -> Prepared:
    """Return `model` moved to `device` and put under `variant`; sets the process-wide flags that the variant names."""
    import torch

    _set_flags(variant, device)
    dtype = torch.bfloat16 if variant.precision == "bf16" else torch.float32
    layout = torch.channels_last if variant.channels_last else torch.preserve_format
    model = model.to(device=device, dtype=dtype)
    if variant.channels_last:
        model = model.to(memory_format=torch.channels_last)
    call = torch.compile(model, mode=variant.compile_mode) if variant.compile_mode else model

    def place(images: torch.Tensor) -> torch.Tensor:
        images = images.to(device=device, dtype=dtype)
        return images.to(memory_format=layout) if images.dim() == _NCHW else images

    return Prepared(variant=variant, call=call, model=model, place=place, context=_autocast(variant, device))


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
    """Return the variants asked for with `eager` first, each once; `all` stays for the machine to say what it is."""
    names = [REFERENCE, *(t.strip() for text in texts for t in text.split(",") if t.strip())]
    return tuple(dict.fromkeys(names))
