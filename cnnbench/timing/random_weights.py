"""Random weights in a fraction of the time: one block of numbers is drawn and repeated, where only time is measured."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

# Numbers that are drawn and then repeated: 1 MB in fp32. A smaller tensor is drawn as always.
BLOCK = 1 << 18


@contextmanager
def quick_weights() -> Iterator[None]:
    """Fill large tensors on the CPU with repetitions of one block, wherever `normal_` or `uniform_` would draw numbers.

    All initialisers of `torch.nn.init` that draw come down to these two; what `torch.randn` and the like make is drawn
    as always. Mean, spread and bounds are the same, and the time of a pass does not depend on which finite numbers it
    multiplies; drawing the 138 million of VGG16 takes over a second in each worker. The seed decides about the numbers
    as it always does. Not for models that are trained.

    The two methods of all tensors are other ones meanwhile; a `TorchDispatchMode` would go through Python in every
    operation of building. Processor time of building VGG16: 0.55 s for 2.2 s, ResNet-18: 0.11 s for 0.16 s, and of what
    has few large tensors the same.
    """
    import torch

    usual = {name: getattr(torch.Tensor, name) for name in ("normal_", "uniform_")}
    for name, draw in usual.items():
        setattr(torch.Tensor, name, _repeating(draw))
    try:
        yield
    finally:
        for name, draw in usual.items():
            setattr(torch.Tensor, name, draw)


def _repeating(draw: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Return the method of tensors that does as `draw`, and for large ones does so once a block."""

    def fill(tensor: Tensor, *args: Any, **kwargs: Any) -> Tensor:  # whatever `draw` takes
        if tensor.device.type != "cpu" or not tensor.is_contiguous() or tensor.numel() <= BLOCK:
            return draw(tensor, *args, **kwargs)

        block = draw(tensor.new_empty(BLOCK), *args, **kwargs)
        flat = tensor.view(-1)
        whole = flat.numel() // BLOCK * BLOCK
        flat[:whole].view(-1, BLOCK).copy_(block)
        flat[whole:].copy_(block[: flat.numel() - whole])
        return tensor

    return fill
