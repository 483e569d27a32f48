"""The canary: fixed work that is sampled beside the networks, so that what changes in it is the machine."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

from cnnbench.clock import Clock
from cnnbench.runners.sampling import Timed
from cnnbench.spec import Case

if TYPE_CHECKING:
    import torch

SIDES = MappingProxyType({"cpu": 512, "cuda": 4096})
"""Side of the square matrices that are multiplied. Our choice: large enough for all cores or multiprocessors, small
enough for several products in a sample (some 3 ms on two cores, some 3 ms on a device of 50 TFLOP/s)."""

COPY_BYTES = 64_000_000
"""Bytes that are copied: more than most caches hold, so that the copy goes through memory."""

WARM_S = 0.1
"""Least warm-up of the canary: a product is the same code each time, and compares with itself alone."""


class Canary:
    """Products of two fixed fp32 matrices, and one copy of 64 MB in each sample as the phase `copy_s`."""

    phases: tuple[str, ...] = ("copy_s",)

    def __init__(self, *, left: torch.Tensor, right: torch.Tensor, source: torch.Tensor) -> None:
        self._left, self._right, self._source = left, right, source
        self._product = left @ right
        self._target = source.clone()

    def first(self) -> object:
        """Do one product and one copy, and return a number of the product."""
        self.repeat(1)
        self._target.copy_(self._source)
        return self._product[0, 0]

    def repeat(self, count: int) -> None:
        """Do `count` products, untimed."""
        import torch

        for _ in range(count):
            torch.mm(self._left, self._right, out=self._product)

    def timed(self, readings: int, group: int, clock: Clock) -> Timed:
        """Time `readings` groups of `group` products, then one copy; inside: the work and the wait for the device."""
        now, wait, times = clock.now_ns, clock.synchronize, []
        wait()
        for _ in range(readings):
            start = now()
            self.repeat(group)
            wait()
            times.append(now() - start)
        start = now()
        self._target.copy_(self._source)
        wait()
        return Timed(readings_ns=tuple(times), phases_ns=((now() - start,),))


def canary(case: Case) -> Canary:
    """Return the canary for the device of `case`, with matrices from its seed; no network is built.

    Product and copy run with the threads and the device of the process, outside of any variant's context.
    """
    import torch

    side = SIDES[case.device]
    generator = torch.Generator().manual_seed(case.seed)
    left, right = (torch.randn((side, side), generator=generator).to(case.device) for _ in range(2))
    return Canary(left=left, right=right, source=torch.zeros(COPY_BYTES // 4, device=case.device))
