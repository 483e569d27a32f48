"""Work that is timed: forward passes over a batch, and whole training steps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import cycle, islice
from typing import TYPE_CHECKING

from cnnbench.clock import Clock
from cnnbench.timing.loop import Timed

if TYPE_CHECKING:
    import torch

# Number of different inputs that take turns. On some devices a model runs faster if it gets the same numbers again.
INPUTS = 4


class InferencePasses:
    """Forward passes over `inputs` in turn; the caller is inside `torch.no_grad` and the variant's context.

    A model may change its input in place, and would then see its own output. `renew` makes the inputs again, and from
    then on each pass gets a copy, made outside the timed region. `output` is that of the last timed pass.
    """

    phases: tuple[str, ...] = ()

    def __init__(
        self,
        call: Callable[[torch.Tensor], object],
        inputs: Sequence[torch.Tensor],
        renew: Callable[[], Sequence[torch.Tensor]] | None = None,
    ) -> None:
        self.changes_inputs = False
        self.output: object = None
        self._call = call
        self._renew = renew
        self._given = inputs
        self._unchanged = _versions(inputs) if renew is not None else ()
        self._inputs = cycle(inputs)

    def first(self) -> object:
        """Do one pass and return the model's output."""
        output = self._call(next(self._inputs))
        self._look_for_changes()
        return output

    def repeat(self, count: int) -> None:
        """Do `count` passes, untimed."""
        for _ in range(count):
            (images,) = self._next(1)  # one copy at a time, as memory is measured by this
            self._call(images)

    def _next(self, count: int) -> tuple[torch.Tensor, ...]:
        images = tuple(islice(self._inputs, count))
        return tuple(one.clone() for one in images) if self.changes_inputs else images

    def _look_for_changes(self) -> None:
        """Look whether an input was changed in place, which torch counts."""
        if self._renew is None or self.changes_inputs or _versions(self._given) == self._unchanged:
            return
        self.changes_inputs = True
        self._given = self._renew()
        self._inputs = cycle(self._given)

    def timed(self, readings: int, group: int, clock: Clock) -> Timed:
        """Time `readings` groups of `group` passes; a reading contains only the passes and the wait for the device."""
        call, now, wait = self._call, clock.now_ns, clock.synchronize
        # Inputs are chosen here, so that no reading contains it.
        *batches, last = [self._next(group) for _ in range(readings)]
        times = []

        wait()
        for batch in batches:
            start = now()
            for images in batch:
                call(images)
            wait()
            times.append(now() - start)

        # The last output is kept for a check. Keeping each one would change how memory is reused.
        start = now()
        for images in last[:-1]:
            call(images)
        output = call(last[-1])
        wait()
        times.append(now() - start)

        self.output = output
        self._look_for_changes()
        return Timed(readings_ns=tuple(times))


def _versions(inputs: Sequence[torch.Tensor]) -> tuple[int, ...]:
    return tuple(images._version for images in inputs)  # noqa: SLF001 - the only place where torch counts changes


class TrainingSteps:
    """Training steps over `inputs` in turn: forward pass and loss, backward pass, optimiser step.

    `scaler` is torch's gradient scaler for fp16, otherwise None. A step ends by clearing the gradients, which counts
    as part of the optimiser step.
    """

    phases: tuple[str, ...] = ("forward_s", "backward_s", "optimizer_s")

    def __init__(
        self,
        *,
        loss: Callable[[torch.Tensor], torch.Tensor],
        inputs: Sequence[torch.Tensor],
        optimizer: torch.optim.Optimizer,
        scaler: torch.amp.GradScaler | None = None,
    ) -> None:
        self._loss = loss
        self._inputs = cycle(inputs)
        self._optimizer = optimizer
        self._scaler = scaler

    def _backward(self, loss: torch.Tensor) -> None:
        (loss if self._scaler is None else self._scaler.scale(loss)).backward()  # type: ignore[no-untyped-call]

    def _update(self) -> None:
        if self._scaler is None:
            self._optimizer.step()
        else:
            self._scaler.step(self._optimizer)
            self._scaler.update()
        self._optimizer.zero_grad(set_to_none=True)

    def first(self) -> object:
        """Do one step and return its loss."""
        loss = self._loss(next(self._inputs))
        self._backward(loss)
        self._update()
        return loss.detach()

    def repeat(self, count: int) -> None:
        """Do `count` steps, untimed."""
        for images in islice(self._inputs, count):
            self._backward(self._loss(images))
            self._update()

    def timed(self, readings: int, group: int, clock: Clock) -> Timed:
        """Time `readings` groups of `group` steps; take the phases from the same steps, or from one more step if the
        waits between the phases would slow them down.
        """  # noqa: D205  # the sentence does not fit a line
        now, wait = clock.now_ns, clock.synchronize
        times = []

        # Waiting costs nothing on a CPU, so a reading is the sum of the phases of its step.
        if not clock.asynchronous and group == 1:
            phases = [self._time_phases(clock) for _ in range(readings)]
            return Timed(readings_ns=tuple(sum(p) for p in phases), phases_ns=tuple(zip(*phases, strict=True)))

        # On a device, and in groups of short steps, an extra step gives each phase one time.
        wait()
        for _ in range(readings):
            start = now()
            self.repeat(group)
            wait()
            times.append(now() - start)
        return Timed(readings_ns=tuple(times), phases_ns=tuple((ns,) for ns in self._time_phases(clock)))

    def _time_phases(self, clock: Clock) -> tuple[int, int, int]:
        now, wait = clock.now_ns, clock.synchronize
        images = next(self._inputs)

        # The wait after each phase counts the work that the device still has to do for it.
        start = now()
        loss = self._loss(images)
        wait()
        forward = now()
        self._backward(loss)
        wait()
        backward = now()

        self._update()
        wait()
        return forward - start, backward - forward, now() - backward


def random_inputs(shape: tuple[int, ...], seed: int) -> list[torch.Tensor]:
    """Return `INPUTS` normally distributed fp32 tensors of `shape`, the same for the same seed."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=generator) for _ in range(INPUTS)]
