"""What a network takes pictures for: the classes with the highest scores, and their names."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from cnnbench import data
from cnnbench.data.batches import PICTURE_CHANNELS, View
from cnnbench.data.pictures import decode
from cnnbench.models.vgg import IMAGENET_MEAN, IMAGENET_STD
from cnnbench.models.weights import PUBLISHED_CLASSES
from cnnbench.record import Measurement, Outcome
from cnnbench.runners import Assignment
from cnnbench.runners.evaluate import main_logits
from cnnbench.spec import ModelSpec, UnsupportedError
from cnnbench.variants import prepare


def run(assignment: Assignment) -> Outcome:
    """Return for each of the assignment's pictures the `top` classes with the highest scores, best first.

    `top_class` are the classes, picture after picture, `top_share` the network's confidence in them (softmax), and the
    notes the names of these classes, "" where none is known. Pictures are resized and cut as photographs of a dataset
    are, and normalised as the network's recipe does, or as torchvision's published weights expect.

    Raises:
        UnsupportedError: the network's input is no picture, or a file cannot be decoded; the message names it.
    """
    case, spec = assignment.case, assignment.spec
    if len(spec.input_shape) != 3 or spec.input_shape[0] not in PICTURE_CHANNELS:  # noqa: PLR2004  # (C, H, W)
        raise UnsupportedError(f"The input of {spec.name} is no picture, which has 1 or 3 channels.")
    prepared = prepare(assignment.build(), case.variant, case.device)
    prepared.model.eval()
    images = torch.from_numpy(np.stack([_pixels(path, spec) for path in assignment.images]))
    with torch.no_grad(), prepared.context():
        scores = main_logits(prepared.call(prepared.place(_view(spec)(images)))).float().cpu()
    best = scores.softmax(dim=1).topk(min(assignment.top, scores.shape[1]), dim=1)
    names = class_names(case.dataset, scores.shape[1])
    classes = [int(k) for row in best.indices.tolist() for k in row]
    return Outcome(
        measurements=(
            Measurement(quantity="top_class", samples=tuple(map(float, classes)), units=best.indices.shape[1]),
            Measurement(quantity="top_share", samples=tuple(best.values.flatten().tolist())),
        ),
        notes=tuple(names[k] if k < len(names) else "" for k in classes),
    )


def _pixels(path: str, spec: ModelSpec) -> np.ndarray:
    try:
        return decode(Path(path).read_bytes(), spec.input_shape)
    except Exception as error:  # a damaged file makes Pillow raise nearly anything
        raise UnsupportedError(f"{path} is no picture that can be decoded: {type(error).__name__}.") from error


def _view(spec: ModelSpec) -> View:
    if spec.recipe is not None:
        return View(input_shape=spec.input_shape, mean=spec.recipe.mean, std=spec.recipe.std)
    if spec.pretrained is not None:
        return View(input_shape=spec.input_shape, mean=IMAGENET_MEAN, std=IMAGENET_STD)
    return View(input_shape=spec.input_shape)


def class_names(dataset: str | None, outputs: int) -> tuple[str, ...]:
    """Return the names of the classes: the dataset's, or ImageNet's for a network with as many outputs."""
    if dataset is not None:
        return data.find(dataset).class_names
    if outputs != PUBLISHED_CLASSES:
        return ()
    from torchvision.models import get_model_weights

    return tuple(get_model_weights("resnet18").DEFAULT.meta["categories"])
