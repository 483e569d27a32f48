"""The control workload: what is inside its readings, how much work it is, and that it is the same for the same seed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch

from cnnbench.clock import FakeTime, wall_clock
from cnnbench.timing.control_workload import SIDES, ControlWorkload, control_workload
from cnnbench.timing.loop import SampleShape, Timed, take_sample
from tests.factories import case

MS = 1_000_000


def test_a_reading_is_a_group_of_products() -> None:
    fake, made = FakeTime(), ControlWorkload(left=torch.eye(2), right=torch.ones(2, 2))
    anything: Any = made
    anything.repeat = lambda count: fake.enqueue(0.002 * count)
    fake.enqueue(0.5)  # work from before is waited for outside
    assert made.timed(3, 2, fake.clock()) == Timed(readings_ns=(4 * MS,) * 3)
    assert fake.host_ns == fake.device_ns == (500 + 3 * 4) * MS


def test_products_are_done_and_nothing_is_timed_apart() -> None:
    made = ControlWorkload(left=2 * torch.eye(2), right=torch.ones(2, 2))
    made._product.zero_()
    assert made.first() == 2.0
    made._product.zero_()
    made.repeat(3)
    assert torch.equal(made._product, torch.full((2, 2), 2.0))
    assert made.phases == ()


def test_the_work_is_fixed_and_the_numbers_follow_the_seed() -> None:
    first, again, other = (control_workload(replace(case("net"), seed=seed)) for seed in (1, 1, 2))
    assert torch.equal(first._product, again._product)
    assert not torch.equal(first._product, other._product)
    assert first._product.shape == (512, 512) == (SIDES["cpu"],) * 2
    assert first._product.dtype == torch.float32


def test_a_sample_of_it_has_its_products() -> None:
    found = take_sample(control_workload(case("net")), SampleShape(rewarm=1, readings=2, group=1), wall_clock())
    assert 0 < found.latency_s < found.sample_s
    assert (len(found.iterations_s), found.phases_s) == (2, ())
