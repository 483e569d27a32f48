"""Time each layer by itself, in passes of the whole model."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import nn

from cnnbench.clock import Clock
from cnnbench.inspection.flop_counters import count_torch
from cnnbench.jobs import Assignment
from cnnbench.record import Measurement, Outcome
from cnnbench.spec import UnsupportedError
from cnnbench.timing.latency_job import check_first
from cnnbench.timing.work import random_inputs
from cnnbench.variants import prepare

# Passes before the timed ones, and the number of timed ones: as many as half a second holds, from seven to two hundred.
# The layers' shares of a pass are then steady to a few points.
WARM_PASSES = 3
FEWEST_PASSES = 7
MOST_PASSES = 200
ENOUGH_S = 0.5


@dataclass(kw_only=True, slots=True)
class _Stopwatch:
    """Time the calls of all modules of a model; `own_ns` has a value for each call, in the order of their starts.

    The own time of a call leaves out the calls inside it.
    """

    clock: Clock
    own_ns: list[int] = field(default_factory=list)
    _open: list[tuple[int, int]] = field(default_factory=list)  # number of the call, and when it started

    @contextmanager
    def attach(self, model: nn.Module) -> Iterator[None]:
        """Time every module of `model` inside the context."""
        handles = []
        for module in model.modules():
            handles.append(module.register_forward_pre_hook(self._start))
            handles.append(module.register_forward_hook(self._end))
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _start(self, _module: nn.Module, _inputs: object) -> None:
        # Wait for the device before the clock is read, or the work of earlier layers would count for this one.
        self.own_ns.append(0)
        self.clock.synchronize()
        self._open.append((len(self.own_ns) - 1, self.clock.now_ns()))

    def _end(self, _module: nn.Module, _inputs: object, _output: object) -> None:
        self.clock.synchronize()
        now = self.clock.now_ns()
        at, start = self._open.pop()
        self.own_ns[at] += now - start
        # The caller, if there is one, gives up the time of this call.
        if self._open:
            self.own_ns[self._open[-1][0]] -= now - start


def run(assignment: Assignment) -> Outcome:
    """Return the layers of the model in the order of their calls, and the median time of each over many passes.

    `layer_s` has a value for each layer, without the calls inside it. `layered_pass_s` holds the passes, hooks
    included. On CUDA the host waits for each layer. What a model does between layers is in the pass, but in no layer.

    Raises:
        UnsupportedError: the model does not call the same layers in every pass.
        InvalidError: the output holds NaN or infinity.
    """
    case, clock = assignment.case, assignment.clock
    prepared = prepare(assignment.build(), case.variant, case.device)
    model = prepared.model.eval()

    with torch.no_grad(), prepared.context():
        images = [prepared.place(i) for i in random_inputs((case.batch_size, *case.input_shape), case.seed)]
        check_first(model(images[0]))

        # One image is enough to learn which calls are layers; the timed passes number their calls alike.
        placed = count_torch(model, images[0][:1]).watch.placed_layers()

        for at in range(WARM_PASSES):
            model(images[at % len(images)])
        passes_s, own_s = timed_passes(lambda at: model(images[at % len(images)]), model, clock)

    # The counted pass made calls that the timed passes did not make.
    if any(at >= len(own_s) for at, _ in placed):
        raise UnsupportedError("The model does not call the same layers in every pass.")

    return Outcome(
        measurements=(
            Measurement(quantity="layer_s", samples=tuple(own_s[at] for at, _ in placed)),
            Measurement(quantity="layered_pass_s", samples=passes_s),
            Measurement(quantity="passes_s", samples=(sum(passes_s),)),
        ),
        layers=tuple(layer for _, layer in placed),
    )


def timed_passes(
    one_pass: Callable[[int], object], model: nn.Module, clock: Clock
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return the seconds of all passes, and for each call of a module the median of its own seconds.

    Raises:
        UnsupportedError: the passes differ in their calls.
    """
    passes: list[float] = []
    own: list[list[int]] = []
    begin = clock.now_ns()

    while len(passes) < MOST_PASSES and (len(passes) < FEWEST_PASSES or clock.now_ns() - begin < ENOUGH_S * 1e9):
        # A new stopwatch numbers the calls of each pass from 0.
        watch = _Stopwatch(clock=clock)
        with watch.attach(model):
            # Inside: a pass with its hooks and the wait for the device. Outside: placing the hooks.
            clock.synchronize()
            start = clock.now_ns()
            one_pass(len(passes))
            clock.synchronize()
            passes.append((clock.now_ns() - start) * 1e-9)
        own.append(watch.own_ns)

    if len({len(calls) for calls in own}) > 1:
        raise UnsupportedError("The model does not call the same layers in every pass.")

    # zip() gathers the times of one call over all passes.
    return tuple(passes), tuple(statistics.median(times) * 1e-9 for times in zip(*own, strict=True))
