"""scikit-learn's handwritten digits: real scans that come with the library, so nothing is downloaded."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cnnbench.data.dataset import Counts, DatasetSpec, Fast, OnProgress, Read, Source, built_in_source
from cnnbench.spec import Shape

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from cnnbench.data.dataset import LabelledImages

# Stored pixels are whole numbers from 0 to 16: the number of 4x4 scanned points that are ink.
CLASSES = 10
WHITEST = 16.0

VALIDATION_FOLD = 3
TEST_FOLD = 4
FOLDS = 5

# Epochs on digits if the user gives none.
#
# The tutorials train for 3 to 20 epochs on 50,000 to 60,000 images. So few epochs of 1,079 images are only a small
# share of those optimiser steps, and models would be judged half trained. This was tried with the built-in models
# from a perceptron to LeNet, two seeds each. After 30 epochs, validation accuracy is the same as after 40, within the
# noise of a few images; after 10 epochs, some models are 10 points lower.
DIGITS_EPOCHS = 30

# The most optimiser steps on digits if the user gives no epochs. It keeps a recipe with batch size 1 near the others.
DIGITS_STEPS = 8_000


def read(_source: Source, _wanted: Shape, _on_progress: OnProgress) -> Read:
    """Return the fixed splits: of every five images in stored order, three train, one validates and one tests.

    Image i is a training image if i % 5 is 0, 1 or 2, a validation image if it is 3, and a test image if it is 4. This
    never changes, so any two runs have results for the same images. The stored order mixes writers, so one writer's
    digits are in all splits: accuracies are higher than for the handwriting of new writers.

    Images are float32 in [0, 1] of shape (images, 1, 8, 8); labels are int64.
    """
    import numpy as np
    from sklearn.datasets import load_digits

    from cnnbench.data.dataset import LabelledImages

    # The library stores (images, 8, 8), without the axis of channels.
    bunch = load_digits()
    images = (bunch.images.astype(np.float32) / np.float32(WHITEST))[:, None]
    labels = bunch.target.astype(np.int64)

    fold = np.arange(len(labels)) % FOLDS

    def part(chosen: npt.NDArray[np.bool_]) -> LabelledImages:
        return LabelledImages(images_NCHW=images[chosen], labels_N=labels[chosen])

    return Read(train=part(fold < VALIDATION_FOLD), val=part(fold == VALIDATION_FOLD), test=part(fold == TEST_FOLD))


# Chosen without a search: with 1,079 images every training run ends within seconds.
FAST = Fast(optimizer="adam", learning_rate=0.01, batch_size=32, epochs=15)


SPEC = DatasetSpec(
    name="digits",
    classes=CLASSES,
    class_names=tuple("0123456789"),
    shape=(1, 8, 8),
    counts=Counts(train=1079, val=359, test=359),
    source="E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits (UCI, 1998), as in scikit-learn",
    description="1,797 scanned handwritten digits, 8x8, grey values 0 to 16; enlarged to each model's input",
    look=built_in_source,
    read=read,
    epochs=DIGITS_EPOCHS,
    steps=DIGITS_STEPS,
    fast=FAST,
)
