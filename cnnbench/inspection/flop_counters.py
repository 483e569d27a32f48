"""Count the multiply-adds of one forward pass by torch, fvcore and torchinfo, and say why the counts differ."""

from __future__ import annotations

import logging
import math
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from cnnbench.inspection.flop_formulas import flop_formulas
from cnnbench.inspection.layer_hooks import LayerHooks
from cnnbench.record import Layer

_PRODUCTS = frozenset({"conv", "linear", "addmm", "mm", "bmm", "matmul", "einsum"})  # fvcore's names for what we count
_NO_KERNEL = frozenset({"empty", "empty_like", "empty_strided", "detach", "_unsafe_view"})
_NO_ARITHMETIC = _NO_KERNEL | {"clone", "copy_", "_to_copy", "arange"}


@dataclass(frozen=True, kw_only=True, slots=True)
class TorchCount:
    """What FlopCounterMode counted, the operators that it has no formula for, the calls of modules, and the output.

    `foreign` are those of other libraries among these operators, which may do any amount of work.
    `operator_calls`: calls of ATen operators that start a kernel. Copies count; views and allocations do not.
    """

    macs: int
    operator_calls: int
    uncounted: Mapping[str, int]
    foreign: Mapping[str, int]
    watch: LayerHooks
    output: object


class _Operators(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Count all calls that start a kernel, and by name those outside `known`; copies count only among all.

    `foreign` are those of other libraries than ATen, which may do any amount of work.
    """

    def __init__(self, known: Mapping[Any, Any]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.known = known
        self.all = 0
        self.calls: Counter[str] = Counter()
        self.foreign: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Count the call and pass it on."""
        packet = func.overloadpacket
        name = packet.__name__
        if not func.is_view:
            # a comparison adds 0 or 1
            self.all += name not in _NO_KERNEL
            unknown = packet not in self.known and name not in _NO_ARITHMETIC
            self.calls[name] += unknown
            if unknown and func.namespace != "aten":
                self.foreign[f"{func.namespace}::{name}"] += 1
        return func(*args, **(kwargs or {}))


def count_torch(model: nn.Module, images: torch.Tensor) -> TorchCount:
    """Run `model` once on one image (1, C, H, W) and return what torch's own counter says.

    The pass runs under `no_grad`. Under `inference_mode`, composite operators would reach the counter whole and count
    as nothing. Attention's fast path is one operator without a formula, so it is off during the pass.
    """
    # FlopCounterMode counts a multiply-add as two FLOPs.
    flops = FlopCounterMode(display=False, custom_mapping=dict(flop_formulas()))
    watch = LayerHooks(macs_so_far=lambda: flops.get_total_flops() // 2)
    with (
        watch.attach(model),
        torch.no_grad(),
        _use_slow_attention(),
        flops,
        _Operators(flops.flop_registry) as operators,
    ):
        output = model(images)

    return TorchCount(
        macs=flops.get_total_flops() // 2,
        operator_calls=operators.all,
        # the plus drops names with no call
        uncounted=+operators.calls,
        foreign=operators.foreign,
        watch=watch,
        output=output,
    )


def count_fvcore(model: nn.Module, images: torch.Tensor, macs: int) -> tuple[int, str]:
    """Return fvcore's count and how it differs from `macs`; fvcore traces values, so `model` and `images` need them."""
    with _silence_counters(), torch.no_grad(), _use_slow_attention():
        from fvcore.nn import FlopCountAnalysis

        # Its own warnings are off: the note below says what differs.
        analysis = FlopCountAnalysis(model, images).unsupported_ops_warnings(enabled=False)
        analysis = analysis.uncalled_modules_warnings(enabled=False).tracer_warnings("none")
        operators = {name: round(count) for name, count in analysis.by_operator().items()}
        skipped = analysis.unsupported_ops()

    # The difference has two parts: the products, which torch counts too, and other operators, such as normalisation.
    total = sum(operators.values())
    products = sum(count for name, count in operators.items() if name in _PRODUCTS) - macs
    parts = [f"{name} {count:+,}" for name, count in sorted(operators.items()) if name not in _PRODUCTS and count]
    if products:
        # fvcore has no formula for attention, so its products are missing from the count.
        attention = sum(calls for name, calls in skipped.items() if "attention" in name)
        why = f" (attention in {attention} calls is not counted)" if attention else ""
        parts.append(f"convolutions and matrix products {products:+,}{why}")
    return total, _difference("fvcore", total - macs, parts)


@dataclass(frozen=True, kw_only=True, slots=True)
class TorchinfoCount:
    """What torchinfo says of a model: multiply-adds, and the bytes of the input, of all outputs and of parameters."""

    macs: int
    input_bytes: int
    output_bytes: int
    param_bytes: int


def count_torchinfo(model: nn.Module, images: torch.Tensor, layers: tuple[Layer, ...]) -> tuple[TorchinfoCount, str]:
    """Return torchinfo's counts, and how its multiply-adds differ from those of `layers`, type by type."""
    with _silence_counters(), _use_slow_attention():
        import torchinfo
        from torchinfo.torchinfo import clear_cached_forward_pass

        try:
            summary = torchinfo.summary(model, input_data=images, verbose=0, mode="eval", device=images.device)
        finally:
            clear_cached_forward_pass()  # it would keep the model alive

    # Sum both tables by the type of module, because the two name layers differently.
    theirs: Counter[str] = Counter()
    for layer in summary.summary_list:
        if layer.is_leaf_layer:
            theirs[layer.class_name] += layer.macs
    ours: Counter[str] = Counter()
    for row in layers:
        ours[row.kind] += row.macs

    count = TorchinfoCount(
        macs=int(summary.total_mult_adds),
        input_bytes=int(summary.total_input),
        output_bytes=int(summary.total_output_bytes),
        param_bytes=int(summary.total_param_bytes),
    )
    # A Counter gives 0 for a type that only the other table has.
    biases: Counter[str] = Counter()
    modules = dict(model.named_modules())
    for row in layers:
        if isinstance(getattr(modules.get(row.name), "bias", None), torch.Tensor):
            biases[row.kind] += math.prod(row.output_shape)
    differences = {kind: theirs[kind] - ours[kind] for kind in sorted(theirs | ours) if theirs[kind] != ours[kind]}
    parts = [f"{kind} {by:+,} ({_reason_text(by, theirs[kind], biases[kind])})" for kind, by in differences.items()]
    return count, _difference("torchinfo", count.macs - sum(ours.values()), parts)


def _reason_text(by: int, theirs: int, biases: int) -> str:
    """Return why torchinfo counts `by` more multiply-adds than torch in modules of one type.

    `biases` are the additions of these modules' biases, one for each value of their outputs.
    """
    if by < 0:
        return "counted once, not at each position" if theirs else "not counted: its operations are not leaf modules"
    if by == biases:
        return "biases"
    return "one for each weight and bias" if by == theirs else f"{biases:,} of them biases"


def _difference(counter: str, by: int, parts: list[str]) -> str:
    if not parts:
        return f"{counter} counts the same as torch."
    amount = f"{abs(by):,} {'more' if by > 0 else 'fewer'}"
    if by == 0:
        amount = "the same in all"
    return f"{counter} counts {amount}: {', '.join(parts)}."


@contextmanager
def _use_slow_attention() -> Iterator[None]:
    """Compute attention by matrix products: fused forms hide them (for example on the CPU from torch 2.11 on)."""
    was = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(was)


@contextmanager
def _silence_counters() -> Iterator[None]:
    """Silence the warnings and the logging of counters, which report what the notes already say."""
    level = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)
