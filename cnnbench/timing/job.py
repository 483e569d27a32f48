"""Make ready what a latency cell times: passes for inference, steps for training, with the output checked once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cnnbench.spec import DEFAULT_RECIPE, Case, InvalidError, ModelSpec
from cnnbench.timing.work import InferencePasses, TrainingSteps, random_inputs
from cnnbench.training.evaluate import main_logits
from cnnbench.training.step import optimizer_for, training_mode
from cnnbench.variants import Prepared

if TYPE_CHECKING:
    import torch

    from cnnbench.timing.loop import Work


def inference(spec: ModelSpec, case: Case, prepared: Prepared) -> Work:
    """Return the passes of an `infer` case; nothing has been called yet, so the first call compiles.

    Inputs are normally distributed, (batch, channels, height, width), seeded by the case.
    """
    del spec
    prepared.model.eval()
    for parameter in prepared.model.parameters():
        # Autocast keeps casts only of weights that may get a gradient; frozen ones would be cast in every pass.
        parameter.requires_grad_(parameter.is_floating_point())
    return InferencePasses(prepared.call, _inputs(case, prepared))


def _inputs(case: Case, prepared: Prepared) -> list[torch.Tensor]:
    return [prepared.place(images) for images in random_inputs((case.batch_size, *case.input_shape), case.seed)]


def training(spec: ModelSpec, case: Case, prepared: Prepared) -> Work:
    """Return the steps of a `train` case, with made-up labels and the recipe's loss and optimiser.

    Inputs are as for inference.
    """
    import torch
    from torch.nn import functional

    recipe = spec.recipe or DEFAULT_RECIPE
    training_mode(prepared.model)
    criterion = functional.nll_loss if recipe.loss == "nll" else functional.cross_entropy
    labels: list[torch.Tensor] = []

    def loss(images: torch.Tensor) -> torch.Tensor:
        with prepared.context():  # in every step anew: a cast that is kept would be of the weights before the last step
            scores = main_logits(prepared.call(images)).float()
        if not labels:  # the first call tells how many classes there are
            labels.append(torch.arange(len(scores), device=scores.device) % scores.shape[1])
        return criterion(scores, labels[0])

    scaler = torch.amp.GradScaler(case.device) if case.variant.precision == "amp_fp16" else None
    return TrainingSteps(
        loss=loss, inputs=_inputs(case, prepared), optimizer=optimizer_for(prepared.model, recipe), scaler=scaler
    )


def check_first(value: object) -> None:
    """Look at the scores, or the loss, of the first call.

    Raises:
        InvalidError: they hold NaN or infinity.
        UnsupportedError: they are no scores.
    """
    import torch

    tensor = value if isinstance(value, torch.Tensor) and value.dim() == 0 else main_logits(value)
    if not bool(tensor.isfinite().all()):
        raise InvalidError("the output holds NaN or infinity on normally distributed input")
