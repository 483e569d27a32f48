"""Convolutional classifiers of CIFAR-10 images, each a plain sequence of layers."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from cnnbench.spec import Erratum, ModelSpec, Recipe

if TYPE_CHECKING:
    from torch import nn


def _cifar_cnn() -> nn.Module:
    from torch import nn

    return nn.Sequential(  # 3x32x32
        nn.Conv2d(3, 32, 3, padding=1),  # 32x32x32
        nn.ReLU(),
        nn.MaxPool2d(2),  # 32x16x16
        nn.Conv2d(32, 64, 3, padding=1),  # 64x16x16
        nn.ReLU(),
        nn.MaxPool2d(2),  # 64x8x8
        nn.Flatten(),  # 4096
        nn.Linear(4096, 512),  # 512
        nn.ReLU(),
        nn.Linear(512, 10),  # 10
    )


def _tudui() -> nn.Module:
    from torch import nn

    return nn.Sequential(  # 3x32x32, no activations at all
        nn.Conv2d(3, 32, 5, padding=2),  # 32x32x32
        nn.MaxPool2d(2),  # 32x16x16
        nn.Conv2d(32, 32, 5, padding=2),  # 32x16x16
        nn.MaxPool2d(2),  # 32x8x8
        nn.Conv2d(32, 64, 5, padding=2),  # 64x8x8
        nn.MaxPool2d(2),  # 64x4x4
        nn.Flatten(),  # 1024
        nn.Linear(1024, 64),  # 64
        nn.Linear(64, 10),  # 10
    )


_RECIPE = Recipe(
    dataset="cifar10",
    transform="random horizontal flip, random crop of 32 after padding by 4, normalise",
    flip=True,
    crop_padding=4,
    mean=(0.4914, 0.4822, 0.4465),
    std=(0.2023, 0.1994, 0.2010),
    loss="cross_entropy",
    optimizer="adam",
    learning_rate=0.001,
    batch_size=100,
    epochs=10,
    shuffled=True,
)

_TUDUI_RECIPE = Recipe(
    dataset="cifar10",
    transform="none",
    loss="cross_entropy",
    optimizer="sgd",
    learning_rate=0.01,
    batch_size=1,
    epochs=10,
    shuffled=False,
)

SPECS = (
    ModelSpec(
        name="cifar_cnn",
        family="cifar_cnn",
        source="cifar-cnn",
        input_shape=(3, 32, 32),
        classes=10,
        build=_cifar_cnn,
        params=2_122_186,
        trainable_params=2_122_186,
        macs=7_705_600,
        mult_adds=7_755_274,
        recipe=_RECIPE,
        errata=(
            Erratum(
                where="cifar-cnn, transform",
                mistake="the random flip and crop are applied to the test images too",
                corrected="test images are only normalised",
            ),
            Erratum(
                where="cifar-cnn, curves",
                mistake="the plotted losses and accuracies are typed in, not measured",
                corrected="measured curves",
            ),
            Erratum(where="cifar-cnn, model", mistake="announces one fully connected layer", corrected="there are two"),
            Erratum(
                where="cifar-cnn, data",
                mistake="tar -C ./data/cifar-10-batches-py nests the folder once more",
                corrected="both layouts are found",
            ),
        ),
        printed_recipe=replace(_RECIPE, augments_all=True),
    ),
    ModelSpec(
        name="tudui",
        family="cifar_cnn",
        source="tudui",
        input_shape=(3, 32, 32),
        classes=10,
        build=_tudui,
        params=145_578,
        trainable_params=145_578,
        macs=12_354_176,
        mult_adds=12_399_306,
        recipe=_TUDUI_RECIPE,
        errata=(
            Erratum(
                where="tudui, data",
                mistake="trains on the test images and evaluates nowhere",
                corrected="trains on the training images, evaluates on the test images",
            ),
            Erratum(
                where="tudui, training",
                mistake="adds up loss tensors together with their graphs",
                corrected="adds up plain numbers",
            ),
        ),
        printed_recipe=replace(_TUDUI_RECIPE, trains_on_test=True),
    ),
)
