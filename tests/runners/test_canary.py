"""The canary: what is inside its readings, how much work it is, and that it is the same for the same seed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch

from cnnbench.clock import FakeTime, wall_clock
from cnnbench.quantity import QUANTITIES
from cnnbench.runners.canary import COPY_BYTES, SIDES, Canary, canary
from cnnbench.runners.sampling import SampleShape, Timed, take_sample
from tests.made import case

MS = 1_000_000


def small() -> Canary:
    return Canary(left=torch.eye(2), right=torch.ones(2, 2), source=torch.ones(4))


def timed(readings: int, group: int) -> tuple[Timed, FakeTime]:
    """Time a canary whose product enqueues 2 ms, and whose copy enqueues 5 ms."""
    fake, made = FakeTime(), small()

    def multiply(count: int) -> None:
        fake.enqueue(0.002 * count)

    class Target:
        def copy_(self, source: object) -> None:
            assert source is made._source
            fake.enqueue(0.005)

    anything: Any = made
    anything.repeat, anything._target = multiply, Target()
    fake.enqueue(0.5)  # work from before is waited for outside
    return made.timed(readings, group, fake.clock()), fake


def test_a_reading_is_a_group_of_products_and_each_sample_ends_with_a_copy() -> None:
    found, fake = timed(3, 2)
    assert found == Timed(readings_ns=(4 * MS,) * 3, phases_ns=((5 * MS,),))
    assert fake.host_ns == fake.device_ns == (500 + 3 * 4 + 5) * MS


def test_the_phase_is_a_quantity() -> None:
    assert Canary.phases == ("copy_s",)
    assert QUANTITIES["copy_s"].unit == "s"


def test_products_and_copies_are_done() -> None:
    made = Canary(left=2 * torch.eye(2), right=torch.ones(2, 2), source=torch.arange(4.0))
    made._target.zero_()
    made._product.zero_()
    assert made.first() == 2.0
    assert torch.equal(made._target, torch.arange(4.0))
    made._product.zero_()
    made.repeat(3)
    assert torch.equal(made._product, torch.full((2, 2), 2.0))


def test_the_work_is_fixed_and_the_numbers_follow_the_seed() -> None:
    first, again, other = (canary(replace(case("net"), seed=seed)) for seed in (1, 1, 2))
    assert torch.equal(first._product, again._product)
    assert not torch.equal(first._product, other._product)
    assert first._product.shape == (512, 512) == (SIDES["cpu"],) * 2
    assert first._source.nbytes == first._target.nbytes == COPY_BYTES == 64_000_000
    assert first._source.data_ptr() != first._target.data_ptr()
    assert first._product.dtype == torch.float32


def test_a_sample_of_it_has_a_product_and_a_copy() -> None:
    found = take_sample(canary(case("net")), SampleShape(rewarm=1, readings=2, group=1), wall_clock())
    assert 0 < found.latency_s < found.sample_s
    assert len(found.phases_s) == 1
    assert found.phases_s[0] > 1e-4  # 640 GB/s are more than any memory of a processor gives
