"""A training that was stopped anywhere and gone on with ends as one that never stopped, bit for bit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from cnnbench.clock import Clock, FakeTime
from cnnbench.data.batches import Augmentation, Split, Splits
from cnnbench.spec import DEFAULT_RECIPE, CnnbenchError, Recipe, UsageError
from cnnbench.training.loop import StoppedError
from cnnbench.training.resume import FileKeeper, Identity, state_path
from cnnbench.training.state import FitResult
from tests.training.fits import fit

RECIPE = replace(DEFAULT_RECIPE, batch_size=4, learning_rate=0.05)
IDENTITY = Identity(
    model="m",
    dataset="d",
    data=("18 images",),
    recipe=RECIPE,
    variant="eager",
    device="cpu",
    processes=1,
    deterministic=False,
    seed=7,
    threads=1,
    torch="2.11.0",
)
EPOCHS = 3
STEPS = 5  # of an epoch of 18 images


def made(count: int, seed: int) -> Split:
    augment_rng = torch.Generator().manual_seed(seed)
    labels = torch.randint(2, (count,), generator=augment_rng)
    images = torch.randint(256, (count, 1, 4, 4), generator=augment_rng, dtype=torch.uint8)
    return Split(images_NCHW=images, labels_N=labels, classes=2)


def splits() -> Splits:
    train = replace(made(18, 1), augmentation=Augmentation(flip=True, padding=1))
    return Splits(train=train, val=made(8, 2), test=made(8, 3))


class Counted(nn.Module):
    """Has dropout and batch statistics, and counts its training passes."""

    def __init__(self, time: FakeTime) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.body = nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 2))
        self.time, self.steps = time, 0

    def forward(self, images: Tensor) -> Tensor:
        if self.training:
            self.steps += 1
            self.time.advance(1.0)
        return torch.as_tensor(self.body(images.to(torch.float32) / 255))


def train(
    model: Counted, recipe: Recipe, path: Path | None = None, *, resume: bool = True, stop_at: int | None = None
) -> FitResult:
    def stop() -> bool:
        return model.steps == stop_at

    identity = replace(IDENTITY, recipe=recipe)
    keeper = None if path is None else FileKeeper(path, identity, epochs=EPOCHS, resume=resume, stop=stop)
    return fit(model, splits(), recipe, epochs=EPOCHS, seed=7, clock=model.time.clock(), keeper=keeper)


def same(one: nn.Module, other: nn.Module) -> bool:
    return all(map(torch.equal, one.state_dict().values(), other.state_dict().values()))


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
@pytest.mark.parametrize("shuffled", [True, False])
@pytest.mark.parametrize("stop_at", [1, 4, 5, 6, 14, 15])
def test_a_stop_anywhere_changes_nothing(tmp_path: Path, optimizer: str, stop_at: int, *, shuffled: bool) -> None:
    recipe = replace(RECIPE, optimizer="adam" if optimizer == "adam" else "sgd", shuffled=shuffled)
    whole, first, second = (Counted(FakeTime()) for _ in range(3))
    expected = train(whole, recipe)
    path = tmp_path / "m.state.safetensors"
    with pytest.raises(StoppedError) as caught:
        train(first, recipe, path, stop_at=stop_at)
    assert first.steps == stop_at
    epoch, step = divmod(stop_at - 1, STEPS)
    assert str(caught.value) == f"Stopped in epoch {epoch + 1} of 3 after step {step + 1}."
    found = train(second, recipe, path)
    assert second.steps == EPOCHS * STEPS - stop_at
    assert same(whole, second)
    assert found.epochs == expected.epochs
    assert same(whole, first) is (stop_at == EPOCHS * STEPS)


def test_a_kill_costs_the_epoch_in_flight_only(tmp_path: Path) -> None:
    whole, first, second = (Counted(FakeTime()) for _ in range(3))
    train(whole, RECIPE)
    path = tmp_path / "m.state.safetensors"

    class KilledError(Exception):
        pass

    def die(_: object) -> None:
        if first.steps > STEPS + 2:
            raise KilledError

    hook = first.register_forward_hook(lambda *_: die(None))
    with pytest.raises(KilledError):
        train(first, RECIPE, path)
    hook.remove()
    train(second, RECIPE, path)
    assert second.steps == 2 * STEPS
    assert same(whole, second)


def test_without_resume_it_begins_anew(tmp_path: Path) -> None:
    path = tmp_path / "m.state.safetensors"
    with pytest.raises(StoppedError):
        train(Counted(FakeTime()), RECIPE, path, stop_at=7)
    again = Counted(FakeTime())
    train(again, RECIPE, path, resume=False)
    assert again.steps == EPOCHS * STEPS


def test_training_is_only_asked_to_stop_every_so_often() -> None:
    asked: list[int] = []
    time = FakeTime()
    model = Counted(time)

    class Never:
        def restore(self, _: object) -> None: ...

        def save(self, _: object) -> None: ...

        def stop(self) -> bool:
            asked.append(model.steps)
            return False

    clock: Clock = replace(time.clock())
    fit(model, splits(), RECIPE, epochs=1, seed=7, clock=clock, keeper=Never())
    assert asked == [1, 2, 3, 4, 5]
    asked.clear()
    slow = replace(clock, now_ns=lambda: clock.now_ns() // 40)  # a step takes 25 ms by this clock
    fit(model, splits(), RECIPE, epochs=1, seed=7, clock=slow, keeper=Never())
    assert len(asked) == 1


Change = Callable[[Identity], Identity]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda i: replace(i, seed=8), "seed: 7, not 8"),
        (lambda i: replace(i, model="n"), "model: m, not n"),
        (lambda i: replace(i, threads=2), "threads: 1, not 2"),
        (lambda i: replace(i, device="cuda"), "device: cpu, not cuda"),
        (lambda i: replace(i, frozen_weights="4f"), "frozen_weights: , not 4f"),
        (lambda i: replace(i, recipe=replace(RECIPE, batch_size=2)), "batch_size in its recipe: 4, not 2"),
        (lambda i: replace(i, data=("9 images",)), "data: ('18 images',), not ('9 images',)"),
    ],
)
def test_another_training_is_not_gone_on_with(tmp_path: Path, change: Change, said: str) -> None:
    path = tmp_path / "m.state.safetensors"
    with pytest.raises(StoppedError):
        train(Counted(FakeTime()), RECIPE, path, stop_at=7)
    keeper = FileKeeper(path, change(IDENTITY), epochs=EPOCHS, resume=True, stop=lambda: False)
    model = Counted(FakeTime())
    with pytest.raises(UsageError) as caught:
        fit(model, splits(), RECIPE, epochs=EPOCHS, seed=7, clock=model.time.clock(), keeper=keeper)
    assert str(caught.value) == (
        f"The training in {path} was started with another {said}. Use the original value, or start without --resume."
    )


@pytest.mark.parametrize(("stop_at", "epochs"), [(7, 1), (12, 2)])
def test_a_training_is_not_cut_short_by_going_on(tmp_path: Path, stop_at: int, epochs: int) -> None:
    path = tmp_path / "m.state.safetensors"
    with pytest.raises(StoppedError):
        train(Counted(FakeTime()), RECIPE, path, stop_at=stop_at)
    keeper = FileKeeper(path, IDENTITY, epochs=epochs, resume=True, stop=lambda: False)
    model = Counted(FakeTime())
    with pytest.raises(UsageError) as caught:
        fit(model, splits(), RECIPE, epochs=epochs, seed=7, clock=model.time.clock(), keeper=keeper)
    assert str(caught.value) == (
        f"The training in {path} is already in epoch {epochs + 1}, but --epochs is {epochs}. "
        "Use at least the original number of epochs, or start without --resume."
    )


def test_an_epoch_is_kept_before_it_is_validated(tmp_path: Path) -> None:
    path = tmp_path / "m.state.safetensors"
    whole, first, second = (Counted(FakeTime()) for _ in range(3))
    train(whole, RECIPE)

    class EndedError(Exception):
        pass

    def end(model: nn.Module, *_: object) -> None:
        if not model.training:
            raise EndedError

    hook = first.register_forward_hook(end)
    with pytest.raises(EndedError):
        train(first, RECIPE, path)
    hook.remove()
    train(second, RECIPE, path)
    assert second.steps == (EPOCHS - 1) * STEPS
    assert same(whole, second)


@pytest.mark.parametrize("content", [b"", b"nonsense" * 20])
def test_a_damaged_file_is_no_training(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "m.state.safetensors"
    path.write_bytes(content)
    with pytest.raises(UsageError, match=f"^{path} is not a training that can be resumed: .*without --resume\\.$"):
        train(Counted(FakeTime()), RECIPE, path)


def test_a_file_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    path = tmp_path / "file" / "m.state.safetensors"
    with pytest.raises(CnnbenchError, match=f"^Training in progress cannot be saved in {path}: "):
        train(Counted(FakeTime()), RECIPE, path)


def test_a_finished_training_is_forgotten(tmp_path: Path) -> None:
    path = state_path(tmp_path / "m.safetensors")
    assert path == tmp_path / "m.state.safetensors"
    model = Counted(FakeTime())
    train(model, RECIPE, path)
    assert [file.name for file in tmp_path.iterdir()] == ["m.state.safetensors"]
    FileKeeper(path, IDENTITY, epochs=EPOCHS, resume=True, stop=lambda: False).forget()
    assert list(tmp_path.iterdir()) == []
