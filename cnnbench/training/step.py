"""Do one training step by a recipe: loss, optimiser, and which parts of the model are trained."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from cnnbench.spec import Recipe, UsageError
from cnnbench.training.distributed import ProcessGroup
from cnnbench.training.scoring import Loss, main_logits
from cnnbench.variants import Prepared


class Trainer:
    """A model, its recipe's loss and its optimiser, ready for training steps.

    The optimiser gets only the parameters that require a gradient. `prepared` is the model under a variant, None for
    the plain model. Autocast is entered in every step, because a kept cast would hold the weights before the last step.
    """

    def __init__(
        self, model: nn.Module, recipe: Recipe, prepared: Prepared | None = None, team: ProcessGroup | None = None
    ) -> None:
        """Create a new optimiser and, for fp16, a gradient scaler.

        Raises:
            UsageError: every parameter is frozen.
        """
        self.model = model
        self.recipe = recipe
        self._prepared = prepared
        self._team = team
        self._call: Callable[[Tensor], object] = model if prepared is None else prepared.call
        if team is not None:
            self._call = team.wrap(self._call)

        # Small gradients would become zero in fp16, so the loss is scaled up.
        half = prepared is not None and prepared.variant.precision == "amp_fp16"
        self._scaler = torch.amp.GradScaler() if half else None
        self.optimizer = optimizer_for(model, recipe, fused=True)
        self.loss: Loss = functional.nll_loss if recipe.loss == "nll" else functional.cross_entropy

    def step(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, int]:
        """Do one step on a batch; return its mean loss, right predictions (both on the device) and number of images.

        In a team, they belong to this process's part of the batch.
        """
        weight = 1.0
        if self._team is not None:
            share = self._team.share(images, labels)
            images, labels, weight = share.images, share.labels, share.weight

        self.optimizer.zero_grad()
        scores = self._scores(images)
        loss = self.loss(scores, labels)
        self._backward(loss if self._team is None else loss * weight)

        # With weight 0 this process took part with an image of another one, which must not be counted twice.
        right = (scores.detach().argmax(dim=1) == labels).sum()
        count = len(labels) if weight else 0
        return loss.detach(), right * (count > 0), count

    def _backward(self, loss: Tensor) -> None:
        if self._scaler is None:
            loss.backward()  # type: ignore[no-untyped-call]
            self.optimizer.step()
            return
        self._scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        self._scaler.step(self.optimizer)
        self._scaler.update()

    def _scores(self, images: Tensor) -> Tensor:
        if self._prepared is None:
            return main_logits(self._call(images))
        with self._prepared.context():
            return main_logits(self._call(self._prepared.place(images))).float()

    def set_rate(self, rate: float) -> None:
        """Set the learning rate of the next steps."""
        for group in self.optimizer.param_groups:
            group["lr"] = rate

    def learning_rate(self) -> float:
        """Return the learning rate of the next step."""
        return float(self.optimizer.param_groups[0]["lr"])


def training_mode(model: nn.Module) -> None:
    """Put `model` into training mode, except the parts whose parameters are all frozen."""
    # A part without parameters, such as dropout, trains; a part with frozen and trained layers is searched further.
    model.train()
    for part in model.children():
        flags = [p.requires_grad for p in part.parameters()]
        if flags and not any(flags):
            part.eval()
        else:
            training_mode(part)


def optimizer_for(model: nn.Module, recipe: Recipe, *, fused: bool = False) -> torch.optim.Optimizer:
    """Return the recipe's optimiser over the parameters that require a gradient.

    With `fused`, one kernel updates all parameters: the same sums in less time. Otherwise torch chooses.

    Raises:
        UsageError: every parameter is frozen.
    """
    chosen = [p for p in model.parameters() if p.requires_grad]
    if not chosen:
        raise UsageError("Every parameter of the model is frozen, so there is nothing to train.")

    # With None, torch chooses the implementation; False would select its slow loop over single parameters.
    one_kernel = True if fused else None
    if recipe.optimizer == "adam":
        return torch.optim.Adam(chosen, lr=recipe.learning_rate, fused=one_kernel)
    return torch.optim.SGD(chosen, lr=recipe.learning_rate, momentum=recipe.momentum, fused=one_kernel)
