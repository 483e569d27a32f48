"""Evaluate trained weights: top-1 and top-5, by class, confusion, and shifted images."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from cnnbench import data
from cnnbench.data.batches import Split, View, adapt, shift_images
from cnnbench.jobs import Assignment
from cnnbench.quantities import DIRECTIONS
from cnnbench.record import Measurement, Outcome
from cnnbench.training.preprocessing import load_dataset
from cnnbench.training.recipe_choice import recipe_for
from cnnbench.training.scoring import Scores, main_logits, score
from cnnbench.variants import Prepared, prepare

# Pixels to the right and down, for each of `quantity.DIRECTIONS`.
STEPS = {"right": (1, 0), "left": (-1, 0), "down": (0, 1), "up": (0, -1)}


class _Under(nn.Module):
    """A model under a variant that takes and returns fp32 like a plain model."""

    def __init__(self, prepared: Prepared) -> None:
        super().__init__()
        self._model = prepared.model
        self._prepared = prepared

    def forward(self, images: Tensor) -> Tensor:
        """Return the scores (images, classes) in fp32."""
        with self._prepared.context():
            return main_logits(self._prepared.call(self._prepared.place(images))).float()


def measure_scores(assignment: Assignment) -> Outcome:
    """Return the scores of the model on the named part of the case's dataset, with the images as its recipe shows them.

    `class_correct` and `class_total` are by class. `confusion` is (class, predicted), row by row, with one more column
    if the model has outputs beyond the dataset's classes. `predicted` is by image. With a `shift`, all images are moved
    by 1, 2 ... pixels, and `shift_correct` contains the number of right ones for each direction in turn.

    Raises:
        UnsupportedError: the images do not fit the model.
    """
    case, spec, part = assignment.case, assignment.spec, assignment.job.part or "test"
    prepared = prepare(assignment.build(), case.variant, case.device)
    dataset = data.find(case.dataset or "")
    on_progress = assignment.on_message
    recipe = recipe_for(spec, dataset, case.recipe)
    # Reading has no share in the progress of the case, so its messages report 0.
    shown = load_dataset(
        spec,
        dataset,
        data_dir=assignment.job.data_dir,
        recipe=recipe,
        on_progress=lambda text, _: on_progress(text, 0.0),
    )
    split: Split = getattr(shown.splits, part)
    model = _Under(prepared)

    with torch.no_grad():
        scores = score(
            model, adapt(split, shown.view, case.device), on_progress=lambda share: on_progress("testing", share)
        )
        found = _quantities(scores)
        # Stored images are shifted before the view resizes them, so one pixel is one of the dataset's.
        if assignment.job.shift:
            found["shift_correct"] = _score_moved(model, split, shown.view, assignment)

    measurements = tuple(Measurement(quantity=quantity, samples=samples) for quantity, samples in found.items())
    return Outcome(measurements=measurements, notes=(f"Tested on the {part} images of {dataset.name}.", *shown.notes))


def _quantities(scores: Scores) -> dict[str, tuple[float, ...]]:
    # A measurement is a flat tuple of floats, so the confusion loses its rows. There are as many as classes.
    found: dict[str, tuple[float, ...]] = {
        "correct": (float(scores.correct),),
        "tested": (float(scores.tested),),
        "top1": (scores.top1,),
        "calibration_error": (scores.calibration_error,),
        "class_correct": tuple(map(float, scores.class_correct)),
        "class_total": tuple(map(float, scores.class_total)),
        "confusion": tuple(float(n) for row in scores.confusion for n in row),
        "predicted": tuple(map(float, scores.predicted)),
    }

    # With five classes or fewer, every prediction would be in the top five.
    if scores.top5_correct is not None:
        found["top5_correct"] = (float(scores.top5_correct),)

    return found


def _score_moved(model: nn.Module, split: Split, view: View, assignment: Assignment) -> tuple[float, ...]:
    """Return the number of right images for each direction and number of pixels."""
    found: list[float] = []
    for at, (right, down) in enumerate(STEPS[name] for name in DIRECTIONS):
        for pixels in range(1, assignment.job.shift + 1):
            share = (at + pixels / (assignment.job.shift + 1)) / len(DIRECTIONS)
            assignment.on_message(f"moved by {pixels} pixels", share)
            moved = shift_images(split, right=right * pixels, down=down * pixels)
            found.append(float(score(model, adapt(moved, view, assignment.case.device)).correct))
    return tuple(found)
