"""Predict the classes of images: the highest scores, and their names."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from cnnbench.data.batches import View
from cnnbench.data.decode import decode
from cnnbench.image_types import ImageTransform
from cnnbench.jobs import Assignment
from cnnbench.models.weights import PUBLISHED_CLASSES
from cnnbench.record import Measurement, Outcome
from cnnbench.spec import ModelSpec, UnsupportedError, is_image
from cnnbench.training.recipe_choice import recipe_of
from cnnbench.training.scoring import main_logits
from cnnbench.variants import prepare

# Images in one call: large models need some 100 MB for each.
BATCH = 16


def run(assignment: Assignment) -> Outcome:
    """Return, for each image of the assignment, the `top` classes with the highest scores, best first.

    `top_class` holds the classes, image after image, and `top_share` the model's confidence in them (softmax). The
    notes hold the names of these classes, "" if none is known. Images are resized, cut and
    normalised as in training if the case names its dataset or the model has a recipe. Otherwise they are treated as the
    published weights of torchvision or timm expect.

    Raises:
        UnsupportedError: the model does not take images, or a file cannot be decoded; the message names it.
    """
    case, spec = assignment.case, assignment.spec
    check_takes_images(spec)
    prepared = prepare(assignment.build(), case.variant, case.device)
    prepared.model.eval()
    transform = transform_of(spec) if case.dataset is None else None
    view = view_of_files(spec, transform)
    parts: list[Tensor] = []

    with torch.no_grad(), prepared.context():
        # Decode the files of one batch at a time, so that many files need no more memory.
        for at in range(0, len(assignment.job.images), BATCH):
            pixels = np.stack([pixels_of(path, spec, transform) for path in assignment.job.images[at : at + BATCH]])
            images = prepared.place(view(torch.from_numpy(pixels)))
            parts.append(main_logits(prepared.call(images)).float().cpu())

    # A model may have fewer classes than `top`.
    scores = torch.cat(parts)
    best = scores.softmax(dim=1).topk(min(assignment.job.top, scores.shape[1]), dim=1)

    # With a dataset, the command that shows the classes knows their names.
    names = class_names(scores.shape[1]) if case.dataset is None else ()
    classes = [int(k) for row in best.indices.tolist() for k in row]

    return Outcome(
        measurements=(
            Measurement(
                quantity="top_class", samples=tuple(map(float, classes)), iterations_per_sample=best.indices.shape[1]
            ),
            Measurement(quantity="top_share", samples=tuple(best.values.flatten().tolist())),
        ),
        notes=tuple(names[k] if k < len(names) else "" for k in classes),
    )


def check_takes_images(spec: ModelSpec) -> None:
    """Check that the model takes images.

    Raises:
        UnsupportedError: it takes something else.
    """
    if spec.features_of is not None:
        raise UnsupportedError(
            f"{spec.name} takes the features of {spec.features_of}, not an image. Use 'cnnbench evaluate CHECKPOINT' "
            "to test both together on a dataset."
        )
    if not is_image(spec.input_shape):
        raise UnsupportedError(f"The input of {spec.name} is not an image, because an image has 1 or 3 channels.")


def pixels_of(path: str, spec: ModelSpec, transform: ImageTransform | None = None) -> np.ndarray:
    """Return the bytes (C, H, W) of an image file, resized and cut to the model's input.

    Raises:
        UnsupportedError: the file cannot be decoded.
    """
    try:
        return decode(Path(path).read_bytes(), spec.input_shape, transform)
    except Exception as error:  # a damaged file makes Pillow raise nearly anything
        raise UnsupportedError(f"{path} cannot be decoded as an image: {type(error).__name__}.") from error


def transform_of(spec: ModelSpec) -> ImageTransform | None:
    """Return how published weights of the model expect images; None for a model that is trained by a recipe."""
    if spec.recipe is not None or spec.transform is not None or spec.pretrained is None:
        return spec.transform
    from cnnbench.models.zoo import published_transform

    return published_transform(spec.pretrained)


def view_of_files(spec: ModelSpec, transform: ImageTransform | None) -> View:
    """Return how the model sees image files: normalised as published weights expect, or as in training."""
    normal = recipe_of(spec) if transform is None else transform
    return View(input_shape=spec.input_shape, mean=normal.mean, std=normal.std)


def class_names(outputs: int) -> tuple[str, ...]:
    """Return the names of ImageNet's classes if the model has that many outputs, otherwise none."""
    if outputs != PUBLISHED_CLASSES:
        return ()
    from torchvision.models import get_model_weights

    # All published weights name the same classes, so any model will do.
    return tuple(get_model_weights("resnet18").DEFAULT.meta["categories"])
