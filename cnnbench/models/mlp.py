"""Fully connected classifiers of MNIST digits."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from cnnbench.models.published import printed
from cnnbench.spec import Erratum, ModelSpec, Recipe

if TYPE_CHECKING:
    from torch import nn


def _perceptron() -> nn.Module:
    from torch import nn

    return nn.Sequential(  # 1x28x28
        nn.Flatten(),  # 784
        nn.Linear(784, 10),  # 10
        nn.LogSoftmax(dim=1),
    )


def _mlp(dim: int = 1) -> nn.Module:
    from torch import nn

    return nn.Sequential(  # 1x28x28
        nn.Flatten(),  # 784
        nn.Linear(784, 100),  # 100
        nn.ReLU(),
        nn.Linear(100, 10),  # 10
        nn.LogSoftmax(dim=dim),
    )


def _printed_mlp() -> nn.Module:
    return _mlp(dim=0)


def _mlp_256() -> nn.Module:
    from torch import nn

    return nn.Sequential(  # 1x28x28
        nn.Flatten(),  # 784
        nn.Linear(784, 256),  # 256
        nn.ReLU(),
        nn.Linear(256, 10),  # 10
    )


MNIST_RECIPE = Recipe(
    dataset="mnist",
    transform="none",
    loss="nll",
    optimizer="adam",
    learning_rate=0.01,
    batch_size=64,
    epochs=5,
    shuffled=False,
)

MNIST_AS_PRINTED = replace(MNIST_RECIPE, divides_losses=True)

LOSS_DIVIDED_TWICE = Erratum(
    where="mslearn, train_epoch, train_long and validate",
    mistake="the sum of the batches' mean losses is divided by the number of samples, too small by about the batch",
    corrected="mean loss over samples",
)

_DATA_ERRATA = (
    Erratum(where="mslearn 2.1", mistake="6,000 training and 1,000 test images", corrected="60,000 and 10,000 images"),
    Erratum(where="mslearn 2", mistake="announces the first 8 images and draws seven", corrected="seven images"),
    Erratum(
        where="mslearn 3.1",
        mistake="prints softmax([-1, 1, 2]) as [0.035, 0.25, 0.705]",
        corrected="[0.035, 0.259, 0.705]",
    ),
    Erratum(where="mslearn 3.4", mistake="LogSoftmax() without a dimension", corrected="dimension 1, the classes"),
)

_MLP_ERRATA = (
    Erratum(
        where="mslearn 3.5, 3.6",
        mistake="log-softmax over dimension 0, the images of a batch",
        corrected="dimension 1, the classes",
    ),
    Erratum(
        where="mslearn 3.5",
        mistake="784x100 + 100 + 100x10 + 10 is given as 78,500 parameters",
        corrected="79,510; 78,500 is the first layer alone",
    ),
)

SPECS = (
    ModelSpec(
        name="perceptron",
        family="mlp",
        source="mslearn 3.1",
        input_shape=(1, 28, 28),
        classes=10,
        build=_perceptron,
        params=7_850,
        trainable_params=7_850,
        macs=7_840,
        mult_adds=7_850,
        recipe=MNIST_RECIPE,
        printed=(
            *printed(
                train_top1=(0.893, 0.910, 0.913, 0.915, 0.916),
                val_top1=(0.894, 0.899, 0.899, 0.897, 0.897),
            ),
            *printed(
                "divided by the batch once too often",
                train_loss=(0.006, 0.005, 0.005, 0.005, 0.005),
                val_loss=(0.006, 0.006, 0.006, 0.006, 0.006),
            ),
            *printed("first call, chapter 3.2", train_top1_first=0.8927666666666667),
            *printed(
                "first call, chapter 3.2, divided by the batch once too often", train_loss_first=0.005937494913736979
            ),
            *printed("first call, chapter 3.3", val_top1_first=0.8942),
            *printed(
                "first call, chapter 3.3, divided by the batch once too often", val_loss_first=0.005853596115112305
            ),
        ),
        errata=(*_DATA_ERRATA, LOSS_DIVIDED_TWICE),
        printed_recipe=MNIST_AS_PRINTED,
    ),
    ModelSpec(
        name="mlp",
        family="mlp",
        source="mslearn 3.5, 3.6",
        input_shape=(1, 28, 28),
        classes=10,
        build=_mlp,
        params=79_510,
        trainable_params=79_510,
        macs=79_400,
        mult_adds=79_510,
        recipe=MNIST_RECIPE,
        printed=(
            *printed(params=79_510, trainable_params=79_510, non_trainable_params=0, mult_adds_m=0.08),
            *printed(input_mb=0.00, forward_mb=0.00, params_mb=0.32, total_mb=0.32),
            *printed(layer_params=(78_500, 1_010)),
            *printed("Flatten Linear ReLU LogSoftmax", layer_shapes=(784, 100, 100, 10, 10)),
        ),
        deviations=("log-softmax over dimension 1; the page takes dimension 0",),
        errata=(*_MLP_ERRATA, LOSS_DIVIDED_TWICE),
        printed_recipe=MNIST_AS_PRINTED,
        printed_build=_printed_mlp,
    ),
    ModelSpec(
        name="mlp_256",
        family="mlp",
        source="tudui, the example of a fully connected Sequential",
        input_shape=(1, 28, 28),
        classes=10,
        build=_mlp_256,
        params=203_530,
        trainable_params=203_530,
        macs=203_264,
        mult_adds=203_530,
        recipe=replace(MNIST_RECIPE, loss="cross_entropy"),
        deviations=(
            "a Flatten comes first, so that it takes images; the page gives it vectors of 784",
            "the page trains it nowhere: the recipe is that of the mslearn MLP with cross-entropy on the scores",
        ),
    ),
)
