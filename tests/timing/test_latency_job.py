"""What a latency cell times: the model's mode, its loss and its casts, and a look at the first output."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any, Literal

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode

from cnnbench.spec import Case, Device, InvalidError, ModelSpec, Recipe, Task, UnsupportedError, UsageError
from cnnbench.timing.latency_job import check_first, check_later, inference, training
from cnnbench.timing.work import InferencePasses, TrainingSteps, random_inputs
from cnnbench.variants import parse_variant, prepare
from tests.factories import case

SHAPE = (2, 6, 6)
RECIPE = Recipe(
    dataset="digits",
    transform="pixels in [0, 1]",
    loss="nll",
    optimizer="sgd",
    learning_rate=0.5,
    batch_size=8,
    epochs=1,
    shuffled=True,
)


def make_model() -> nn.Sequential:
    """Return a small model; its second layer's bias is frozen, and it holds a whole number."""
    torch.manual_seed(3)
    made = nn.Sequential(nn.Conv2d(2, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(64, 3), nn.LogSoftmax(dim=1))
    made[3].bias.requires_grad = False
    made.register_parameter("steps", nn.Parameter(torch.zeros(1, dtype=torch.int64), requires_grad=False))
    return made


def spec_with(recipe: Recipe | None) -> ModelSpec:
    return ModelSpec(
        name="small", family="none", source="made here", input_shape=SHAPE, build=make_model, recipe=recipe
    )


def asked(variant: str = "eager", *, task: Task = "infer", device: Device = "cpu", seed: int = 0) -> Case:
    parsed = parse_variant(variant, device=device, threads=1)
    return case("small", parsed, task=task, batch_size=8, shape=SHAPE, seed=seed)


def first_loss(work: Any) -> float:
    return float(work.first())


# Inference


def test_inference_uses_eval_mode_and_unfreezes_weights() -> None:
    prepared = prepare(make_model().train(), asked().variant, "cpu")
    inference(spec_with(None), asked(), prepared)
    assert not any(part.training for part in prepared.model.modules())
    flags = {name: p.requires_grad for name, p in prepared.model.named_parameters()}
    assert flags == {"0.weight": True, "0.bias": True, "3.weight": True, "3.bias": True, "steps": False}


@pytest.mark.parametrize(
    ("variant", "dtype"), [("channels_last", torch.float32), ("channels_last+bf16", torch.bfloat16)]
)
def test_inference_gets_case_inputs_in_variant_layout(variant: str, dtype: torch.dtype) -> None:
    what = asked(variant, seed=9)
    seen: list[Tensor] = []
    prepared = replace(prepare(make_model(), what.variant, "cpu"), call=seen.append)
    inference(spec_with(None), what, prepared).repeat(5)
    expected = [images.to(dtype) for images in random_inputs((8, *SHAPE), 9)]
    assert all(map(torch.equal, seen, [*expected, expected[0]]))
    assert {images.stride() for images in seen} == {(72, 1, 12, 2)}


class Casts(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch leaves its hook untyped
    """Notes the shape of everything that is cast to bf16."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.shapes: list[tuple[int, ...]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is torch.ops.aten._to_copy.default and kwargs.get("dtype") == torch.bfloat16:
            self.shapes.append(tuple(args[0].shape))
        return func(*args, **kwargs)


def test_autocast_casts_weights_once_even_frozen_ones() -> None:
    prepared = prepare(make_model(), asked("amp").variant, "cpu")
    work = inference(spec_with(None), asked("amp"), prepared)
    with torch.no_grad(), prepared.context(), Casts() as casts:
        work.repeat(1)
        once = sorted(casts.shapes)
        casts.shapes.clear()
        work.repeat(1)
    assert once == [(3,), (3, 64), (4,), (4, 2, 3, 3), (8, 2, 6, 6)]
    assert casts.shapes == [(8, 2, 6, 6)]  # the input only


# Training


@pytest.mark.parametrize("loss", ["nll", "cross_entropy", None])
def test_training_applies_recipe_loss_to_cycling_labels(loss: Literal["nll", "cross_entropy"] | None) -> None:
    raw = make_model()[:-1]  # without its last layer, after which both losses are the same
    scores = raw(random_inputs((8, *SHAPE), 0)[0])
    recipe = None if loss is None else replace(RECIPE, loss=loss)
    what = asked(task="train")
    work = training(spec_with(recipe), what, prepare(raw, what.variant, "cpu"))
    criterion = functional.nll_loss if loss == "nll" else functional.cross_entropy
    assert first_loss(work) == criterion(scores, torch.tensor([0, 1, 2, 0, 1, 2, 0, 1])).item()


def by_hand(variant: str, recipe: Recipe, steps: int) -> list[float]:
    """Return the losses of `steps` steps, in which nothing is kept from one to the next but the weights."""
    prepared = prepare(make_model(), asked(variant).variant, "cpu")
    chosen = [p for p in prepared.model.parameters() if p.requires_grad]
    optimizer = torch.optim.SGD(chosen, lr=recipe.learning_rate)
    found = []
    inputs = random_inputs((8, *SHAPE), 0)
    for at in range(steps):
        with prepared.context():
            scores: Any = prepared.call(prepared.place(inputs[at % 4]))
        loss = functional.nll_loss(scores.float(), torch.arange(8) % 3)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        optimizer.zero_grad()
        found.append(loss.item())
    return found


@pytest.mark.parametrize("variant", ["eager", "channels_last", "amp", "bf16"])
def test_every_step_sees_the_weights_of_the_step_before(variant: str) -> None:
    what = asked(variant, task="train")
    work = training(spec_with(RECIPE), what, prepare(make_model(), what.variant, "cpu"))
    found = [first_loss(work) for _ in range(6)]
    assert found == by_hand(variant, RECIPE, 6)
    assert found[4] < found[0]  # the same images again, after four steps


def test_the_context_is_entered_in_every_step_anew() -> None:
    what = asked("amp", task="train")
    prepared = prepare(make_model(), what.variant, "cpu")
    entered: list[int] = []

    def context() -> Any:
        entered.append(1)
        return prepared.context()

    work = training(spec_with(RECIPE), what, replace(prepared, context=context))
    assert entered == []
    work.first()
    work.repeat(3)
    assert len(entered) == 4


def test_training_moves_all_but_frozen_weights() -> None:
    what = asked("amp", task="train")
    prepared = prepare(make_model(), what.variant, "cpu")
    training(spec_with(RECIPE), what, prepared).repeat(2)
    before = dict(make_model().named_parameters())
    moved = {n: not torch.equal(p, before[n]) for n, p in prepared.model.named_parameters()}
    assert moved == {"0.weight": True, "0.bias": True, "3.weight": True, "3.bias": False, "steps": False}
    assert all(p.grad is None for p in prepared.model.parameters())


def test_parts_that_are_all_frozen_stay_in_evaluation_mode() -> None:
    made = nn.Sequential(nn.BatchNorm2d(2), nn.Flatten(), nn.Dropout(0.5), nn.Linear(72, 3))
    made[0].requires_grad_(requires_grad=False)
    what = asked(task="train")
    training(spec_with(None), what, prepare(made.eval(), what.variant, "cpu"))
    assert [part.training for part in made] == [False, True, True, True]


def test_a_network_without_anything_to_train_is_refused() -> None:
    made = make_model().requires_grad_(requires_grad=False)
    what = asked(task="train")
    with pytest.raises(UsageError) as caught:
        training(spec_with(None), what, prepare(made, what.variant, "cpu"))
    assert str(caught.value) == "Every parameter of the model is frozen, so there is nothing to train."


@pytest.mark.parametrize(
    ("variant", "device", "scaled"), [("eager", "cpu", False), ("amp", "cpu", False), ("amp", "cuda", True)]
)
def test_only_fp16_steps_are_scaled(variant: str, device: Device, scaled: bool) -> None:  # noqa: FBT001
    what = asked(variant, task="train", device=device)  # the variant of that device, on the CPU
    work = training(spec_with(RECIPE), what, prepare(make_model(), what.variant, "cpu"))
    assert isinstance(work, TrainingSteps)
    assert (work._scaler is not None) is scaled
    assert math.isfinite(first_loss(work))


class Several(nn.Module):
    """Returns its scores in a tuple, with others after them."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = make_model()

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        scores = self.inner(images)
        return scores, scores * math.nan


def test_the_main_output_of_several_is_trained() -> None:
    what = asked(task="train")
    work = training(spec_with(RECIPE), what, prepare(Several(), what.variant, "cpu"))
    assert first_loss(work) == by_hand("eager", RECIPE, 1)[0]


# The first output

GOOD = torch.zeros(2, 3)


@pytest.mark.parametrize("good", [GOOD, (GOOD, GOOD * math.nan), torch.tensor(0.5)], ids=["scores", "several", "loss"])
def test_a_good_first_output_is_let_through(good: object) -> None:
    check_first(good)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("place", [(0, 0), (1, 2), ()], ids=["first", "last", "loss"])
def test_a_bad_number_anywhere_is_found(bad: float, place: tuple[int, ...]) -> None:
    value = GOOD.clone() if place else torch.tensor(0.0)
    value[place] = bad
    with pytest.raises(InvalidError) as caught:
        check_first(value)
    assert str(caught.value) == "the output holds NaN or infinity on normally distributed input"


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (torch.zeros(2, 3, 4), "The model's output has the shape 2x3x4, but a classifier's is images x classes."),
        (
            None,
            "The model returns NoneType, without `logits` or a single tensor of images x classes.",
        ),
    ],
)
def test_what_is_no_scores_is_unsupported(value: object, message: str) -> None:
    with pytest.raises(UnsupportedError) as caught:
        check_first(value)
    assert str(caught.value) == message


def test_the_output_of_later_passes_must_be_like_the_first() -> None:
    passes = InferencePasses(lambda images: images, [GOOD])
    shape = check_first(passes.first())
    assert shape == (2, 3)
    check_later(passes, shape)  # nothing was timed yet
    for output in (GOOD, (GOOD, None)):
        passes.output = output
        check_later(passes, shape)
    passes.output = GOOD * math.nan
    with pytest.raises(InvalidError, match=r"^the output holds NaN or infinity in later passes, but not in the first"):
        check_later(passes, shape)
    passes.output = torch.zeros(2, 4)
    with pytest.raises(
        InvalidError, match=r"^the shape of the output changed from \(2, 3\) to \(2, 4\) in later passes$"
    ):
        check_later(passes, shape)
