"""VGG-16: as published, with frozen features under a new head, and a head alone on the features."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from cnnbench.models.mlp import LOSS_DIVIDED_TWICE
from cnnbench.models.published import printed
from cnnbench.spec import Erratum, ModelSpec, Published, Recipe

if TYPE_CHECKING:
    from torch import nn

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
RESIZE_AND_CROP = "resize the shorter side to 256, crop the centre 224x224, normalise"


def _vgg16() -> nn.Module:
    from torchvision import models

    model: nn.Module = models.vgg16(weights=None)  # 3x224x224, features 512x7x7, classifier 1000
    return model


def _vgg16_linear() -> nn.Module:
    from torch import nn

    return nn.Sequential(  # 512x7x7
        nn.Flatten(),  # 25088
        nn.Linear(25088, 2),  # 2
        nn.LogSoftmax(dim=1),
    )


def _vgg16_transfer() -> nn.Module:
    from torch import nn
    from torchvision import models

    model: nn.Module = models.vgg16(weights=None)  # 3x224x224, features 512x7x7
    model.classifier = nn.Linear(25088, 2)  # 2
    model.get_submodule("features").requires_grad_(requires_grad=False)
    return model


_WIDTHS = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))  # channels of each stage, and its number of convolutions


def _feature_shapes(size: int) -> tuple[int, ...]:
    """Return the shapes that the page lists for the layers of `features` with an input of `size` x `size`."""
    shapes: list[int] = []
    for width, convolutions in _WIDTHS:
        shapes += (width, size, size) * (2 * convolutions)  # each followed by a ReLU
        # The stage ends in a pooling layer, which rounds half the side down.
        size //= 2
        shapes += (width, size, size)
    return tuple(shapes)


_FEATURE_PARAMS = (
    *(1_792, 36_928),
    *(73_856, 147_584),
    *(295_168, 590_080, 590_080),
    *(1_180_160, 2_359_808, 2_359_808),
    *(2_359_808, 2_359_808, 2_359_808),
)

_LISTED = "Conv2d ReLU MaxPool2d AdaptiveAvgPool2d Linear Dropout"

_VGG16_PRINTED = (
    *printed(params=138_357_544, trainable_params=138_357_544, non_trainable_params=0, mult_adds_g=15.48),
    *printed(input_mb=0.60, forward_mb=108.45, params_mb=553.43, total_mb=662.49),
    *printed(layer_params=(*_FEATURE_PARAMS, 102_764_544, 16_781_312, 4_097_000)),
    Published(
        quantity="layer_shapes",
        values=(*_feature_shapes(224), 512, 7, 7, *(4096,) * 6, 1000),
        note=_LISTED,
    ),
    *printed("of the first cat image", predicted_class=282),
)

_DIVIDED = "divided by the batch once too often"
_UNFROZEN = "held-out images, one more epoch with all layers trainable, Adam 0.0001"
_STEPS = "minibatches 180, 270, 360 ... 1170 of 1250, rounded to four places"
_STEPS_UNFROZEN = "minibatches 90, 180, 270 ... 1170 of 1250, rounded to four places"
_STEP_TOP1 = (
    *(0.9582, 0.9587, 0.9635, 0.9669, 0.9687, 0.9695),
    *(0.9706, 0.9709, 0.9721, 0.9726, 0.9733, 0.9735),
)
_STEP_LOSS = (
    *(0.1248, 0.1419, 0.1457, 0.1340, 0.1393, 0.1387),
    *(0.1336, 0.1342, 0.1323, 0.1335, 0.1378, 0.1424),
)
_UNFROZEN_TOP1 = (
    *(0.8990, 0.9061, 0.9103, 0.9191, 0.9261, 0.9284, 0.9319),
    *(0.9361, 0.9383, 0.9408, 0.9431, 0.9455, 0.9463),
)
_UNFROZEN_LOSS = (
    *(0.2978, 0.1658, 0.1182, 0.0924, 0.0758, 0.0654, 0.0574),
    *(0.0511, 0.0466, 0.0426, 0.0393, 0.0365, 0.0345),
)

_TRANSFER_PRINTED = (
    *printed(params=14_764_866, trainable_params=50_178, non_trainable_params=14_714_688),
    *printed("summary at 244x244", mult_adds_g_244=17.99),
    *printed("summary at 244x244", input_mb_244=0.71, forward_mb_244=128.13, params_mb_244=59.06, total_mb_244=187.91),
    *printed(layer_params=(*_FEATURE_PARAMS, 50_178)),
    Published(
        quantity="layer_shapes_244",
        values=(*_feature_shapes(244), 512, 7, 7, 2),
        note="Conv2d ReLU MaxPool2d AdaptiveAvgPool2d Linear",
    ),
    *printed("held-out images, head trained", val_top1=0.9671868747499),
    *printed(f"held-out images, head trained; {_DIVIDED}", val_loss=0.25287964306816474),
    *printed(_STEPS, train_top1_by_step=_STEP_TOP1),
    *printed(f"{_STEPS}; {_DIVIDED}", train_loss_by_step=_STEP_LOSS),
    *printed(_UNFROZEN, val_top1_unfrozen=0.974389755902361),
    *printed(f"{_UNFROZEN}; {_DIVIDED}", val_loss_unfrozen=0.005457923144233279),
    *printed(_STEPS_UNFROZEN, train_top1_by_step_unfrozen=_UNFROZEN_TOP1),
    *printed(f"{_STEPS_UNFROZEN}; {_DIVIDED}", train_loss_by_step_unfrozen=_UNFROZEN_LOSS),
)

SUMMARY_SIZE = Erratum(
    where="mslearn 6.6, 7.3",
    mistake="the layer table is printed for 244x244 images while the data is 224x224",
    corrected="224x224 is used; both are shown",
)

_TRANSFER_ERRATA = (
    Erratum(where="mslearn 6.6", mistake="calls 500 thousand parameters trainable", corrected="50,178"),
    SUMMARY_SIZE,
    Erratum(
        where="mslearn 6.6",
        mistake="saves and loads the whole model by pickle, which today's torch.load refuses",
        corrected="weights in safetensors, the model built by name",
    ),
    Erratum(
        where="mslearn 6.7",
        mistake="the first line of fine-tuning gives accuracy 1.0 and loss 0.0 of one minibatch",
        corrected="not a result",
    ),
    LOSS_DIVIDED_TWICE,
)

_VGG16_ERRATA = (
    Erratum(
        where="mslearn 6.3",
        mistake="prints class 282 and then calls it tabby",
        corrected="282 is tiger_cat, 281 is tabby",
    ),
    Erratum(
        where="mslearn 6.3",
        mistake="explains dropout as leaving out about 30 % of the neurons",
        corrected="the layers have p = 0.5",
    ),
)

_LINEAR_RECIPE = Recipe(
    dataset="cats_dogs",
    transform=f"{RESIZE_AND_CROP}; features of 800 images by VGG-16 in batches of 8, split 700 to 100",
    mean=IMAGENET_MEAN,
    std=IMAGENET_STD,
    loss="nll",
    optimizer="adam",
    learning_rate=0.01,
    batch_size=32,
    epochs=10,
    shuffled=False,
    cache_features=True,
)

_TRANSFER_RECIPE = Recipe(
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
    unfrozen_epochs=1,
    unfrozen_rate=0.0001,
)

SPECS = (
    ModelSpec(
        name="vgg16",
        family="vgg",
        source="mslearn 6.3; Simonyan and Zisserman 2014, arXiv:1409.1556, as in torchvision",
        input_shape=(3, 224, 224),
        classes=1000,
        build=_vgg16,
        params=138_357_544,
        trainable_params=138_357_544,
        macs=15_470_264_320,
        mult_adds=15_483_821_032,
        printed=_VGG16_PRINTED,
        errata=_VGG16_ERRATA,
        pretrained="vgg16",
    ),
    ModelSpec(
        name="vgg16_linear",
        family="vgg",
        source="mslearn 6.5",
        input_shape=(512, 7, 7),
        classes=2,
        build=_vgg16_linear,
        params=50_178,
        trainable_params=50_178,
        macs=50_176,
        mult_adds=50_178,
        recipe=_LINEAR_RECIPE,
        printed=(
            *printed(
                train_top1=(0.879, 0.981, 0.999, *(1.000,) * 7),
                val_top1=(0.990, 0.980, 0.990, *(0.980,) * 7),
            ),
            *printed(
                "divided by the batch once too often",
                train_loss=(0.110, 0.015, 0.001, *(0.000,) * 7),
                val_loss=(0.007, 0.021, *(0.002,) * 8),
            ),
        ),
        deviations=("a Flatten comes first, so that it takes feature maps; the page gives it vectors of 25088",),
        errata=(
            Erratum(
                where="mslearn 6.5", mistake="LogSoftmax() without a dimension", corrected="dimension 1, the classes"
            ),
            LOSS_DIVIDED_TWICE,
        ),
        pretrained="vgg16",
        features_of="vgg16",
        printed_recipe=replace(_LINEAR_RECIPE, divides_losses=True),
    ),
    ModelSpec(
        name="vgg16_transfer",
        family="vgg",
        source="mslearn 6.6, 6.7",
        input_shape=(3, 224, 224),
        classes=2,
        build=_vgg16_transfer,
        params=14_764_866,
        trainable_params=50_178,
        macs=15_346_680_832,
        mult_adds=15_360_228_354,
        recipe=_TRANSFER_RECIPE,
        printed=_TRANSFER_PRINTED,
        errata=_TRANSFER_ERRATA,
        pretrained="vgg16",
        printed_recipe=replace(_TRANSFER_RECIPE, divides_losses=True),
    ),
)
