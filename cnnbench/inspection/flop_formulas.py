"""Formulas for operators that torch's counter does not know, and parameters that quantised modules hide."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import nn

Formula = Callable[..., int]

# Operators of torch.ao's quantised modules: their second argument holds the packed weight.
_QUANTISED = (
    *(f"{kind}{relu}" for kind in ("linear", "conv1d", "conv2d", "conv3d") for relu in ("", "_relu")),
    *("linear_dynamic", "linear_relu_dynamic"),
)


def flop_formulas() -> Mapping[Any, Formula]:
    """Return formulas for FlopCounterMode, two FLOPs a multiply-add; users add theirs with `register_flop_formula`."""
    found: dict[Any, Formula] = {
        torch.ops.aten.mv: lambda matrix, _vector, *_, **__: 2 * math.prod(matrix),
        torch.ops.aten.addmv: lambda _own, matrix, *_, **__: 2 * math.prod(matrix),
        torch.ops.aten.dot: lambda one, *_, **__: 2 * math.prod(one),
        torch.ops.aten._trilinear: _bilinear,  # noqa: SLF001 - how torch computes nn.Bilinear
    }
    for name in _QUANTISED:
        found[getattr(torch.ops.quantized, name)] = _quantised
    # The operator exists only where torchvision was imported.
    import torchvision

    del torchvision
    found[torch.ops.torchvision.deform_conv2d] = _deformable
    return found


def _bilinear(one: Any, weight: Any, _other: Any, *_: Any, **__: Any) -> int:  # noqa: ANN401, RUF100 - shapes
    """Return the FLOPs of y = x1 W x2, a multiply-add for each weight and each of the N rows of `one`, (N, in)."""
    return 2 * int(one[0]) * int(math.prod(weight))


def _deformable(_images: Any, weight: Any, *_: Any, out_shape: Any, **__: Any) -> int:  # noqa: ANN401, RUF100 - shapes
    """Return the FLOPs of a deformable convolution, without interpolating the input."""
    return 2 * int(math.prod(out_shape)) * int(math.prod(weight[1:]))


def _quantised(_images: Any, packed: Any, *_: Any, out_val: Any, **__: Any) -> int:  # noqa: ANN401, RUF100 - packed
    weight = packed.unpack()[0]
    return int(2 * out_val.numel() * weight.numel() // weight.shape[0])


_quantised._get_raw = True  # type: ignore[attr-defined]  # noqa: SLF001 - it needs the packed weight, not its shape


def packed_tensors(model: nn.Module) -> Iterator[torch.Tensor]:
    """Yield the weights and biases of quantised modules, which are not among their parameters."""
    from torch.ao.nn.quantized.modules.utils import WeightedQuantizedModule

    for module in model.modules():
        if isinstance(module, WeightedQuantizedModule):
            yield from (held for held in (module.weight(), module.bias()) if isinstance(held, torch.Tensor))  # type: ignore[operator]
