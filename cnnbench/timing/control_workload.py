"""The control workload: fixed work, sampled beside the models, whose time changes only with the machine."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

from cnnbench.clock import Clock
from cnnbench.spec import Case
from cnnbench.timing.loop import Timed

if TYPE_CHECKING:
    import torch

# Side of the square matrices, by device. A product is large enough for all cores or multiprocessors, and small enough
# for several products in a sample (about 3 ms on two cores, about 3 ms on a device of 50 TFLOP/s).
SIDES = MappingProxyType({"cpu": 512, "cuda": 4096})


class ControlWorkload:
    """Products of two fixed fp32 matrices."""

    phases: tuple[str, ...] = ()

    def __init__(self, *, left: torch.Tensor, right: torch.Tensor) -> None:
        self._left, self._right = left, right
        self._product = left @ right

    def first(self) -> object:
        """Compute one product and return one of its elements."""
        self.repeat(1)
        return self._product[0, 0]

    def repeat(self, count: int) -> None:
        """Compute `count` products, untimed."""
        import torch

        for _ in range(count):
            torch.mm(self._left, self._right, out=self._product)

    def timed(self, readings: int, group: int, clock: Clock) -> Timed:
        """Time `readings` groups of `group` products; a reading contains the products and the wait for the device."""
        now, wait, times = clock.now_ns, clock.synchronize, []
        wait()
        for _ in range(readings):
            start = now()
            self.repeat(group)
            wait()
            times.append(now() - start)
        return Timed(readings_ns=tuple(times))


def control_workload(case: Case) -> ControlWorkload:
    """Return the control workload for the device of `case`, with matrices from its seed; no model is built.

    The products run with the threads and the device of the process, outside of any variant's context.
    """
    import torch

    side = SIDES[case.device]
    generator = torch.Generator().manual_seed(case.seed)
    left, right = (torch.randn((side, side), generator=generator).to(case.device) for _ in range(2))
    return ControlWorkload(left=left, right=right)
