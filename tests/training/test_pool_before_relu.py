"""Pooling before ReLU: the same scores and the same gradients, bit for bit, and only where it is the same."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from cnnbench.models import MODELS
from cnnbench.training.pool_before_relu import pool_first


def kinds(model: nn.Sequential) -> list[str]:
    return [type(part).__name__ for part in model]


@pytest.mark.parametrize(
    ("name", "count"),
    [("simple_cnn", 2), ("multilayer_cnn", 2), ("lenet", 2), ("cifar_cnn", 2), ("one_conv", 0), ("tudui", 0)],
)
def test_scores_and_gradients_are_the_same_bits(name: str, count: int) -> None:
    torch.manual_seed(0)
    spec = MODELS[name]
    usual = spec.build()
    swapped = copy.deepcopy(usual)
    assert pool_first(swapped, torch.rand(2, *spec.input_shape)) == count
    assert list(usual.state_dict()) == list(swapped.state_dict())
    images = torch.rand(5, *spec.input_shape)
    images[0] = 0.0  # windows of equal numbers
    labels = torch.arange(5)
    outputs = []
    for model in (usual, swapped):
        scores = model(images)
        nn.functional.cross_entropy(scores, labels).backward()  # type: ignore[no-untyped-call]
        outputs.append(scores)
    assert torch.equal(*outputs)
    for one, other in zip(usual.parameters(), swapped.parameters(), strict=True):
        assert one.grad is not None
        assert other.grad is not None
        assert torch.equal(one.grad, other.grad)


def test_windows_that_are_all_cut_off_get_no_gradient() -> None:
    usual = nn.Sequential(nn.ReLU(), nn.MaxPool2d(2), nn.Flatten())
    swapped = copy.deepcopy(usual)
    assert pool_first(swapped, torch.rand(1, 1, 4, 4)) == 1
    images = torch.tensor(
        [[-1.0, -2.0, 0.0, 0.0], [-3.0, -1.0, 0.0, -1.0], [2.0, 2.0, -1.0, 3.0], [2.0, 2.0, 3.0, 0.0]]
    )
    grads = []
    for model in (usual, swapped):
        given = images.clone()[None, None].requires_grad_()
        model(given).sum().backward()
        assert given.grad is not None
        grads.append(given.grad)
    assert torch.equal(*grads)
    assert grads[0].sum() == 2.0


def test_nested_relu_pool_pairs_swap_and_others_stay() -> None:
    inner = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(inplace=True), nn.MaxPool2d(2))
    model = nn.Sequential(inner, nn.ReLU(), nn.AvgPool2d(2), nn.GELU(), nn.MaxPool2d(2), nn.Flatten())
    assert pool_first(model, torch.rand(1, 1, 20, 20)) == 1
    assert kinds(inner) == ["Conv2d", "MaxPool2d", "ReLU"]
    assert kinds(model)[1:] == ["ReLU", "AvgPool2d", "GELU", "MaxPool2d", "Flatten"]
    with_places = nn.Sequential(nn.ReLU(), nn.MaxPool2d(2, return_indices=True))
    assert pool_first(with_places, torch.rand(1, 1, 4, 4)) == 0


class Looks(nn.Module):
    """Takes what lies between ReLU and pooling, too."""

    def __init__(self, parts: nn.Sequential) -> None:
        super().__init__()
        self.parts = parts

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        between = self.parts[:2](images)
        return torch.cat([between.flatten(1), self.parts(images).flatten(1)], dim=1)


class Tapped(nn.Sequential):
    """A Sequential that does something of its own."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        for part in self:
            images = part(images) + 1
        return images


def test_networks_that_would_become_others_stay_as_they_are() -> None:
    parts = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.MaxPool2d(2))
    assert pool_first(Looks(parts), torch.rand(1, 1, 6, 6)) == 0
    assert kinds(parts) == ["Conv2d", "ReLU", "MaxPool2d"]
    tapped = Tapped(nn.ReLU(), nn.MaxPool2d(2), nn.Flatten())
    assert pool_first(tapped, torch.rand(1, 1, 4, 4)) == 0
    assert kinds(tapped) == ["ReLU", "MaxPool2d", "Flatten"]
