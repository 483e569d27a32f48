"""Quick weights: large tensors are filled by repetition, small ones as ever, and the seed decides about both."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from cnnbench.timing.random_weights import BLOCK, use_quick_weights

LARGE = 2 * BLOCK + 1000
"""Two blocks and a part of one."""

Fill = Callable[[Tensor], object]

WAYS = {
    "normal_": (lambda t: t.normal_(2.0, 0.5), 2.0, 0.5),
    "uniform_": (lambda t: t.uniform_(-1.0, 3.0), 1.0, 4 / math.sqrt(12)),
    "init.normal_": (lambda t: nn.init.normal_(t, 2.0, 0.5), 2.0, 0.5),
    "init.uniform_": (lambda t: nn.init.uniform_(t, -1.0, 3.0), 1.0, 4 / math.sqrt(12)),
    "init.xavier_uniform_": (nn.init.xavier_uniform_, 0.0, math.sqrt(2 / (LARGE + 8))),
    "init.xavier_normal_": (nn.init.xavier_normal_, 0.0, math.sqrt(2 / (LARGE + 8))),
    "init.kaiming_uniform_": (nn.init.kaiming_uniform_, 0.0, math.sqrt(2 / LARGE)),
    "init.kaiming_normal_": (nn.init.kaiming_normal_, 0.0, math.sqrt(2 / LARGE)),
    "init.trunc_normal_": (lambda t: nn.init.trunc_normal_(t, std=0.5), 0.0, 0.5),
}


def filled(fill: Fill, *shape: int, seed: int = 0, quick: bool = True) -> Tensor:
    torch.manual_seed(seed)
    tensor = torch.zeros(*shape)
    if quick:
        with use_quick_weights():
            fill(tensor)
    else:
        fill(tensor)
    return tensor


@pytest.mark.parametrize("name", WAYS)
def test_mean_and_spread_are_those_asked_for(name: str) -> None:
    fill, mean, spread = WAYS[name]
    found = filled(fill, 8, LARGE)
    assert float(found.mean()) == pytest.approx(mean, abs=0.01 * spread)
    assert float(found.std()) == pytest.approx(spread, rel=0.01)


@pytest.mark.parametrize("name", WAYS)
def test_small_tensors_get_the_very_same_numbers(name: str) -> None:
    fill = WAYS[name][0]
    assert torch.equal(filled(fill, 64, BLOCK // 64), filled(fill, 64, BLOCK // 64, quick=False))


@pytest.mark.parametrize("name", WAYS)
def test_the_seed_decides(name: str) -> None:
    fill = WAYS[name][0]
    one, same, other = (filled(fill, 1, LARGE, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


def test_a_large_tensor_repeats_one_block() -> None:
    found = filled(lambda t: t.normal_(), LARGE)
    block = filled(lambda t: t.normal_(), BLOCK, quick=False)
    assert torch.equal(found, torch.cat([block, block, block[:1000]]))


def test_bounds_are_kept() -> None:
    found = filled(lambda t: t.uniform_(-1.0, 3.0), LARGE)
    assert (float(found.min()) >= -1.0, float(found.max()) < 3.0) == (True, True)
    assert float(found.min()) == pytest.approx(-1.0, abs=0.001)
    assert float(found.max()) == pytest.approx(3.0, abs=0.001)
    cut = filled(lambda t: nn.init.trunc_normal_(t, std=0.5, a=-0.6, b=0.7), LARGE)
    assert (float(cut.min()) >= -0.6, float(cut.max()) <= 0.7) == (True, True)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_the_type_is_kept(dtype: torch.dtype) -> None:
    tensor = torch.zeros(LARGE, dtype=dtype)
    with use_quick_weights():
        tensor.normal_(2.0, 0.5)
    assert tensor.dtype == dtype
    assert float(tensor.float().mean()) == pytest.approx(2.0, abs=0.01)


def test_what_is_not_in_one_piece_is_drawn_as_always() -> None:
    def every_second(tensor: Tensor) -> None:
        tensor[:, ::2].normal_()

    assert torch.equal(filled(every_second, 4, LARGE), filled(every_second, 4, LARGE, quick=False))


def test_outside_of_it_everything_is_as_before() -> None:
    before = filled(lambda t: t.normal_(), LARGE, quick=False)
    filled(lambda t: t.normal_(), LARGE)
    assert torch.equal(filled(lambda t: t.normal_(), LARGE, quick=False), before)


def make_model() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4 * 36, 2000))


def test_a_network_keeps_its_buffers_and_what_is_small() -> None:
    def made(*, quick: bool) -> dict[str, Tensor]:
        torch.manual_seed(0)
        if not quick:
            return make_model().state_dict()
        with use_quick_weights():
            return make_model().state_dict()

    quick, usual = made(quick=True), made(quick=False)
    assert quick.keys() == usual.keys()
    same = {name for name in quick if torch.equal(quick[name], usual[name])}
    assert same == quick.keys() - {"3.weight", "3.bias"}  # the large one, and what was drawn after it
    assert torch.equal(quick["1.running_mean"], torch.zeros(4))
    assert torch.equal(quick["1.running_var"], torch.ones(4))
    assert int(quick["1.num_batches_tracked"]) == 0
    large: Any = quick["3.weight"]
    bound = 1 / math.sqrt(4 * 36)  # of Linear
    assert float(large.abs().max()) <= bound
    assert float(large.std()) == pytest.approx(bound / math.sqrt(3), rel=0.01)


def test_its_parameters_still_learn() -> None:
    with use_quick_weights():
        made = nn.Linear(1024, 512)
    made(torch.ones(1, 1024)).sum().backward()
    assert made.weight.is_leaf
    assert made.weight.grad is not None
