"""One training step by a recipe: its loss, its optimiser, and which parts of the model are trained."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from cnnbench.spec import Recipe, UsageError
from cnnbench.training.distributed import ProcessGroup
from cnnbench.training.evaluate import Loss, main_logits
from cnnbench.variants import Prepared


class Trainer:
    """A model, its recipe's loss and its optimiser, ready to make steps.

    Parameters that need no gradient are not given to the optimiser. `prepared` is the model under a variant, None for
    as it is; autocast is entered in every step anew, because a cast that is kept would be of the weights before.
    """

    def __init__(
        self, model: nn.Module, recipe: Recipe, prepared: Prepared | None = None, team: ProcessGroup | None = None
    ) -> None:
        """Make the optimiser anew.

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
        half = prepared is not None and prepared.variant.precision == "amp_fp16"
        self._scaler = torch.amp.GradScaler() if half else None
        self.optimizer = optimizer_for(model, recipe, fused=True)
        self.loss: Loss = functional.nll_loss if recipe.loss == "nll" else functional.cross_entropy

    def step(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, int]:
        """Make one step on a batch; return its mean loss, its right predictions (on the device) and its images.

        In a team these are of this process's part of the batch.
        """
        weight = 1.0
        if self._team is not None:
            share = self._team.share(images, labels)
            images, labels, weight = share.images, share.labels, share.weight
        self.optimizer.zero_grad()
        scores = self._scores(images)
        loss = self.loss(scores, labels)
        self._backward(loss if self._team is None else loss * weight)
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
        """Make the next steps at `rate`."""
        for group in self.optimizer.param_groups:
            group["lr"] = rate

    def learning_rate(self) -> float:
        """Return the rate of the next step."""
        return float(self.optimizer.param_groups[0]["lr"])


def training_mode(model: nn.Module) -> None:
    """Put `model` into training mode, but for the parts whose parameters are all frozen."""
    model.train()
    for part in model.children():
        flags = [p.requires_grad for p in part.parameters()]
        if flags and not any(flags):
            part.eval()
        else:
            training_mode(part)


def optimizer_for(model: nn.Module, recipe: Recipe, *, fused: bool = False) -> torch.optim.Optimizer:
    """Return the recipe's optimiser over the parameters that get a gradient.

    `fused`: all parameters in one kernel, the same sums in less time; else as torch does by default.

    Raises:
        UsageError: there is none.
    """
    chosen = [p for p in model.parameters() if p.requires_grad]
    if not chosen:
        raise UsageError("Every parameter of the model is frozen, so there is nothing to train.")
    one_kernel = True if fused else None
    if recipe.optimizer == "adam":
        return torch.optim.Adam(chosen, lr=recipe.learning_rate, fused=one_kernel)
    return torch.optim.SGD(chosen, lr=recipe.learning_rate, momentum=recipe.momentum, fused=one_kernel)
