"""Passes and steps: which inputs, in which order, and what is inside each reading."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import pytest
import torch

from cnnbench.clock import FakeTime
from cnnbench.timing.loop import Timed
from cnnbench.timing.work import INPUTS, InferencePasses, TrainingSteps, random_inputs

FOUR: Any = ["a", "b", "c", "d"]
MS = 1_000_000


def test_inputs_take_turns_whoever_asks() -> None:
    seen: list[Any] = []
    fake = FakeTime()
    passes = InferencePasses(seen.append, FOUR)
    passes.first()
    assert seen == ["a"]
    passes.repeat(2)
    assert seen == ["a", "b", "c"]
    passes.timed(2, 3, fake.clock())
    assert "".join(seen) == "abc" + "dab" + "cda"
    passes.repeat(1)
    assert seen[-1] == "b"


def test_the_first_pass_returns_what_the_network_returned() -> None:
    shouted: Any = str.upper
    assert InferencePasses(shouted, FOUR).first() == "A"


def test_a_reading_is_the_group_and_the_wait_for_it() -> None:
    fake = FakeTime()
    took = iter([0.001, 0.002, 0.003, 0.004])

    def call(_: object) -> None:
        fake.enqueue(next(took))
        fake.advance(0.0005)  # the host, while the device works

    fake.enqueue(0.5)  # work from before is waited for outside
    assert InferencePasses(call, FOUR).timed(2, 2, fake.clock()) == Timed(readings_ns=(3 * MS, 7 * MS))


@pytest.mark.parametrize(("readings", "group"), [(1, 1), (5, 1), (1, 4), (3, 7)])
def test_as_many_passes_as_asked_for(readings: int, group: int) -> None:
    seen: list[Any] = []
    timed = InferencePasses(seen.append, FOUR).timed(readings, group, FakeTime(tick_ns=10).clock())
    assert len(seen) == readings * group
    assert timed == Timed(readings_ns=(10,) * readings)


def test_a_model_that_changes_its_input_gets_a_copy_each_time() -> None:
    seen: list[float] = []

    def call(images: torch.Tensor) -> torch.Tensor:
        seen.append(float(images[0]))
        return images.add_(1.0)

    passes = InferencePasses(call, [torch.zeros(1)], renew=lambda: [torch.zeros(1)])
    passes.first()
    assert passes.changes_inputs
    passes.repeat(2)
    passes.timed(3, 2, FakeTime(tick_ns=10).clock())
    assert seen == [0.0] * 9


def test_a_change_in_a_later_pass_is_seen_too() -> None:
    calls = itertools.count()
    passes = InferencePasses(
        lambda images: images.add_(1.0) if next(calls) == 3 else images, [torch.zeros(1)] * 2, lambda: [torch.ones(1)]
    )
    passes.first()
    assert not passes.changes_inputs
    passes.timed(4, 1, FakeTime(tick_ns=10).clock())
    assert passes.changes_inputs


class Step:
    """A loss, an optimiser and a scaler in one, which write down what happens and let time pass.

    The forward pass takes 2 ms, the backward pass 4 ms, the update 1 ms, clearing gradients 0.5 ms.
    """

    def __init__(self, *, asynchronous: bool = False) -> None:
        self.fake = FakeTime()
        self.clock = replace(self.fake.clock(), asynchronous=asynchronous)
        self.spend = self.fake.enqueue if asynchronous else self.fake.advance
        self.log: list[str] = []

    def did(self, what: str, seconds: float) -> None:
        self.log.append(what)
        self.spend(seconds)

    def loss(self, images: object) -> Any:
        self.did(f"forward {images}", 0.002)
        return self

    def backward(self) -> None:
        self.did("backward", 0.004)

    def detach(self) -> str:
        return "detached"

    def step(self, optimizer: object = None) -> None:
        assert optimizer in (None, self)
        self.did("scaled step" if optimizer else "step", 0.001)

    def zero_grad(self, *, set_to_none: bool) -> None:
        self.did(f"clear {set_to_none}", 0.0005)

    def scale(self, loss: object) -> Any:
        assert loss is self
        self.log.append("scale")
        return self

    def update(self) -> None:
        self.log.append("update")

    def steps(self, *, scaled: bool = False) -> TrainingSteps:
        anything: Any = self
        return TrainingSteps(loss=self.loss, inputs=FOUR, optimizer=anything, scaler=anything if scaled else None)


def whole(images: str) -> list[str]:
    return [f"forward {images}", "backward", "step", "clear True"]


def test_a_step_is_forward_backward_update_and_clearing() -> None:
    made = Step()
    assert made.steps().first() == "detached"
    assert made.log == whole("a")


def test_steps_take_inputs_in_turn() -> None:
    made = Step()
    steps = made.steps()
    steps.first()
    steps.repeat(4)
    assert made.log == [*whole("a"), *whole("b"), *whole("c"), *whole("d"), *whole("a")]


def test_on_a_synchronous_clock_the_phases_sum_to_the_reading() -> None:
    made = Step()
    found = made.steps().timed(3, 1, made.clock)
    assert found == Timed(
        readings_ns=(7_500_000,) * 3,
        phases_ns=((2 * MS,) * 3, (4 * MS,) * 3, (1_500_000,) * 3),
    )
    assert made.log == [*whole("a"), *whole("b"), *whole("c")]


def test_steps_in_groups_have_one_phased_step_more() -> None:
    made = Step()
    found = made.steps().timed(2, 2, made.clock)
    assert found == Timed(readings_ns=(15 * MS,) * 2, phases_ns=((2 * MS,), (4 * MS,), (1_500_000,)))
    assert len(made.log) == 5 * 4


@pytest.mark.parametrize("group", [1, 2])
def test_on_an_asynchronous_clock_a_step_of_its_own_is_phased(group: int) -> None:
    made = Step(asynchronous=True)
    made.fake.enqueue(0.5)  # work from before is waited for outside
    found = made.steps().timed(3, group, made.clock)
    assert found == Timed(
        readings_ns=(7_500_000 * group,) * 3,
        phases_ns=((2 * MS,), (4 * MS,), (1_500_000,)),
    )
    assert len(made.log) == (3 * group + 1) * 4
    assert made.fake.host_ns == made.fake.device_ns  # the last step was waited for as well


def test_a_scaler_scales_the_loss_makes_the_step_and_is_updated() -> None:
    made = Step()
    steps = made.steps(scaled=True)
    steps.first()
    scaled = ["forward a", "scale", "backward", "scaled step", "update", "clear True"]
    assert made.log == scaled
    assert steps.timed(1, 1, made.clock).readings_ns == (7_500_000,)
    assert made.log == [*scaled, "forward b", *scaled[1:]]


def test_the_phases_are_quantities_in_the_order_of_the_times() -> None:
    assert TrainingSteps.phases == ("forward_s", "backward_s", "optimizer_s")
    assert InferencePasses.phases == ()


def test_inputs_are_the_same_for_the_same_seed_only() -> None:
    first, again, other = random_inputs((2, 3, 8, 8), 1), random_inputs((2, 3, 8, 8), 1), random_inputs((2, 3, 8, 8), 2)
    assert [(x.shape, x.dtype) for x in first] == [((2, 3, 8, 8), torch.float32)] * INPUTS
    assert all(map(torch.equal, first, again))
    several = [*first, *other]
    assert not any(torch.equal(a, b) for at, a in enumerate(several) for b in several[:at])


def test_inputs_are_normal_and_leave_global_seed_alone() -> None:
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    values = torch.cat(random_inputs((1000,), 3))
    assert torch.equal(torch.rand(1), expected)
    assert abs(values.mean().item()) < 0.1
    assert abs(values.std().item() - 1) < 0.1
