"""Networks that are slower than lenet by a known share; named like a user's, as FILE.py:FACTORY."""

from __future__ import annotations

import time

from torch import Tensor, nn

from cnnbench.models import MODELS


class Slowed(nn.Module):
    """lenet, and after each pass a busy wait until `1 + share` times what the pass took has gone by.

    The wait is part of calling it and not of `forward`: what calling a module costs is slowed down as well.
    """

    def __init__(self, share: float) -> None:
        super().__init__()
        self.network = MODELS["lenet"].build()
        self.share = share

    def __call__(self, images: Tensor) -> Tensor:
        """Return the scores (pictures, classes)."""
        begin = time.perf_counter_ns()
        scores: Tensor = super().__call__(images)
        end = begin + (time.perf_counter_ns() - begin) * (1 + self.share)
        while time.perf_counter_ns() < end:
            pass
        return scores

    def forward(self, images: Tensor) -> Tensor:
        """Return the scores (pictures, classes)."""
        scores: Tensor = self.network(images)
        return scores


def reference() -> nn.Module:
    """Return lenet in the same wrapping, without a wait."""
    return Slowed(0.0)


def slowed_0() -> nn.Module:
    """Return the reference once more."""
    return Slowed(0.0)


def slowed_5() -> nn.Module:
    """Return lenet, 5 % slower."""
    return Slowed(0.05)


def slowed_10() -> nn.Module:
    """Return lenet, 10 % slower."""
    return Slowed(0.10)


def slowed_15() -> nn.Module:
    """Return lenet, 15 % slower."""
    return Slowed(0.15)
