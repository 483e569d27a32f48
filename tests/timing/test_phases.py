"""Rates that change, records within epochs, layers that are unfrozen, and what pages do to losses and statistics."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from cnnbench.clock import FakeTime, wall_clock
from cnnbench.data.batches import Augmentation, Splits
from cnnbench.spec import Recipe
from cnnbench.training.loop import StoppedError, fit_phases
from cnnbench.training.resume import FileKeeper
from cnnbench.training.state import FitResult, Phase, StepSeen, one_cycle
from tests.training.fits import fit
from tests.training.test_resume import IDENTITY, Counted, made, same, splits
from tests.training.test_resume import RECIPE as SMALL_BATCHES

STEPS = 5  # of an epoch of 18 images by fours
ONE_CYCLE = replace(SMALL_BATCHES, one_cycle=True)


def test_the_rate_rises_for_three_tenths_and_falls_to_nothing() -> None:
    assert [round(one_cycle(step, 10), 4) for step in range(10)] == [
        *(0.1667, 0.5, 0.8333),
        *(0.9286, 0.7857, 0.6429, 0.5, 0.3571, 0.2143, 0.0714),
    ]
    assert max(one_cycle(step, 1000) for step in range(1000)) == pytest.approx(1.0, abs=0.005)


def test_the_rate_is_set_before_each_step_over_all_epochs() -> None:
    result = fit(Counted(FakeTime()), splits(), ONE_CYCLE, epochs=2, seed=7, clock=wall_clock())
    rate = SMALL_BATCHES.learning_rate
    assert result.values_by_epoch("learning_rate") == pytest.approx((rate * one_cycle(4, 10), rate * one_cycle(9, 10)))


def first_layer(model: Counted) -> nn.Linear:
    layer = model.body[1]
    assert isinstance(layer, nn.Linear)
    return layer


def phases(model: Counted, recipe: Recipe) -> tuple[Phase, Phase]:
    first_layer(model).requires_grad_(requires_grad=False)
    slower = replace(recipe, learning_rate=0.001)
    return (
        Phase(model=model, splits=splits(), recipe=recipe, epochs=2),
        Phase(model=model, splits=splits(), recipe=slower, epochs=1, unfreeze=True),
    )


def train(model: Counted, recipe: Recipe, path: Path | None = None, stop_at: int | None = None) -> FitResult:
    identity = replace(IDENTITY, recipe=recipe)
    keeper = None
    if path is not None:
        keeper = FileKeeper(path, identity, epochs=3, resume=True, stop=lambda: model.steps == stop_at)
    return fit_phases(phases(model, recipe), seed=7, clock=model.time.clock(), log_every=2, keeper=keeper)


def test_layers_unfreeze_at_lower_rate_after_head_training() -> None:
    model = Counted(FakeTime())
    frozen = first_layer(model).weight.detach().clone()
    moved: list[bool] = []
    model.register_forward_hook(lambda *_: moved.append(not torch.equal(first_layer(model).weight, frozen)))
    result = train(model, SMALL_BATCHES)
    assert result.values_by_epoch("learning_rate") == (0.05, 0.05, 0.001)
    assert [(seen.epoch, seen.epochs) for seen in result.epochs] == [(1, 3), (2, 3), (3, 3)]
    assert not any(moved[: 2 * STEPS])
    assert moved[-1]


@pytest.mark.parametrize("recipe", [ONE_CYCLE, replace(ONE_CYCLE, optimizer="adam")], ids=["sgd", "adam"])
@pytest.mark.parametrize("stop_at", [1, 5, 6, 10, 11, 12, 15])
def test_a_stop_in_any_phase_changes_nothing(tmp_path: Path, stop_at: int, recipe: Recipe) -> None:
    whole, first, second = (Counted(FakeTime()) for _ in range(3))
    expected = train(whole, recipe)
    path = tmp_path / "m.state.safetensors"
    with pytest.raises(StoppedError):
        train(first, recipe, path, stop_at)
    found = train(second, recipe, path)
    assert second.steps == 3 * STEPS - stop_at
    assert same(whole, second)
    assert found == expected


def test_step_records_come_at_intervals_and_change_nothing() -> None:
    plain, looked = Counted(FakeTime()), Counted(FakeTime())
    expected = fit_phases(phases(plain, SMALL_BATCHES), seed=7, clock=plain.time.clock())
    found = train(looked, SMALL_BATCHES)
    assert same(plain, looked)
    assert found.epochs == expected.epochs  # validation is not among epoch_s either
    assert expected.steps == ()
    assert [seen.step for seen in found.steps] == [2, 4, 5, 7, 9, 10, 12, 14, 15]
    assert found.steps[2].val_top1 == found.epochs[0].val_top1
    assert found.steps[2].val_loss == found.epochs[0].val_loss
    first = found.steps[:3]
    weighed = [pair[0] * pair[1] for pair in zip((seen.train_loss for seen in first), (8, 8, 2), strict=True)]
    assert sum(weighed) / 18 == pytest.approx(found.epochs[0].train_loss)


class Timed(nn.Module):
    """Costs a second for each training pass and a hundred for each evaluation pass."""

    def __init__(self, time: FakeTime) -> None:
        super().__init__()
        self.time, self.body = time, nn.Linear(16, 2)

    def forward(self, images: Tensor) -> Tensor:
        self.time.enqueue(1.0 if self.training else 100.0)
        return torch.as_tensor(self.body(images.to(torch.float32).flatten(1)))


def test_validation_within_an_epoch_is_not_timed() -> None:
    time = FakeTime()
    phase = Phase(model=Timed(time), splits=splits(), recipe=SMALL_BATCHES, epochs=1)
    result = fit_phases((phase,), seed=0, clock=time.clock(), log_every=1)
    assert result.values_by_epoch("epoch_s") == (5.0,)
    assert len(result.steps) == 5


def test_step_window_may_exceed_loss_check_interval() -> None:
    data = Splits(train=made(300, 1), val=made(8, 2), test=made(8, 3))
    phase = Phase(model=Counted(FakeTime()), splits=data, recipe=replace(SMALL_BATCHES, batch_size=2), epochs=1)
    result = fit_phases((phase,), seed=0, clock=wall_clock(), log_every=60)
    assert [seen.step for seen in result.steps] == [60, 120, 150]
    assert isinstance(result.steps[0], StepSeen)


def test_losses_are_divided_once_more_where_the_page_does_that() -> None:
    usual, divided = Counted(FakeTime()), Counted(FakeTime())
    expected = train(usual, SMALL_BATCHES)
    found = train(divided, replace(SMALL_BATCHES, divides_losses=True))
    assert same(usual, divided)
    for quantity in ("train_loss", "val_loss"):
        assert found.values_by_epoch(quantity) == pytest.approx(
            [loss / 4 for loss in expected.values_by_epoch(quantity)]
        )
    assert [seen.val_loss for seen in found.steps] == pytest.approx([seen.val_loss / 4 for seen in expected.steps])
    assert found.values_by_epoch("train_top1") == expected.values_by_epoch("train_top1")


@pytest.mark.parametrize("moves", [False, True])
def test_frozen_statistics_move_only_if_recipe_says(*, moves: bool) -> None:
    torch.manual_seed(0)
    frozen = nn.BatchNorm1d(16).requires_grad_(requires_grad=False)
    model = nn.Sequential(nn.Flatten(), frozen, nn.Linear(16, 2))
    recipe = replace(SMALL_BATCHES, frozen_statistics_move=moves)
    data = splits()
    train, val = (
        replace(part, images_NCHW=part.images_NCHW.float(), augmentation=None) for part in (data.train, data.val)
    )
    floats = Splits(train=train, val=val, test=val)
    fit(model, floats, recipe, epochs=1, seed=0, clock=wall_clock())
    assert bool(frozen.running_mean is not None and frozen.running_mean.any()) is moves


def test_validation_pictures_vary_only_if_recipe_says() -> None:
    data = splits()
    shown = Splits(train=data.train, val=replace(data.val, augmentation=Augmentation(padding=3)), test=data.test)
    still = replace(SMALL_BATCHES, learning_rate=0.0)
    usual = fit(Counted(FakeTime()), shown, still, epochs=1, seed=7, clock=wall_clock())
    plain = fit(Counted(FakeTime()), data, still, epochs=1, seed=7, clock=wall_clock())
    changed = fit(Counted(FakeTime()), shown, replace(still, augments_all=True), epochs=1, seed=7, clock=wall_clock())
    assert usual.values_by_epoch("val_loss") == plain.values_by_epoch("val_loss")
    assert changed.values_by_epoch("val_loss") != plain.values_by_epoch("val_loss")
