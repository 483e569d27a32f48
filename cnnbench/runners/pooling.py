"""Pool before ReLU instead of after it: the same function and the same gradients, bit for bit, on fewer numbers."""

from __future__ import annotations

from torch import nn


def pool_first(model: nn.Module) -> int:
    """Let every max-pooling that follows a ReLU in an `nn.Sequential` of `model` come before it; return how many.

    A maximum of numbers none of which is below zero is that of the numbers cut off at zero after it was taken. Backward
    the gradient reaches the same number: the largest of each window (the first of equal ones), or none where all of a
    window are cut off. The convolutions keep their names, so weights fit as before.
    """
    changed = 0
    for part in model.modules():
        if not isinstance(part, nn.Sequential):
            continue
        for at in range(len(part) - 1):
            first, second = part[at], part[at + 1]
            if isinstance(first, nn.ReLU) and isinstance(second, nn.MaxPool2d) and not second.return_indices:
                part[at], part[at + 1] = second, first
                changed += 1
    return changed
