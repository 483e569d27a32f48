"""Pool before ReLU instead of after it: the same function and gradients, bit for bit, on fewer numbers."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from cnnbench.training.time_forecast import forward


def pool_first(model: nn.Module, images_NCHW: Tensor) -> int:  # noqa: N803 - a tensor's axes are part of its name
    """Move every max-pooling that follows a ReLU in an `nn.Sequential` of `model` before it; return their number.

    The order of cutting off at zero and taking the maximum does not change the result. In the backward pass, the
    gradient reaches the same number: the largest of each window (the first of equal ones), or none if all numbers of a
    window are cut off. The convolutions keep their names, so weights fit as before.

    The move would change a model that reads the value between the two layers, or uses only a part of a Sequential.
    All layers therefore stay in place if the scores of `images_NCHW` (a batch as the model needs it) change in any bit.
    """
    # Exact types only, because a subclass may compute something else.
    pairs = [
        (part, at)
        for part in model.modules()
        if type(part) is nn.Sequential
        for at in range(len(part) - 1)
        if type(part[at]) is nn.ReLU and _takes_maxima(part[at + 1])
    ]

    if not pairs:
        return 0

    # The structure does not show how a model uses its layers, so the scores decide.
    before = forward(model, images_NCHW)
    _swap(pairs)
    if torch.equal(before, forward(model, images_NCHW)):
        return len(pairs)

    _swap(pairs)  # the second swap restores the model
    return 0


def _takes_maxima(layer: nn.Module) -> bool:
    return type(layer) is nn.MaxPool2d and not layer.return_indices


def _swap(pairs: list[tuple[nn.Sequential, int]]) -> None:
    for part, at in pairs:
        part[at], part[at + 1] = part[at + 1], part[at]
