"""The time of each layer, with a clock that layers move."""

from __future__ import annotations

from dataclasses import replace
from itertools import count

import pytest
import torch
from torch import Tensor, nn

from cnnbench.clock import Clock, wall_clock
from cnnbench.inspection.layer_timing import FEWEST_PASSES, run, timed_passes
from cnnbench.jobs import Assignment, Job
from cnnbench.spec import ModelSpec, UnsupportedError
from tests.factories import case


class Slow(nn.Module):
    """Moves a clock by so many nanoseconds, before and after what is inside."""

    def __init__(self, clock: list[int], cost_ns: int, inside: nn.Module | None = None) -> None:
        super().__init__()
        self.clock, self.cost_ns, self.inside = clock, cost_ns, inside

    def forward(self, images: Tensor) -> Tensor:
        self.clock[0] += self.cost_ns
        return images if self.inside is None else self.inside(images)


def still(now: list[int]) -> Clock:
    return replace(wall_clock(), now_ns=lambda: now[0], synchronize=lambda: None)


def test_a_layer_has_its_own_time_without_the_layers_inside() -> None:
    now = [0]
    model = Slow(now, 5_000_000, nn.Sequential(Slow(now, 70_000_000), Slow(now, 20_000_000)))
    passes, own = timed_passes(lambda _: model(torch.zeros(1)), model, still(now))
    assert len(passes) == FEWEST_PASSES
    assert passes == pytest.approx([0.095] * FEWEST_PASSES)
    assert own == pytest.approx((0.005, 0.0, 0.07, 0.02))


def test_passes_end_after_half_a_second() -> None:
    now = [0]
    model = Slow(now, 40_000_000)
    passes, _ = timed_passes(lambda _: model(torch.zeros(1)), model, still(now))
    assert len(passes) == 13


def test_a_network_that_changes_its_mind_is_told() -> None:
    now = [0]
    one, two = Slow(now, 10**8), nn.Sequential(Slow(now, 10**8), Slow(now, 1))
    calls = count()
    model = nn.ModuleList([one, two])
    with pytest.raises(UnsupportedError) as error:
        timed_passes(lambda _: model[next(calls) % 2](torch.zeros(1)), model, still(now))
    assert str(error.value) == "The model does not call the same layers in every pass."


def test_rows_are_those_of_the_layer_table_with_a_time_each() -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(72, 10))
    spec = ModelSpec(name="m", family="f", source="s", input_shape=(1, 8, 8), build=lambda: model)
    found = run(
        Assignment(
            spec=spec,
            job=Job(case=replace(case("m", shape=(1, 8, 8), batch_size=4), role="layers"), scratch=""),
            build=lambda: model,
            clock=wall_clock(),
            on_message=lambda *_: None,
        )
    )
    assert [(layer.name, layer.kind, layer.params, layer.macs) for layer in found.layers] == [
        ("0", "Conv2d", 20, 648),
        ("1", "ReLU", 0, 0),
        ("2", "Flatten", 0, 0),
        ("3", "Linear", 730, 720),
    ]
    quantities = {m.quantity: m.samples for m in found.measurements}
    assert len(quantities["layer_s"]) == 4
    assert all(seconds > 0 for seconds in quantities["layer_s"])
    assert sum(quantities["layer_s"]) < max(quantities["layered_pass_s"])
    assert quantities["passes_s"] == pytest.approx([sum(quantities["layered_pass_s"])])
