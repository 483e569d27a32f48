"""Score a model on labelled images: top-1, top-5, per class, and which class is taken for which."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from cnnbench.data.batches import Split, batches
from cnnbench.spec import UnsupportedError, is_image

# Images and pixels that a batch holds at most where the caller has no wish: 256 images of 64x64, 20 of 224x224, of
# which VGG-16's first layers are half a gigabyte. It changes speed and memory only. Our choice.
EVALUATION_BATCH = 256
EVALUATION_PIXELS = 2**20

# Ranges of confidence for the calibration error: as in the paper that made it common.
BINS = 15

_TOP = 5
_LOGITS_DIMENSIONS = 2


@dataclass(frozen=True, kw_only=True, slots=True)
class Scores:
    """How a model did on a split.

    `top5_correct` is None where there are no more than five classes, `loss` (the mean over the images) where none was
    asked for. `class_correct` and `class_total` are by class. `calibration_error` is how far the share of right
    predictions is from the confidence in them: the mean over `BINS` equal ranges of confidence, by images (expected
    calibration error; Guo et al. 2017, arXiv:1706.04599). `predicted` is the class given to each image, in order.
    `confusion` has a row for each true class and a column for each predicted one; a model with more outputs than
    the dataset has classes gets one more column, for all the outputs beyond.
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


# The mean loss of a batch, from scores (N, classes) and labels (N).
Loss = Callable[[Tensor, Tensor], Tensor]


def main_logits(output: object) -> Tensor:
    """Return the classifier's scores (images, outputs) from what a model returned.

    Models with auxiliary outputs return a tuple: the entry called `logits` counts, or else the first one.

    Raises:
        UnsupportedError: there is no tensor of that shape.
    """
    logits = getattr(output, "logits", output)
    if isinstance(logits, tuple | list) and logits:
        logits = logits[0]
    if not isinstance(logits, Tensor):
        raise UnsupportedError(
            f"The model returns {type(output).__name__}; needed are a tensor, or a tuple that holds one as `logits` "
            "or first."
        )
    if logits.ndim != _LOGITS_DIMENSIONS:
        shape = "x".join(map(str, logits.shape))
        raise UnsupportedError(f"The model's output has the shape {shape}; a classifier's is images x classes.")
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
    """Return the scores of `model` on `split`, which lies on the model's device as the model wants to see it.

    Images are not augmented without `augment_rng`. The model is left in evaluation mode. `on_progress` is told
    the share that is done after every batch.
    """
    size = batch_size or fitting_batch(split)
    classes = split.classes
    model.eval()
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
            confidences.append(logits.float().softmax(dim=1).gather(1, best[:, None])[:, 0])
            predictions.append(best)
            predicted = best.clamp(max=classes)
            pairs += torch.bincount(labels * (classes + 1) + predicted, minlength=len(pairs)).cpu()
            top = logits.topk(min(_TOP, width), dim=1).indices
            in_top += int((top == labels[:, None]).sum())
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
    """Return how many images make a batch of at most `EVALUATION_BATCH` images and `EVALUATION_PIXELS` pixels."""
    shape = split.images_NCHW.shape[1:] if split.view is None else split.view.input_shape
    height, width = shape[1:] if is_image(tuple(shape)) else (1, 1)  # features are small
    return max(1, min(EVALUATION_BATCH, EVALUATION_PIXELS // (height * width)))


def calibration_error(confidences_N: Tensor, right_N: Tensor) -> float:  # noqa: N803  # a tensor's axes are part of its name
    """Return the expected calibration error of confidences in [0, 1] with which predictions were made, right or not."""
    confidences = confidences_N.double()
    bins = (confidences * BINS).ceil().long().sub(1).clamp(0, BINS - 1)
    gaps = torch.zeros(BINS, dtype=torch.float64, device=confidences.device)
    gaps.index_add_(0, bins, right_N.double() - confidences)
    return float(gaps.abs().sum()) / len(confidences)
