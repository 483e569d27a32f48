"""Which part of a batch each process takes, and that the averages of all parts are those of the whole batch."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional

from cnnbench.machine import rank_and_world_size
from cnnbench.training.distributed import ProcessGroup, Share, join


def shares(count: int, size: int) -> list[Share]:
    images = torch.arange(float(count)).reshape(-1, 1)
    return [ProcessGroup(rank=rank, size=size).share(images, torch.arange(count)) for rank in range(size)]


@pytest.mark.parametrize(("count", "size"), [(8, 2), (7, 2), (9, 4), (1, 2), (3, 4)])
def test_every_picture_is_in_one_part_and_weighs_the_same(count: int, size: int) -> None:
    found = shares(count, size)
    real = [share for share in found if share.weight]
    assert sorted(label for share in real for label in share.labels.tolist()) == list(range(count))
    for share in real:
        assert share.images.flatten().tolist() == share.labels.tolist()
        assert share.weight / len(share.labels) == pytest.approx(size / count)
    assert [len(share.labels) for share in found if not share.weight] == [1] * max(0, size - count)


@pytest.mark.parametrize(("count", "size"), [(7, 2), (3, 4)])
def test_averaged_gradients_are_those_of_the_whole_batch(count: int, size: int) -> None:
    augment_rng = torch.Generator().manual_seed(0)
    images, labels = torch.randn(count, 5, generator=augment_rng), torch.randint(3, (count,), generator=augment_rng)
    model = nn.Linear(5, 3)
    functional.cross_entropy(model(images), labels).backward()  # type: ignore[no-untyped-call]
    assert model.weight.grad is not None
    whole = model.weight.grad.clone()
    parts = torch.zeros_like(whole)
    for rank in range(size):
        share = ProcessGroup(rank=rank, size=size).share(images, labels)
        model.zero_grad()
        (functional.cross_entropy(model(share.images), share.labels) * share.weight).backward()  # type: ignore[no-untyped-call]
        parts += model.weight.grad
    torch.testing.assert_close(parts / size, whole)


def test_one_process_alone_is_no_team() -> None:
    assert join("cpu", {}) is None
    assert join("cpu", {"WORLD_SIZE": "1", "RANK": "0"}) is None
    assert rank_and_world_size({}) == (0, 1)
    assert rank_and_world_size({"WORLD_SIZE": "4", "RANK": "2"}) == (2, 4)
