"""Test the check of scores on a variant that computes wrongly, on one laid out wrongly, and on a right one (V14)."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from cnnbench.clock import wall_clock
from cnnbench.inspection.numerics import check_layout, run
from cnnbench.jobs import Assignment, Job
from cnnbench.models import MODELS
from cnnbench.selftest import Found, Setting
from cnnbench.spec import Budget, Case, InvalidError
from cnnbench.variants import parse_variant, prepare

# The model, and the factor by which one of its weights is wrong.
MODEL = "lenet"
OFF = 1.01


class _WrongWhenLast(nn.Conv2d):
    """A convolution with a wrong kernel: one weight counts 1 % too much if the weights are channels last."""

    def forward(self, images: Tensor) -> Tensor:
        """Return the convolution of `images`, NCHW."""
        # Weights that are contiguous in both layouts do not count as channels last.
        weight = self.weight
        if weight.is_contiguous(memory_format=torch.channels_last) and not weight.is_contiguous():
            weight = weight.clone()
            weight[0, 0, 0, 0] *= OFF
        scores: Tensor = nn.functional.conv2d(images, weight, self.bias)
        return scores


def judge_scores(part: str, setting: Setting) -> Found:
    """Return whether the check judges `part` rightly, with the error and what is allowed (V14)."""
    if part == "wrong strides":
        return _strides(setting)

    # The kernel is wrong only under channels_last. bf16 is coarse but right, so the check must accept it.
    variant, accepted = ("bf16", True) if part == "plain bf16" else ("channels_last", False)
    case = _case(variant, setting.seed)
    error, allowed = _errors(case, wrong=not accepted)
    return Found(
        measured=f"error of the scores of {MODEL} against fp64, over what is allowed: {part}",
        values=(error, allowed),
        shown=f"{error / allowed:.3g} ({error:.2g} of {allowed:.2g})",
        bound="at most 1: accepted" if accepted else "above 1: rejected",
        holds=(error <= allowed) is accepted,
    )


def _case(variant: str, seed: int) -> Case:
    return Case(
        model=MODEL,
        variant=parse_variant(variant, device="cpu", threads=1),
        task="infer",
        device="cpu",
        batch_size=8,
        input_shape=MODELS[MODEL].input_shape,
        role="numerics",
        seed=seed,
        budget=Budget(total_s=60.0, timeout_s=60.0),
    )


def _build(*, wrong: bool) -> nn.Module:
    model = MODELS[MODEL].build()
    # The first layer is replaced by one with equal weights, so that nothing but its kernel is wrong.
    if wrong:
        assert isinstance(model, nn.Sequential)
        first = model[0]
        assert isinstance(first, nn.Conv2d)
        bad = _WrongWhenLast(first.in_channels, first.out_channels, (5, 5))
        bad.load_state_dict(first.state_dict())
        model[0] = bad
    return model


def _errors(case: Case, *, wrong: bool) -> tuple[float, float]:
    """Return the error of the scores of `case`, and the largest error that is allowed."""
    # The check builds the model, so the seed of its weights is set just before.
    torch.manual_seed(case.seed)
    outcome = run(
        Assignment(
            spec=MODELS[MODEL],
            job=Job(case=case, scratch=""),
            build=lambda: _build(wrong=wrong),
            clock=wall_clock(),
            on_message=lambda *_: None,
        )
    )

    values = {m.quantity: m.samples[0] for m in outcome.measurements}
    return values["max_relative_error"], values["numerics_allowed"]


def _strides(setting: Setting) -> Found:
    """Return whether the check notices an input, and weights, that were left in the default layout."""
    case = _case("channels_last", setting.seed)
    right = prepare(_build(wrong=False), case.variant, "cpu")

    # In each wrong case one of the two stays in the default layout (NCHW), although the variant asks for channels last.
    as_given = replace(right, place=lambda images: images)
    unchanged = replace(right, model=_build(wrong=False))
    rejected = [_is_rejected(prepared, case) for prepared in (as_given, unchanged, right)]
    return Found(
        measured="channels_last with its input, or its weights, in another layout: rejected; and laid out rightly",
        values=tuple(map(float, rejected)),
        shown=", ".join("rejected" if no else "accepted" for no in rejected),
        bound="rejected, rejected, accepted",
        holds=rejected == [True, True, False],
    )


def _is_rejected(prepared: object, case: Case) -> bool:
    try:
        check_layout(prepared, case)  # type: ignore[arg-type]
    except InvalidError:
        return True
    return False
