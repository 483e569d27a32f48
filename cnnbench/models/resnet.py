"""ResNet-18: as published, and with frozen features under a new head."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cnnbench.models.vgg import IMAGENET_MEAN, IMAGENET_STD, RESIZE_AND_CROP
from cnnbench.spec import Erratum, ModelSpec, Recipe

if TYPE_CHECKING:
    from torch import nn


def _resnet18() -> nn.Module:
    from torchvision import models

    model: nn.Module = models.resnet18(weights=None)  # 3x224x224, features 512, fc 1000
    return model


def _resnet18_transfer() -> nn.Module:
    from torch import nn
    from torchvision import models

    model: nn.Module = models.resnet18(weights=None)  # 3x224x224, features 512
    model.requires_grad_(requires_grad=False)
    # The new head comes after the freezing, so it alone is trainable.
    model.fc = nn.Linear(512, 2)  # 2
    return model


_ERRATA = (Erratum(where="mslearn 6.8", mistake="suggests ResNet-151, which does not exist", corrected="ResNet-152"),)

SPECS = (
    ModelSpec(
        name="resnet18",
        family="resnet",
        source="mslearn 6.8; He et al. 2015, arXiv:1512.03385, as in torchvision",
        input_shape=(3, 224, 224),
        classes=1000,
        build=_resnet18,
        params=11_689_512,
        trainable_params=11_689_512,
        macs=1_814_073_344,
        mult_adds=1_814_083_944,
        errata=_ERRATA,
        pretrained="resnet18",
    ),
    ModelSpec(
        name="resnet18_transfer",
        family="resnet",
        source="mslearn 6.8, suggested in words",
        input_shape=(3, 224, 224),
        classes=2,
        build=_resnet18_transfer,
        params=11_177_538,
        trainable_params=1_026,
        macs=1_813_562_368,
        mult_adds=1_813_571_970,
        recipe=Recipe(
            dataset="cats_dogs",
            transform=RESIZE_AND_CROP,
            mean=IMAGENET_MEAN,
            std=IMAGENET_STD,
            loss="cross_entropy",
            optimizer="adam",
            learning_rate=0.01,
            batch_size=16,
            epochs=1,
            shuffled=False,
        ),
        deviations=("the page gives no recipe for it: it is that of vgg16_transfer",),
        pretrained="resnet18",
    ),
)
