"""Score a model on labelled images: top-1, top-5, by class, and the confusion between classes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, is_dataclass

import torch
from torch import Tensor, nn

from cnnbench.data.batches import Split, batches
from cnnbench.spec import UnsupportedError, is_image

# Largest numbers of images and pixels in a batch if the caller sets no size: 256 images of 64x64, or 20 of 224x224.
# For these 20, the outputs of VGG-16's first layers take half a gigabyte. The size changes speed and memory only.
EVALUATION_BATCH = 256
EVALUATION_PIXELS = 2**20

# Number of ranges of confidence for the calibration error, as in the paper that made it common.
BINS = 15

_TOP = 5
_LOGITS_DIMENSIONS = 2


@dataclass(frozen=True, kw_only=True, slots=True)
class Scores:
    """Results of a model on a split.

    `top5_correct` is None if there are no more than five classes. `loss` is the mean over the images, None if the
    caller gave no loss. `class_correct` and `class_total` are by class. `calibration_error` is the difference between
    the share of right predictions and the confidence in them. It is the mean over `BINS` equal ranges of confidence,
    weighted by images (expected calibration error; Guo et al. 2017, arXiv:1706.04599).

    `predicted` is the class given to each image, in order. `confusion` has a row for each true class and a column for
    each predicted one. A model with more outputs than the dataset has classes gets one more column, for all outputs
    beyond.
    """

    correct: int
    tested: int
    top1: float
    top5_correct: int | None
    class_correct: tuple[int, ...]
    class_total: tuple[int, ...]
    confusion: tuple[tuple[int, ...], ...]
    loss: float | None = None
    calibration_error: float = 0.0
    predicted: tuple[int, ...] = ()


# Mean loss of a batch, from scores (N, classes) and labels (N).
Loss = Callable[[Tensor, Tensor], Tensor]


def main_logits(output: object) -> Tensor:
    """Return the classifier's scores (images, outputs) from the output of a model.

    The output is a tensor, or holds it: as `logits`, as the first tensor of two dimensions in a tuple, or as the only
    one in a dictionary or dataclass.

    Raises:
        UnsupportedError: the output contains no tensor of that shape, or several.
    """
    # Torchvision's GoogLeNet and Inception v3 return named tuples in training mode, transformers a dataclass.
    logits = output.get("logits", output) if isinstance(output, Mapping) else getattr(output, "logits", output)

    if isinstance(logits, tuple | list) and logits:
        flat = [one for one in logits if isinstance(one, Tensor) and one.ndim == _LOGITS_DIMENSIONS]
        logits = flat[0] if flat else logits[0]

    if isinstance(logits, Mapping) or is_dataclass(logits):
        held = logits if isinstance(logits, Mapping) else {f.name: getattr(logits, f.name) for f in fields(logits)}
        flat = [one for one in held.values() if isinstance(one, Tensor) and one.ndim == _LOGITS_DIMENSIONS]
        logits = flat[0] if len(flat) == 1 else None

    if not isinstance(logits, Tensor):
        raise UnsupportedError(
            f"The model returns {type(output).__name__}, without `logits` or a single tensor of images x classes."
        )
    if logits.ndim != _LOGITS_DIMENSIONS:
        shape = "x".join(map(str, logits.shape))
        raise UnsupportedError(f"The model's output has the shape {shape}, but a classifier's is images x classes.")
    return logits


def score(
    model: nn.Module,
    split: Split,
    *,
    batch_size: int | None = None,
    loss: Loss | None = None,
    augment_rng: torch.Generator | None = None,
    on_progress: Callable[[float], None] = lambda _: None,
) -> Scores:
    """Return the scores of `model` on `split`, which lies on the model's device as the model needs it.

    Images are augmented only with `augment_rng`. The model is left in evaluation mode. `on_progress` gets the share
    that is done after every batch.
    """
    size = batch_size or fitting_batch(split)
    classes = split.classes
    model.eval()
    # Counts of (true class, predicted class), row by row; the last column is for outputs beyond the classes.
    pairs = torch.zeros(classes * (classes + 1), dtype=torch.int64)
    in_top = 0
    width = 0
    lost = torch.zeros((), dtype=torch.float64, device=split.labels_N.device)
    confidences: list[Tensor] = []
    predictions: list[Tensor] = []

    with torch.no_grad():
        for at, (images, labels) in enumerate(batches(split, size, augment_rng=augment_rng), start=1):
            logits = main_logits(model(images))
            width = logits.shape[1]
            best = logits.argmax(dim=1)
            # The probability of the predicted class, in fp32 because half precision is too coarse for it.
            confidences.append(logits.float().softmax(dim=1).gather(1, best[:, None])[:, 0])
            predictions.append(best)
            predicted = best.clamp(max=classes)
            pairs += torch.bincount(labels * (classes + 1) + predicted, minlength=len(pairs)).cpu()
            # A model with fewer than five outputs has all of them in its top.
            top = logits.topk(min(_TOP, width), dim=1).indices
            in_top += int((top == labels[:, None]).sum())
            # The loss is a mean over the batch, and the last batch may be smaller.
            if loss is not None:
                lost += loss(logits, labels) * len(labels)
            on_progress(min(1.0, at * size / len(split)))

    table = pairs.reshape(classes, classes + 1)
    hits = table.diagonal()
    correct, tested = int(hits.sum()), len(split)

    return Scores(
        correct=correct,
        tested=tested,
        top1=correct / tested,
        top5_correct=in_top if classes > _TOP else None,
        class_correct=tuple(hits.tolist()),
        class_total=tuple(table.sum(dim=1).tolist()),
        confusion=tuple(tuple(row) for row in table[:, : min(width, classes + 1)].tolist()),
        loss=None if loss is None else float(lost) / tested,
        calibration_error=calibration_error(torch.cat(confidences), torch.cat(predictions) == split.labels_N),
        predicted=tuple(torch.cat(predictions).tolist()),
    )


def fitting_batch(split: Split) -> int:
    """Return the largest batch size within `EVALUATION_BATCH` images and `EVALUATION_PIXELS` pixels, at least 1."""
    shape = split.images_NCHW.shape[1:] if split.view is None else split.view.input_shape
    height, width = shape[1:] if is_image(tuple(shape)) else (1, 1)  # features are small
    return max(1, min(EVALUATION_BATCH, EVALUATION_PIXELS // (height * width)))


def calibration_error(confidences_N: Tensor, right_N: Tensor) -> float:  # noqa: N803  # a tensor's axes are part of its name
    """Return the expected calibration error of predictions, right or not, from their confidences in [0, 1]."""
    confidences = confidences_N.double()
    bins = (confidences * BINS).ceil().long().sub(1).clamp(0, BINS - 1)
    # The sum of (right - confidence) in a range is its gap times its images, so dividing by all images weights it.
    gaps = torch.zeros(BINS, dtype=torch.float64, device=confidences.device)
    gaps.index_add_(0, bins, right_N.double() - confidences)
    return float(gaps.abs().sum()) / len(confidences)
