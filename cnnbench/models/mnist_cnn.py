"""Convolutional classifiers of MNIST digits, each a plain sequence of layers."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from cnnbench.models.mlp import LOSS_DIVIDED_TWICE
from cnnbench.models.published import printed
from cnnbench.spec import Erratum, ModelSpec, Recipe

if TYPE_CHECKING:
    from torch import nn


def _one_conv() -> nn.Module:
    from torch import nn

    return nn.Sequential(  # 1x28x28
        nn.Conv2d(1, 9, 5),  # 9x24x24
        nn.ReLU(),
        nn.Flatten(),  # 5184
        nn.Linear(5184, 10),  # 10
        nn.LogSoftmax(dim=1),
    )


def _multilayer_cnn() -> nn.Module:
    from torch import nn

    return nn.Sequential(  # 1x28x28
        nn.Conv2d(1, 10, 5),  # 10x24x24
        nn.ReLU(),
        nn.MaxPool2d(2),  # 10x12x12
        nn.Conv2d(10, 20, 5),  # 20x8x8
        nn.ReLU(),
        nn.MaxPool2d(2),  # 20x4x4
        nn.Flatten(),  # 320
        nn.Linear(320, 10),  # 10
        nn.LogSoftmax(dim=1),
    )


def _simple_cnn() -> nn.Module:
    from torch import nn

    return nn.Sequential(  # 1x28x28
        nn.Conv2d(1, 32, 3, padding=1),  # 32x28x28
        nn.ReLU(),
        nn.MaxPool2d(2),  # 32x14x14
        nn.Conv2d(32, 64, 3, padding=1),  # 64x14x14
        nn.ReLU(),
        nn.MaxPool2d(2),  # 64x7x7
        nn.Flatten(),  # 3136
        nn.Linear(3136, 128),  # 128
        nn.ReLU(),
        nn.Linear(128, 10),  # 10
    )


_MSLEARN_RECIPE = Recipe(
    dataset="mnist",
    transform="none",
    loss="nll",
    optimizer="adam",
    learning_rate=0.01,
    batch_size=128,
    epochs=5,
    shuffled=False,
)

SPECS = (
    ModelSpec(
        name="one_conv",
        family="mnist_cnn",
        source="mslearn 4.4",
        input_shape=(1, 28, 28),
        classes=10,
        build=_one_conv,
        params=52_084,
        trainable_params=52_084,
        macs=181_440,
        mult_adds=186_634,
        recipe=_MSLEARN_RECIPE,
        printed=(
            *printed(params=52_084, trainable_params=52_084, non_trainable_params=0, mult_adds_m=0.19),
            *printed(input_mb=0.00, forward_mb=0.04, params_mb=0.21, total_mb=0.25),
            *printed(layer_params=(234, 51_850)),
            *printed("Conv2d Flatten Linear", layer_shapes=(9, 24, 24, 5184, 10)),
            *printed(
                train_top1=(0.943, 0.976, 0.983, 0.988, 0.990),
                val_top1=(0.967, 0.977, 0.976, 0.974, 0.973),
            ),
            *printed(
                "divided by the batch once too often",
                train_loss=(0.001, 0.001, 0.000, 0.000, 0.000),
                val_loss=(0.001, 0.001, 0.001, 0.001, 0.001),
            ),
        ),
        errata=(LOSS_DIVIDED_TWICE,),
        printed_recipe=replace(_MSLEARN_RECIPE, divides_losses=True),
    ),
    ModelSpec(
        name="multilayer_cnn",
        family="mnist_cnn",
        source="mslearn 5.2",
        input_shape=(1, 28, 28),
        classes=10,
        build=_multilayer_cnn,
        params=8_490,
        trainable_params=8_490,
        macs=467_200,
        mult_adds=474_250,
        recipe=_MSLEARN_RECIPE,
        printed=(
            *printed(params=8_490, trainable_params=8_490, non_trainable_params=0, mult_adds_m=0.47),
            *printed(input_mb=0.00, forward_mb=0.06, params_mb=0.03, total_mb=0.09),
            *printed(layer_params=(260, 5_020, 3_210)),
            *printed(
                "Conv2d MaxPool2d Linear",
                layer_shapes=(10, 24, 24, 10, 12, 12, 20, 8, 8, 20, 4, 4, 10),
            ),
            *printed("first epoch only", train_top1=0.949, val_top1=0.980),
            *printed("first epoch only, divided by the batch once too often", train_loss=0.001, val_loss=0.000),
        ),
        errata=(LOSS_DIVIDED_TWICE,),
        printed_recipe=replace(_MSLEARN_RECIPE, divides_losses=True),
    ),
    ModelSpec(
        name="simple_cnn",
        family="mnist_cnn",
        source="runoob; the same layers stand in tudui's example of a convolutional Sequential",
        input_shape=(1, 28, 28),
        classes=10,
        build=_simple_cnn,
        params=421_642,
        trainable_params=421_642,
        macs=4_241_152,
        mult_adds=4_278_922,
        recipe=Recipe(
            dataset="mnist",
            transform="normalise",
            mean=(0.5,),
            std=(0.5,),
            loss="cross_entropy",
            optimizer="sgd",
            learning_rate=0.01,
            momentum=0.9,
            batch_size=64,
            epochs=5,
            shuffled=True,
        ),
        printed=printed(train_loss=(0.2325, 0.0526, 0.0366, 0.0273, 0.0221), test_top1=0.9896),
        errata=(
            Erratum(
                where="runoob, section 1",
                mistake="imports neither datasets nor transforms, which section 2 uses",
                corrected="both are imported",
            ),
        ),
    ),
)
