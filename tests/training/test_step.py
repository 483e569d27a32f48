from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from cnnbench.clock import FakeTime, wall_clock
from cnnbench.data.batches import Split, Splits, batches
from cnnbench.spec import DEFAULT_RECIPE, Recipe, UsageError
from cnnbench.training import loop as fitting
from cnnbench.training import step as train
from cnnbench.training.loop import DivergedError
from cnnbench.training.state import EpochSeen, FitResult
from cnnbench.training.step import Trainer, optimizer_for, training_mode
from cnnbench.variants import parse_variant, prepare
from tests.training.fits import fit

RECIPE = replace(DEFAULT_RECIPE, batch_size=4, learning_rate=0.1)


def made(count: int, seed: int) -> Split:
    """Two classes: dark and bright images of 1x2x2."""
    noise = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % 2
    images = torch.rand(count, 1, 2, 2, generator=noise) * 0.4 + labels.reshape(-1, 1, 1, 1) * 0.6
    return Split(images_NCHW=images, labels_N=labels, classes=2)


def splits(train: int = 18) -> Splits:
    return Splits(train=made(train, 1), val=made(8, 2), test=made(8, 3))


def make_model(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Flatten(), nn.Linear(4, 8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, 2))


def weights(model: nn.Module) -> list[Tensor]:
    return [value.clone() for value in model.state_dict().values()]


def same(one: list[Tensor], other: list[Tensor]) -> bool:
    return all(map(torch.equal, one, other))


def run(model: nn.Module, recipe: Recipe = RECIPE, *, epochs: int = 3, seed: int = 7, train: int = 18) -> FitResult:
    return fit(model, splits(train), recipe, epochs=epochs, seed=seed, clock=wall_clock())


def test_training_learns() -> None:
    result = run(make_model(), epochs=30)
    assert result.values_by_epoch("val_top1")[-1] == 1.0
    assert result.values_by_epoch("train_loss")[-1] < 0.6 * result.values_by_epoch("train_loss")[0]


def test_same_seed_gives_bit_identical_weights() -> None:
    first, second, third = make_model(), make_model(), make_model()
    results = [run(first), run(second)]
    run(third, seed=8)
    assert results[0].values_by_epoch("train_loss") == results[1].values_by_epoch("train_loss")
    assert same(weights(first), weights(second))
    assert not same(weights(first), weights(third))


def test_an_unshuffled_recipe_keeps_the_stored_order() -> None:
    plain = replace(RECIPE, shuffled=False)
    one, other = (nn.Sequential(nn.Flatten(), nn.Linear(4, 2)) for _ in range(2))
    other.load_state_dict(one.state_dict())
    run(one, plain, seed=1)
    run(other, plain, seed=2)
    assert same(weights(one), weights(other))


def test_training_goes_on_from_the_weights_that_are_there() -> None:
    model = make_model()
    run(model, epochs=30)
    assert run(model, epochs=1).values_by_epoch("val_top1") == (1.0,)


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_one_step_by_hand(optimizer: str) -> None:
    recipe = replace(RECIPE, optimizer="adam" if optimizer == "adam" else "sgd", learning_rate=0.25)
    model = nn.Linear(1, 2, bias=False)
    nn.init.zeros_(model.weight)
    loss, correct, count = Trainer(model, recipe).step(torch.ones(1, 1), torch.tensor([0]))
    assert float(loss) == pytest.approx(0.6931472)
    assert (int(correct), count) == (1, 1)
    moved = 0.25 if optimizer == "adam" else 0.125  # Adam's first step is its rate; the gradient is a half
    assert model.weight.flatten().tolist() == pytest.approx([moved, -moved])


def test_nll_and_cross_entropy_agree_behind_log_softmax() -> None:
    one = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
    other = nn.Sequential(nn.Flatten(), nn.Linear(4, 2), nn.LogSoftmax(dim=1))
    other[1].load_state_dict(one[1].state_dict())
    first, second = run(one), run(other, replace(RECIPE, loss="nll"))
    assert first.values_by_epoch("train_loss") == pytest.approx(second.values_by_epoch("train_loss"))


def test_the_mean_loss_is_over_pictures() -> None:
    # nothing moves at rate 0: the loss is ln 2 for every image, whatever the batches
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
    for value in model.parameters():
        nn.init.zeros_(value)
    result = run(model, replace(RECIPE, learning_rate=0.0), epochs=2, train=11)
    assert result.values_by_epoch("train_loss") == pytest.approx((0.6931472, 0.6931472))


class Timed(nn.Module):
    """Costs a second for each training pass and a hundred for each evaluation pass."""

    def __init__(self, time: FakeTime) -> None:
        super().__init__()
        self.time = time
        self.body = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))

    def forward(self, images: Tensor) -> Tensor:
        self.time.enqueue(1.0 if self.training else 100.0)
        return torch.as_tensor(self.body(images))


def test_epoch_time_excludes_validation_and_epochs_are_reported() -> None:
    time = FakeTime()
    told: list[EpochSeen] = []

    def slow_listener(seen: EpochSeen) -> None:
        time.advance(1000.0)
        told.append(seen)

    result = fit(Timed(time), splits(18), RECIPE, epochs=2, seed=0, clock=time.clock(), on_epoch=slow_listener)
    assert result.values_by_epoch("epoch_s") == (5.0, 5.0)
    assert result.values_by_epoch("learning_rate") == (0.1, 0.1)
    assert told == list(result.epochs)
    assert [(seen.epoch, seen.epochs) for seen in told] == [(1, 2), (2, 2)]
    assert result.values_by_epoch("train_img_per_s") == (18 / 5.0, 18 / 5.0)
    assert result.values_by_epoch("data_share") == (0.0, 0.0)


def test_the_data_path_s_share_is_what_making_batches_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    time = FakeTime()

    def slow(*arguments: object, **options: object) -> Iterator[tuple[Tensor, Tensor]]:
        for batch in batches(*arguments, **options):  # type: ignore[arg-type]
            time.advance(0.25)
            yield batch

    monkeypatch.setattr(fitting, "batches", slow)
    result = fit(Timed(time), splits(16), RECIPE, epochs=1, seed=0, clock=time.clock())
    # four steps of a second each on the device; all batches but the first, a quarter each, are made meanwhile
    assert result.values_by_epoch("epoch_s") == (4.25,)
    assert result.values_by_epoch("data_share") == (1.0 / 4.25,)


def test_train_accuracy_and_val_loss_cover_all_pictures() -> None:
    # nothing moves at rate 0, and the weights tell dark from bright by the first pixel
    line = nn.Linear(4, 2)
    model = nn.Sequential(nn.Flatten(), line)
    with torch.no_grad():
        line.weight.copy_(torch.tensor([[0.0] * 4, [9.0, 0.0, 0.0, 0.0]]))
        line.bias.copy_(torch.tensor([0.0, -4.5]))
    result = run(model, replace(RECIPE, learning_rate=0.0), epochs=1, train=11)
    parts = splits(11)
    with torch.no_grad():
        right = int((model(parts.train.images_NCHW).argmax(1) == parts.train.labels_N).sum())
        expected = nn.functional.cross_entropy(model(parts.val.images_NCHW), parts.val.labels_N)
    assert result.values_by_epoch("train_top1") == (right / 11,)
    assert result.values_by_epoch("val_loss") == pytest.approx((float(expected),))


def test_fused_steps_end_near_the_usual_ones() -> None:
    for optimizer in ("adam", "sgd"):
        recipe = replace(RECIPE, optimizer="adam" if optimizer == "adam" else "sgd", learning_rate=0.01)
        fused, plain = make_model(), make_model()
        plain.load_state_dict(fused.state_dict())
        run(fused, recipe, epochs=5)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(train, "optimizer_for", lambda model, recipe, **_: optimizer_for(model, recipe))
            run(plain, recipe, epochs=5)
        assert all(map(torch.allclose, weights(fused), weights(plain)))


@pytest.mark.parametrize(("after", "step"), [(0, 1), (3, 4), (60, 61)])
def test_a_loss_that_is_no_number_stops_with_where_it_was(after: int, step: int) -> None:
    data = splits(80)
    data.train.images_NCHW[after] = float("nan")
    plain = replace(RECIPE, shuffled=False, batch_size=1)
    with pytest.raises(DivergedError) as caught:
        fit(nn.Sequential(nn.Flatten(), nn.Linear(4, 2)), data, plain, epochs=1, seed=0, clock=wall_clock())
    assert str(caught.value) == (
        f"The loss became nan in epoch 1, step {step}, at learning rate 0.1; a lower learning rate may help."
    )


def test_leftover_picture_does_not_stop_batch_normalisation() -> None:
    model = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(4), nn.Linear(4, 2))
    run(model, epochs=1, train=9)
    assert model.state_dict()["1.num_batches_tracked"].item() == 2


def test_frozen_layers_keep_weights_and_statistics() -> None:
    frozen = nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2), nn.Dropout(0.5))
    free = nn.BatchNorm2d(2)
    model = nn.Sequential(frozen.requires_grad_(requires_grad=False), free, nn.Flatten(), nn.Linear(8, 2))
    before, free_before = weights(frozen), weights(free)
    run(model)
    assert same(weights(frozen), before)
    assert not same(weights(free), free_before)
    training_mode(model)
    assert [part.training for part in frozen.modules()] == [False] * 4
    assert (free.training, model.training) == (True, True)


def test_a_network_that_is_frozen_whole_is_refused() -> None:
    with pytest.raises(UsageError) as caught:
        run(make_model().requires_grad_(requires_grad=False))
    assert str(caught.value) == "Every parameter of the model is frozen, so there is nothing to train."


class WithAuxiliary(nn.Module):
    """Returns a second output in training mode, as Inception does."""

    def __init__(self) -> None:
        super().__init__()
        self.main, self.auxiliary = nn.Linear(4, 2), nn.Linear(4, 2)

    def forward(self, images: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        flat = images.flatten(1)
        main = torch.as_tensor(self.main(flat))
        return (main, self.auxiliary(flat)) if self.training else main


def test_auxiliary_outputs_are_left_alone() -> None:
    model = WithAuxiliary()
    before = weights(model.auxiliary)
    result = run(model, epochs=20)
    assert result.values_by_epoch("val_top1")[-1] == 1.0
    assert same(weights(model.auxiliary), before)


@pytest.mark.parametrize("name", ["channels_last", "amp"])
def test_steps_under_a_variant_learn_too(name: str) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 4, 1), nn.ReLU(), nn.Flatten(), nn.Linear(16, 2))
    prepared = prepare(model, parse_variant(name, device="cpu", threads=1), "cpu")
    dtypes: set[tuple[bool, torch.dtype]] = set()
    hook = model[0].register_forward_hook(lambda part, _, output: dtypes.add((part.training, output.dtype)))
    result = fit(model, splits(), RECIPE, epochs=40, seed=7, clock=wall_clock(), prepared=prepared)
    hook.remove()
    assert result.values_by_epoch("val_top1")[-1] == 1.0
    # steps are under the variant, validation is not
    assert dtypes == {(True, torch.bfloat16 if name == "amp" else torch.float32), (False, torch.float32)}
    assert all(parameter.dtype == torch.float32 for parameter in model.parameters())
