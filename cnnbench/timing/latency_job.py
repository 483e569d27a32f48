"""Prepare the work of a latency cell, passes or training steps, and check its output once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cnnbench.spec import DEFAULT_RECIPE, Case, InvalidError, ModelSpec
from cnnbench.timing.work import InferencePasses, TrainingSteps, random_inputs
from cnnbench.training.scoring import main_logits
from cnnbench.training.step import optimizer_for, training_mode
from cnnbench.variants import Prepared

if TYPE_CHECKING:
    import torch

    from cnnbench.timing.loop import Work


def inference(spec: ModelSpec, case: Case, prepared: Prepared) -> Work:
    """Return the passes of an `infer` case; nothing has been called yet, so the first call compiles.

    Inputs have the shape (batch, channels, height, width), are normally distributed, and are seeded by the case.
    """
    del spec
    prepared.model.eval()
    for parameter in prepared.model.parameters():
        # Autocast keeps only the casts of weights that require a gradient; it would cast frozen ones in every pass.
        parameter.requires_grad_(parameter.is_floating_point())
    return InferencePasses(prepared.call, _inputs(case, prepared), renew=lambda: _inputs(case, prepared))


def _inputs(case: Case, prepared: Prepared) -> list[torch.Tensor]:
    return [prepared.place(images) for images in random_inputs((case.batch_size, *case.input_shape), case.seed)]


def training(spec: ModelSpec, case: Case, prepared: Prepared) -> Work:
    """Return the steps of a `train` case, with made-up labels and the recipe's loss and optimiser.

    Inputs are the same as for inference.
    """
    import torch
    from torch.nn import functional

    recipe = spec.recipe or DEFAULT_RECIPE
    training_mode(prepared.model)
    criterion = functional.nll_loss if recipe.loss == "nll" else functional.cross_entropy
    # Labels (batch,) need the number of outputs. The untimed first call makes them, and all later steps use them.
    labels: list[torch.Tensor] = []

    def loss(images: torch.Tensor) -> torch.Tensor:
        with prepared.context():  # entered in every step: a kept cast would hold the weights before the last step
            scores = main_logits(prepared.call(images)).float()
        if not labels:  # the first call shows the number of classes
            labels.append(torch.arange(len(scores), device=scores.device) % scores.shape[1])
        return criterion(scores, labels[0])

    # Small gradients would become zero in fp16; bf16 has the range of fp32 and needs no scaler.
    scaler = torch.amp.GradScaler(case.device) if case.variant.precision == "amp_fp16" else None
    return TrainingSteps(
        loss=loss, inputs=_inputs(case, prepared), optimizer=optimizer_for(prepared.model, recipe), scaler=scaler
    )


def check_first(value: object) -> tuple[int, ...]:
    """Check the scores, or the loss, of the first call, and return their shape.

    Raises:
        InvalidError: the value contains NaN or infinity.
        UnsupportedError: the value is neither a loss nor scores.
    """
    import torch

    tensor = value if isinstance(value, torch.Tensor) and value.dim() == 0 else main_logits(value)
    if not bool(tensor.isfinite().all()):
        raise InvalidError("the output holds NaN or infinity on normally distributed input")
    return tuple(tensor.shape)


def check_later(work: Work, shape: tuple[int, ...]) -> None:
    """Check that the last timed pass gave what the first one did: finite scores of the same `shape`.

    Raises:
        InvalidError: it gave something else, so that samples time other work than what was checked.
    """
    if not isinstance(work, InferencePasses) or work.output is None:
        return
    scores, work.output = main_logits(work.output), None
    if tuple(scores.shape) != shape:
        raise InvalidError(f"the shape of the output changed from {shape} to {tuple(scores.shape)} in later passes")
    if not bool(scores.isfinite().all()):
        raise InvalidError("the output holds NaN or infinity in later passes, but not in the first one")
