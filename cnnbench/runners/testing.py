"""Test weights that are already trained: top-1 and top-5, by class, and what is taken for what."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from cnnbench import data
from cnnbench.data.batches import adapted, view_for
from cnnbench.record import Measurement, Outcome
from cnnbench.runners import Assignment
from cnnbench.runners.evaluate import main_logits, score
from cnnbench.runners.train import DEFAULT_RECIPE
from cnnbench.variants import Prepared, prepare


class _Under(nn.Module):
    """A network under a variant, seen from outside as a network in fp32."""

    def __init__(self, prepared: Prepared) -> None:
        super().__init__()
        self._model = prepared.model
        self._prepared = prepared

    def forward(self, images: Tensor) -> Tensor:
        """Return the scores (pictures, classes) in fp32."""
        with self._prepared.context():
            return main_logits(self._prepared.call(self._prepared.place(images))).float()


def measure_scores(assignment: Assignment) -> Outcome:
    """Return how the network does on the named part of the case's dataset, shown as its recipe shows pictures.

    `class_correct` and `class_total` are by class; `confusion` is (class, predicted), row by row, with one column more
    where the network has outputs beyond the dataset's classes.

    Raises:
        UnsupportedError: the pictures do not fit the network.
    """
    case, spec, part = assignment.case, assignment.spec, assignment.part or "test"
    prepared = prepare(assignment.build(), case.variant, case.device)
    dataset = data.find(case.dataset or "")
    recipe = spec.recipe or DEFAULT_RECIPE
    view = view_for(spec.input_shape, dataset.shape, recipe.mean, recipe.std)
    with torch.no_grad():
        scores = score(_Under(prepared), getattr(adapted(dataset.load(), view, case.device), part))
    found: dict[str, tuple[float, ...]] = {
        "correct": (float(scores.correct),),
        "tested": (float(scores.tested),),
        "top1": (scores.top1,),
        "class_correct": tuple(map(float, scores.class_correct)),
        "class_total": tuple(map(float, scores.class_total)),
        "confusion": tuple(float(n) for row in scores.confusion for n in row),
    }
    if scores.top5_correct is not None:
        found["top5_correct"] = (float(scores.top5_correct),)
    measurements = tuple(Measurement(quantity=quantity, samples=samples) for quantity, samples in found.items())
    return Outcome(measurements=measurements, notes=(f"Tested on the {part} pictures of {dataset.name}.",))
