"""Define models that are slower than a reference by a known share, for use as FILE.py:FACTORY."""

from __future__ import annotations

from torch import Tensor, nn

# Convolutions of the reference. One more of them is 5 % more work.
TIMES = 20


class Repeated(nn.Module):
    """A convolution that is repeated `times` times, so that a share of work is the same share of time.

    Waiting would be no known slowdown, because it leaves caches and branch predictors colder: the pass after a wait of
    15 % took 1 to 3 % longer. In one process, in turns, 21, 22 and 23 convolutions took 5.2, 10.3 and 14.9 % longer
    than 20.
    """

    def __init__(self, times: int) -> None:
        super().__init__()
        self.layer = nn.Conv2d(3, 3, 3, padding=1, bias=False)
        nn.init.dirac_(self.layer.weight)  # the identity: values neither grow nor vanish
        self.times = times

    def forward(self, images: Tensor) -> Tensor:
        """Return `images` (images, 3, height, width) flattened to (images, values)."""
        for _ in range(self.times):
            images = self.layer(images)
        return images.flatten(1)


def reference() -> nn.Module:
    """Return the reference model."""
    return Repeated(TIMES)


def slowed_0() -> nn.Module:
    """Return a model that equals the reference."""
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
