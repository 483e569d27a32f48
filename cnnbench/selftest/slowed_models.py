"""Models that are slower than another by a known share; named like a user's, as FILE.py:FACTORY."""

from __future__ import annotations

from torch import Tensor, nn

# Convolutions of the reference: one more of them is 5 % more work.
TIMES = 20


class Repeated(nn.Module):
    """One convolution, done `times` times, so that a share of work is the same share of time.

    A wait would be no known slowdown: it leaves caches and branch predictors colder, and the pass after one of 15 %
    took 1 to 3 % longer. In one process, in turns, 21, 22 and 23 convolutions took 5.2, 10.3 and 14.9 % longer than 20.
    """

    def __init__(self, times: int) -> None:
        super().__init__()
        self.layer = nn.Conv2d(3, 3, 3, padding=1, bias=False)
        nn.init.dirac_(self.layer.weight)  # what comes in comes out, so numbers stay as they are
        self.times = times

    def forward(self, images: Tensor) -> Tensor:
        """Return the images (images, 3, height, width) flattened (images, values)."""
        for _ in range(self.times):
            images = self.layer(images)
        return images.flatten(1)


def reference() -> nn.Module:
    """Return the reference."""
    return Repeated(TIMES)


def slowed_0() -> nn.Module:
    """Return the reference once more."""
    return Repeated(TIMES)


def slowed_5() -> nn.Module:
    """Return a model that is 5 % slower."""
    return Repeated(TIMES + 1)


def slowed_10() -> nn.Module:
    """Return a model that is 10 % slower."""
    return Repeated(TIMES + 2)


def slowed_15() -> nn.Module:
    """Return a model that is 15 % slower."""
    return Repeated(TIMES + 3)
