"""MobileNetV2: as published, and with frozen features under a new head."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from cnnbench.models.mlp import LOSS_DIVIDED_TWICE
from cnnbench.models.published import printed
from cnnbench.models.vgg import IMAGENET_MEAN, IMAGENET_STD, RESIZE_AND_CROP, SUMMARY_SIZE
from cnnbench.spec import Erratum, ModelSpec, Recipe

if TYPE_CHECKING:
    from torch import nn


def _mobilenet_v2() -> nn.Module:
    from torchvision import models

    model: nn.Module = models.mobilenet_v2(weights=None)  # 3x224x224, features 1280x7x7, classifier 1000
    return model


def _mobilenet_v2_transfer() -> nn.Module:
    from torch import nn
    from torchvision import models

    model: nn.Module = models.mobilenet_v2(weights=None)  # 3x224x224, features 1280x7x7
    model.requires_grad_(requires_grad=False)
    # The new head comes after the freezing, so it alone is trainable.
    model.classifier = nn.Linear(1280, 2)  # 2
    return model


# The children of `features`: how many follow each other, output channels, output height and width at 244x244.
_BLOCKS = (
    *((1, 32, 122), (1, 16, 122), (2, 24, 61), (3, 32, 31), (4, 64, 16), (3, 96, 16)),
    *((3, 160, 8), (1, 320, 8), (1, 1280, 8)),
)

_BLOCK_PARAMS = (
    *(928, 896, 5_136, 8_832, 10_000, 14_848, 14_848, 21_056, 54_272, 54_272, 54_272),
    *(66_624, 118_272, 118_272, 155_264, 320_000, 320_000, 473_920, 412_160, 2_562),
)

_SIZE = "summary at 244x244"
_STEPS = "minibatches 0, 90, 180, 270, 360, 450, 540 of 625, rounded to four places"
_TRAINING_IMAGES = "called validation on the page, but on the training images"

_PRINTED = (
    *printed(params=2_226_434, trainable_params=2_562, non_trainable_params=2_223_872),
    *printed("summary at 244x244; an older counter that missed layers", mult_adds_m_244=196.40, forward_mb_244=20.12),
    *printed(_SIZE, input_mb_244=0.71, params_mb_244=8.91),
    *printed("summary at 244x244; the sum holds forward_mb of an older counter", total_mb_244=29.74),
    *printed(block_params=_BLOCK_PARAMS),
    *printed(_SIZE, block_shapes_244=(*(n for k, c, s in _BLOCKS for n in (c, s, s) * k), 2)),
    *printed(_TRAINING_IMAGES, train_top1=0.98245),
    *printed(f"{_TRAINING_IMAGES}; divided by the batch once too often", train_loss=0.002347727584838867),
    *printed(_STEPS, train_top1_by_step=(0.5, 0.9444, 0.9489, 0.9493, 0.9501, 0.9495, 0.9521)),
    *printed(
        f"{_STEPS}; divided by the batch once too often",
        train_loss_by_step=(0.0231, 0.0063, 0.0059, 0.0061, 0.0064, 0.0069, 0.0067),
    ),
)

_RECIPE = Recipe(
    dataset="cats_dogs",
    transform=RESIZE_AND_CROP,
    mean=IMAGENET_MEAN,
    std=IMAGENET_STD,
    loss="cross_entropy",
    optimizer="adam",
    learning_rate=0.01,
    batch_size=32,
    epochs=1,
    shuffled=False,
)

SPECS = (
    ModelSpec(
        name="mobilenet_v2",
        family="mobilenet",
        source="mslearn 7.2; Sandler et al. 2018, arXiv:1801.04381, as in torchvision",
        input_shape=(3, 224, 224),
        classes=1000,
        build=_mobilenet_v2,
        params=3_504_872,
        trainable_params=3_504_872,
        macs=300_774_272,
        mult_adds=300_809_384,
        printed=printed("of the first cat image", predicted_class=281),
        deviations=("built by torchvision; the page loads the same model through torch.hub",),
        pretrained="mobilenet_v2",
    ),
    ModelSpec(
        name="mobilenet_v2_transfer",
        family="mobilenet",
        source="mslearn 7.3",
        input_shape=(3, 224, 224),
        classes=2,
        build=_mobilenet_v2_transfer,
        params=2_226_434,
        trainable_params=2_562,
        macs=299_496_832,
        mult_adds=299_530_946,
        recipe=_RECIPE,
        printed=_PRINTED,
        errata=(
            Erratum(
                where="mslearn 7.1",
                mistake="the loader of chapter 7 takes the training images for its test set: 0.98245 is training"
                " accuracy (19,649 of 20,000)",
                corrected="held-out images",
            ),
            Erratum(
                where="mslearn 7.3",
                mistake="196.40 M multiply-adds at 244x244, from an older counter that missed layers",
                corrected="378.3 M",
            ),
            Erratum(
                where="mslearn 7.1",
                mistake="the frozen layers are in training mode, so their batch statistics move while the head is"
                " trained",
                corrected="frozen layers in evaluation mode",
            ),
            SUMMARY_SIZE,
            LOSS_DIVIDED_TWICE,
        ),
        pretrained="mobilenet_v2",
        printed_recipe=replace(_RECIPE, divides_losses=True, validates_on_train=True, frozen_statistics_move=True),
    ),
)
