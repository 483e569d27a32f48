"""scikit-learn's handwritten digits: real scans that come with the library, so no download and no network."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cnnbench.data.dataset import Counts, DatasetSpec, Fast, OnProgress, Read, Source, built_in
from cnnbench.spec import Shape

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from cnnbench.data.dataset import LabelledImages

# The stored pixels are whole numbers from 0 to 16: how many of 4x4 scanned points are ink.
CLASSES = 10
WHITEST = 16.0

VALIDATION_FOLD = 3
TEST_FOLD = 4
FOLDS = 5

# Epochs on digits where the user gives none.
#
# The tutorials train 3 to 20 epochs on 50,000 to 60,000 images. So few epochs of 1,079 images are a small share of
# those optimiser steps, and would judge the models half trained. Tried with the built-in models from a perceptron
# to LeNet, two seeds each: after 30 epochs validation stands where it stands after 40, within the noise of a few
# images, while after 10 some are 10 points below.
DIGITS_EPOCHS = 30

# Most optimiser steps on digits where the user gives no epochs: what keeps a recipe with batch 1 near the others.
DIGITS_STEPS = 8_000


def read(_source: Source, _wanted: Shape, _on_progress: OnProgress) -> Read:
    """Return the fixed splits: of every five images in stored order three train, one validates, one tests.

    Image i belongs to training where i % 5 is 0, 1 or 2, to validation where it is 3, and to the test where it is 4.
    This never changes, so results of any two runs are about the same images. The stored order mixes writers, so one
    writer's digits are in all splits: accuracies here are higher than for hands never seen before.

    Images are float32 in [0, 1], shape (images, 1, 8, 8); labels are int64.
    """
    import numpy as np
    from sklearn.datasets import load_digits

    from cnnbench.data.dataset import LabelledImages

    bunch = load_digits()
    images = (bunch.images.astype(np.float32) / np.float32(WHITEST))[:, None]
    labels = bunch.target.astype(np.int64)
    fold = np.arange(len(labels)) % FOLDS

    def part(chosen: npt.NDArray[np.bool_]) -> LabelledImages:
        return LabelledImages(images_NCHW=images[chosen], labels_N=labels[chosen])

    return Read(train=part(fold < VALIDATION_FOLD), val=part(fold == VALIDATION_FOLD), test=part(fold == TEST_FOLD))


# A plain choice that was not looked for: with 1,079 images every training ends within seconds.
FAST = Fast(optimizer="adam", learning_rate=0.01, batch_size=32, epochs=15)


SPEC = DatasetSpec(
    name="digits",
    classes=CLASSES,
    class_names=tuple("0123456789"),
    shape=(1, 8, 8),
    counts=Counts(train=1079, val=359, test=359),
    source="E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits (UCI, 1998), as in scikit-learn",
    description="1,797 scanned handwritten digits, 8x8, grey values 0 to 16; enlarged to each model's input",
    look=built_in,
    read=read,
    epochs=DIGITS_EPOCHS,
    steps=DIGITS_STEPS,
    fast=FAST,
)
