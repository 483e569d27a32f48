"""Pool before ReLU instead of after it: the same function and the same gradients, bit for bit, on fewer numbers."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from cnnbench.training.time_limit import forward


def pool_first(model: nn.Module, images_NCHW: Tensor) -> int:  # noqa: N803 - a tensor's axes are part of its name
    """Let every max-pooling that follows a ReLU in an `nn.Sequential` of `model` come before it; return how many.

    A maximum of numbers none of which is below zero is that of the numbers cut off at zero after it was taken. Backward
    the gradient reaches the same number: the largest of each window (the first of equal ones), or none where all of a
    window are cut off. The convolutions keep their names, so weights fit as before.

    Models that look at what is between the two, or take only a part of a Sequential, would be changed by that: all
    stays as it is where the scores of `images_NCHW` (a batch as the model wants it) are not the same bits afterwards.
    """
    pairs = [
        (part, at)
        for part in model.modules()
        if type(part) is nn.Sequential
        for at in range(len(part) - 1)
        if type(part[at]) is nn.ReLU and _takes_maxima(part[at + 1])
    ]

    if not pairs:
        return 0

    before = forward(model, images_NCHW)
    _swap(pairs)
    if torch.equal(before, forward(model, images_NCHW)):
        return len(pairs)

    _swap(pairs)
    return 0


def _takes_maxima(layer: nn.Module) -> bool:
    return type(layer) is nn.MaxPool2d and not layer.return_indices


def _swap(pairs: list[tuple[nn.Sequential, int]]) -> None:
    for part, at in pairs:
        part[at], part[at + 1] = part[at + 1], part[at]
