"""LeNet for CIFAR-10."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from cnnbench.models.mlp import LOSS_DIVIDED_TWICE
from cnnbench.models.published import printed
from cnnbench.spec import ModelSpec, Recipe

if TYPE_CHECKING:
    from torch import nn


def _lenet() -> nn.Module:
    from torch import nn

    return nn.Sequential(  # 3x32x32
        nn.Conv2d(3, 6, 5),  # 6x28x28
        nn.ReLU(),
        nn.MaxPool2d(2),  # 6x14x14
        nn.Conv2d(6, 16, 5),  # 16x10x10
        nn.ReLU(),
        nn.MaxPool2d(2),  # 16x5x5
        nn.Conv2d(16, 120, 5),  # 120x1x1
        nn.ReLU(),
        nn.Flatten(),  # 120
        nn.Linear(120, 64),  # 64
        nn.ReLU(),
        nn.Linear(64, 10),  # 10
    )


_RECIPE = Recipe(
    dataset="cifar10",
    transform="normalise",
    mean=(0.5, 0.5, 0.5),
    std=(0.5, 0.5, 0.5),
    loss="cross_entropy",
    optimizer="sgd",
    learning_rate=0.001,
    momentum=0.9,
    batch_size=14,
    epochs=3,
    shuffled=True,
)

SPECS = (
    ModelSpec(
        name="lenet",
        family="lenet",
        source="mslearn 5.3",
        input_shape=(3, 32, 32),
        classes=10,
        build=_lenet,
        params=59_386,
        trainable_params=59_386,
        macs=649_120,
        mult_adds=655_618,
        recipe=_RECIPE,
        printed=(
            *printed(params=59_386, trainable_params=59_386, non_trainable_params=0, mult_adds_m=0.66),
            *printed(input_mb=0.01, forward_mb=0.05, params_mb=0.24, total_mb=0.30),
            *printed(layer_params=(456, 2_416, 48_120, 7_744, 650)),
            *printed(
                "Conv2d MaxPool2d Flatten Linear",
                layer_shapes=(6, 28, 28, 6, 14, 14, 16, 10, 10, 16, 5, 5, 120, 1, 1, 120, 64, 10),
            ),
            *printed(train_top1=(0.261, 0.437, 0.508), val_top1=(0.388, 0.491, 0.522)),
            *printed(
                "divided by the batch once too often",
                train_loss=(0.143, 0.110, 0.097),
                val_loss=(0.121, 0.101, 0.094),
            ),
        ),
        errata=(LOSS_DIVIDED_TWICE,),
        printed_recipe=replace(_RECIPE, divides_losses=True),
    ),
)
