"""Features computed once: what the head would be given, by a frozen model only."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from cnnbench.clock import wall_clock
from cnnbench.data.batches import Split, Splits
from cnnbench.spec import DEFAULT_RECIPE, UsageError
from cnnbench.training.frozen_features import features_of, head_of
from cnnbench.training.loop import StoppedError
from tests.training.fits import fit

RECIPE = replace(DEFAULT_RECIPE, batch_size=4, learning_rate=0.1)


class Frozen(nn.Module):
    """A convolution with batch statistics, frozen, under a linear head; flattens between them."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(2)
        self.features = nn.Sequential(nn.Conv2d(1, 3, 2), nn.BatchNorm2d(3), nn.ReLU()).requires_grad_(
            requires_grad=False
        )
        self.fc = nn.Linear(3, 2)

    def forward(self, images: Tensor) -> Tensor:
        return torch.as_tensor(self.fc(self.features(images).flatten(1)))


def part(count: int, seed: int) -> Split:
    labels = torch.arange(count) % 2
    noise = torch.rand(count, 1, 2, 2, generator=torch.Generator().manual_seed(seed))
    return Split(images_NCHW=noise * 0.4 + labels.reshape(-1, 1, 1, 1) * 0.6, labels_N=labels, classes=2)


def splits() -> Splits:
    held_out = part(8, 2)
    return Splits(train=part(18, 1), val=held_out, test=held_out)


def test_features_are_what_the_head_is_given() -> None:
    model, told = Frozen(), list[tuple[str, float]]()
    found = features_of(model, splits(), lambda text, share: told.append((text, share)))
    with torch.no_grad():
        assert torch.equal(found.train.images_NCHW, model.features(splits().train.images_NCHW).flatten(1))
    assert torch.equal(found.train.labels_N, splits().train.labels_N)
    assert (len(found.train), len(found.test), found.train.classes) == (18, 8, 2)
    assert found.val is found.test
    assert told == [("features of training images 100 %", 0.0), ("features of validation images 100 %", 0.0)]


def test_a_head_on_features_trains_as_the_whole_network() -> None:
    whole, split = Frozen(), Frozen()
    expected = fit(whole, splits(), RECIPE, epochs=5, seed=7, clock=wall_clock())
    head = head_of(split)
    assert head is split.fc
    found = fit(head, features_of(split, splits(), lambda *_: None), RECIPE, epochs=5, seed=7, clock=wall_clock())
    assert found.values_by_epoch("train_loss") == pytest.approx(expected.values_by_epoch("train_loss"), rel=1e-5)
    for one, other in zip(whole.state_dict().values(), split.state_dict().values(), strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("what", ["everything is trained", "nothing is", "no parts"])
def test_a_network_without_a_head_of_its_own_is_refused(what: str) -> None:
    model: nn.Module = Frozen().requires_grad_(requires_grad=what == "everything is trained")
    if what == "no parts":
        model = nn.Linear(2, 2)
    with pytest.raises(UsageError) as caught:
        head_of(model)
    assert str(caught.value) == (
        "--cache-features works only if all layers except the head are frozen, as in mobilenet_v2_transfer. "
        "Leave out --cache-features."
    )


def test_a_head_that_takes_two_things_is_refused() -> None:
    class Two(nn.Bilinear):
        pass

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head = Two(4, 4, 2)

        def forward(self, images: Tensor) -> Tensor:
            return torch.as_tensor(self.head(images.flatten(1), images.flatten(1)))

    with pytest.raises(UsageError, match=r"^--cache-features works only if the head takes exactly one tensor\.$"):
        features_of(Model(), splits(), lambda *_: None)


class After(Frozen):
    """Does something with the scores of its last layer."""

    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images).log_softmax(dim=1)


class Before(Frozen):
    """Never calls its last layer as a layer."""

    def forward(self, images: Tensor) -> Tensor:
        return nn.functional.linear(images.flatten(1)[:, : self.fc.in_features], self.fc.weight, self.fc.bias)


@pytest.mark.parametrize("kind", [After, Before])
def test_a_network_that_is_more_than_its_head_is_refused(kind: type[Frozen]) -> None:
    with pytest.raises(UsageError) as caught:
        features_of(kind(), splits(), lambda *_: None)
    assert str(caught.value) == (
        "--cache-features works only if the model returns the output of its last layer, called once. "
        "Leave out --cache-features."
    )


def test_computing_features_can_be_stopped_after_a_batch() -> None:
    heard: list[str] = []
    with pytest.raises(StoppedError) as caught:
        features_of(Frozen(), splits(), lambda text, _: heard.append(text), stop=lambda: True)
    assert str(caught.value) == "Stopped while features were computed. Resuming computes them again."
    assert heard == ["features of training images 100 %"]


def test_equal_parts_share_features_and_test_is_on_demand() -> None:
    given = splits()
    same = Splits(train=given.train, val=given.train, test=given.test)
    found = features_of(Frozen(), same, lambda *_: None, test=False)
    assert found.val is found.train
    assert found.test is given.test
