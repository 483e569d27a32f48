"""The digit recogniser whose feature maps the tutorial looks at."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cnnbench.spec import Erratum, ModelSpec, Recipe

if TYPE_CHECKING:
    from torch import nn


def _digit_cnn() -> nn.Module:
    from cnnbench.models.digit_cnn_module import DigitCNN

    return DigitCNN()


SPECS = (
    ModelSpec(
        name="digit_cnn",
        family="digit_cnn",
        source="digit-cnn 3.3",
        input_shape=(1, 28, 28),
        classes=10,
        build=_digit_cnn,
        params=207_258,
        trainable_params=207_258,
        macs=441_024,
        mult_adds=446_250,
        recipe=Recipe(
            dataset="mnist",
            transform="none; validation is the first half of the test images, test is the second half",
            halves=True,
            loss="cross_entropy",
            optimizer="sgd",
            learning_rate=0.01,
            momentum=0.9,
            batch_size=64,
            epochs=20,
            shuffled=True,
        ),
        deviations=("the method that returns the feature maps is called feature_maps",),
        errata=(
            Erratum(
                where="digit-cnn 3.1, 3.4",
                mistake="target.clone.detach() and CNN.exec() do not run, and the class that is used is not the one"
                " that is defined",
                corrected="plain tensors and one class, DigitCNN",
            ),
            Erratum(
                where="digit-cnn 3.4",
                mistake="validates when batch_index % 1000 == 0, but an epoch has 938 batches: one point an epoch,"
                " after its first batch",
                corrected="every k steps and at the end of the epoch",
            ),
            Erratum(
                where="digit-cnn 3.4",
                mistake="says that dropout is closed in training",
                corrected="dropout acts in training and not in evaluation",
            ),
            Erratum(
                where="digit-cnn 3.3, 3.4",
                mistake="cross-entropy on log-softmax applies log-softmax twice, which changes nothing",
                corrected="one of them is enough",
            ),
        ),
    ),
)
