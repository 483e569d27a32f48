"""Errors of variants against fp64: what passes, what is rejected, and what is no result at all."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import prune

from cnnbench.clock import FakeTime
from cnnbench.inspection import numerics
from cnnbench.inspection.numerics import calibrate, largest_error
from cnnbench.inspection.sample_images import real_images
from cnnbench.jobs import Assignment, Job
from cnnbench.record import Outcome
from cnnbench.spec import Case, Device, InvalidError, ModelSpec, UnsupportedError, Variant
from cnnbench.variants import Prepared, parse_variant, prepare
from tests.factories import case

SHAPE = (3, 12, 12)


def make_model() -> nn.Module:
    torch.manual_seed(5)
    return nn.Sequential(
        nn.Conv2d(3, 16, 3), nn.BatchNorm2d(16), nn.ReLU(), nn.Conv2d(16, 16, 3, groups=16), nn.Conv2d(16, 8, 1),
        nn.ReLU(), nn.Flatten(), nn.Linear(512, 10),
    )  # fmt: skip


def asked(variant: str = "eager", *, batch_size: int = 4) -> Case:
    parsed = parse_variant(variant, device="cpu", threads=1)
    return replace(case("small", parsed, batch_size=batch_size, shape=SHAPE), role="numerics")


def assignment(what: Case, build: Callable[[], nn.Module] = make_model) -> Assignment:
    spec = ModelSpec(name="small", family="none", source="made here", input_shape=SHAPE, build=build)
    clock = FakeTime(tick_ns=1_000_000).clock()  # a slow machine must not end the images early
    job = Job(case=what, scratch="")
    return Assignment(job=job, spec=spec, build=build, clock=clock, on_message=lambda *_: None)


def values(outcome: Outcome) -> dict[str, float]:
    return {m.quantity: m.samples[0] for m in outcome.measurements}


def passed(outcome: Outcome) -> bool:
    found = values(outcome)
    return found["max_relative_error"] <= found["numerics_allowed"]


def changed(monkeypatch: pytest.MonkeyPatch, name: str, change: Callable[[Prepared], Prepared]) -> None:
    """Let `prepare` make of the variant `name` what `change` makes of it."""

    def made(model: nn.Module, variant: Variant, device: Device) -> Prepared:
        prepared = prepare(model, variant, device)
        return change(prepared) if variant.name == name and variant.channels_last else prepared

    monkeypatch.setattr(numerics, "prepare", made)


# Verdicts


@pytest.mark.parametrize("batch_size", [1, 3, 100])
@pytest.mark.parametrize(
    "variant", ["eager", "channels_last", "bf16", "amp", "channels_last+bf16", "channels_last+amp"]
)
def test_right_variants_pass(variant: str, batch_size: int) -> None:
    outcome = numerics.run(assignment(asked(variant, batch_size=batch_size)))
    assert passed(outcome)
    assert values(outcome)["max_relative_error"] > 1e-8


def test_eager_may_be_off_four_times_as_far_as_it_is() -> None:
    found = values(numerics.run(assignment(asked())))
    assert found == {
        "max_relative_error": found["max_relative_error"],
        "numerics_allowed": max(4 * found["max_relative_error"], 4 * 2.0**-23),
        "top1_agreed": 64.0,
        "top1_compared": 64.0,
    }
    assert 1e-8 < found["max_relative_error"] < 1e-5


def test_bf16_may_be_off_three_times_as_far_as_bf16_is() -> None:
    found = values(numerics.run(assignment(asked("bf16"))))
    assert found["numerics_allowed"] == max(3 * found["max_relative_error"], 4 * 2.0**-7)
    assert 1e-4 < found["max_relative_error"] < 0.1


def test_one_weight_that_is_off_by_one_per_cent_is_rejected(monkeypatch: pytest.MonkeyPatch) -> None:
    def off(prepared: Prepared) -> Prepared:
        weight = prepared.model.get_parameter("0.weight")
        weight.data[3, 1, 1, 1] *= 1.01
        return prepared

    changed(monkeypatch, "channels_last", off)
    assert not passed(numerics.run(assignment(asked("channels_last"))))


def test_pictures_end_when_fp64_has_taken_its_time() -> None:
    slow = FakeTime(tick_ns=400_000_000)  # a look at the clock after each image
    outcome = numerics.run(replace(assignment(asked()), clock=slow.clock()))
    assert values(outcome)["top1_compared"] == 3.0


def test_the_first_output_of_a_tuple_counts() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = make_model()

        def forward(self, images: Tensor) -> tuple[Tensor, None]:
            return self.inner(images), None

    assert values(numerics.run(assignment(asked(), Two))) == values(numerics.run(assignment(asked())))


# Layout


def test_a_weight_in_another_layout_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def undone(prepared: Prepared) -> Prepared:
        return replace(prepared, model=prepared.model.to(memory_format=torch.contiguous_format))

    changed(monkeypatch, "channels_last", undone)
    with pytest.raises(InvalidError) as caught:
        numerics.run(assignment(asked("channels_last")))
    assert str(caught.value) == (
        "channels_last asks for channels_last, but the weight 0.weight of shape (16, 3, 3, 3) has the strides "
        "(27, 9, 3, 1), so it was measured in another layout"
    )


def test_an_input_in_another_layout_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    changed(monkeypatch, "channels_last", lambda prepared: replace(prepared, place=lambda images: images))
    with pytest.raises(InvalidError) as caught:
        numerics.run(assignment(asked("channels_last")))
    assert str(caught.value) == (
        "channels_last asks for channels_last, but the input of shape (4, 3, 12, 12) has the strides "
        "(432, 144, 12, 1), so it was measured in another layout"
    )


# What is no result


def test_scores_that_are_no_numbers_name_the_side(monkeypatch: pytest.MonkeyPatch) -> None:
    scores = torch.ones(2, 3, dtype=torch.float64)
    with pytest.raises(InvalidError, match=r"^the scores of eager in bf16 hold NaN or infinity on real images$"):
        largest_error("eager in bf16", scores / 0, scores)
    with pytest.raises(InvalidError, match=r"^the scores of fp64 hold NaN or infinity on real images$"):
        largest_error("the variant", scores, scores * float("nan"))


def test_the_worst_picture_is_the_error() -> None:
    scores_64 = torch.tensor([[3.0, 4.0], [0.0, 10.0], [0.0, 0.0]], dtype=torch.float64)
    scores = torch.tensor([[3.0, 4.5], [0.0, 10.2], [0.0, 0.0]], dtype=torch.float64)
    assert largest_error("the variant", scores, scores_64) == pytest.approx(0.1)


def normed() -> nn.Module:
    return nn.Sequential(torch.nn.utils.weight_norm(nn.Conv2d(3, 4, 3)), nn.Flatten(), nn.Linear(400, 2))


def pruned() -> nn.Module:
    return nn.Sequential(nn.Flatten(), prune.l1_unstructured(nn.Linear(432, 2), "weight", amount=0.5))  # type: ignore[no-untyped-call]


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize("build", [normed, pruned])
def test_model_that_cannot_be_copied_is_built_again(build: Callable[[], nn.Module]) -> None:
    with pytest.raises(RuntimeError, match="deepcopy"):
        deepcopy(build())
    found = values(numerics.run(assignment(asked("channels_last"), build)))
    assert 0.0 <= found["max_relative_error"] < 1e-5


class Filter(nn.Module):
    """A filter of frequencies, whose weights are complex."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(3, 12, 7, dtype=torch.cfloat))
        self.last = nn.Linear(432, 2)

    def forward(self, images: Tensor) -> Tensor:
        filtered = torch.fft.irfft2(torch.fft.rfft2(images) * self.weight)
        scores: Tensor = self.last(filtered.flatten(1))
        return scores


def test_complex_weights_keep_their_imaginary_parts() -> None:
    found = values(numerics.run(assignment(asked("channels_last"), Filter)))
    assert found["max_relative_error"] < 1e-4
    assert found["numerics_allowed"] < 1e-4


class Restless(nn.Module):
    """A model whose dropout works in evaluation, too."""

    def __init__(self) -> None:
        super().__init__()
        self.last = nn.Linear(432, 2)

    def forward(self, images: Tensor) -> Tensor:
        scores: Tensor = self.last(torch.dropout(images.flatten(1), 0.2, train=True))
        return scores


def test_dropout_that_is_left_on_is_named() -> None:
    with pytest.raises(InvalidError, match=r"^the scores of the same images differ by [\d.]+ from pass to pass, as"):
        numerics.run(assignment(asked("channels_last"), Restless))


class Stubborn(nn.Module):
    """A model that takes fp32 whatever it is cast to."""

    def __init__(self) -> None:
        super().__init__()
        self.last = nn.Linear(432, 2)

    def forward(self, images: Tensor) -> Tensor:
        scores: Tensor = self.last(images.flatten(1).float())
        return scores


def test_a_network_that_insists_on_fp32_is_unsupported() -> None:
    with pytest.raises(UnsupportedError, match=r"^The model does not run in fp64, so its error is unknown: "):
        numerics.run(assignment(asked(), Stubborn))


# BatchNorm


def test_calibrating_sets_batch_statistics_and_nothing_else() -> None:
    model = make_model().eval()
    before = {name: value.clone() for name, value in model.named_parameters()}
    calibrate(model, SHAPE, 7)
    inner = model.get_submodule("0")(real_images(SHAPE, 64, 7))
    part = model.get_submodule("1")
    assert isinstance(part, nn.BatchNorm2d)
    torch.testing.assert_close(part.running_mean, inner.mean(dim=(0, 2, 3)))
    torch.testing.assert_close(part.running_var, inner.var(dim=(0, 2, 3)))
    assert part.momentum == 0.1
    assert not any(one.training for one in model.modules())
    assert all(torch.equal(before[name], value) for name, value in model.named_parameters())


def test_trained_statistics_are_left_alone() -> None:
    kept = make_model()
    numerics.run(assignment(replace(asked(), weights="default"), lambda: kept))
    assert torch.equal(kept.get_buffer("1.running_mean"), torch.zeros(16))


# Compiled


def test_a_compiled_variant_tells_what_compiling_made(monkeypatch: pytest.MonkeyPatch) -> None:
    def made(model: nn.Module, variant: Variant, device: Device) -> Prepared:
        prepared = prepare(model, replace(variant, compile_mode=None), device)
        return replace(prepared, call=torch.compile(model, backend="eager")) if variant.compile_mode else prepared

    torch._dynamo.reset()
    monkeypatch.setattr(numerics, "prepare", made)
    found = values(numerics.run(assignment(asked("compile"))))
    assert list(found) == [
        "compile_warm_s", "graphs", "graph_breaks", "recompiles",
        "max_relative_error", "numerics_allowed", "top1_agreed", "top1_compared",
    ]  # fmt: skip
    assert (found["graphs"], found["graph_breaks"], found["recompiles"]) == (1, 0, 0)
    assert found["compile_warm_s"] == 0.001  # a look at the clock before and one after


def test_fp32_only_network_still_reports_what_compiling_made(monkeypatch: pytest.MonkeyPatch) -> None:
    def made(model: nn.Module, variant: Variant, device: Device) -> Prepared:
        prepared = prepare(model, replace(variant, compile_mode=None), device)
        return replace(prepared, call=torch.compile(model, backend="eager"))

    torch._dynamo.reset()
    monkeypatch.setattr(numerics, "prepare", made)
    outcome = numerics.run(assignment(asked("compile"), Stubborn))
    found = values(outcome)
    assert list(found) == ["compile_warm_s", "graphs", "graph_breaks", "recompiles"]
    assert (found["graphs"], found["graph_breaks"], found["recompiles"]) == (1, 0, 0)
    (note,) = outcome.notes
    assert note.startswith("The model does not run in fp64, so its error is unknown: ")


# Scores of nothing


def test_scores_that_are_all_zero_have_no_error() -> None:
    class Zero(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.last = nn.Linear(432, 2)
            nn.init.zeros_(self.last.weight)
            nn.init.zeros_(self.last.bias)

        def forward(self, images: Tensor) -> Tensor:
            scores: Tensor = self.last(images.flatten(1))
            return scores

    note = "every score is 0 with these weights, so there is no error to show"
    assert numerics.run(assignment(asked(), Zero)) == Outcome(notes=(note,))
