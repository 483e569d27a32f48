"""Models of torchvision and timm."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from cnnbench.image_types import ImageTransform
from cnnbench.spec import ModelSpec, Shape, unknown_name

if TYPE_CHECKING:
    from torch import nn

# Input of most models that were trained on ImageNet.
IMAGENET_SHAPE = (3, 224, 224)


def torchvision_spec(name: str, architecture: str, input_shape: Shape | None) -> ModelSpec:
    """Return the spec of a torchvision model; raise the errors of `find_model`."""
    from torchvision import models

    known = models.list_models(module=models)
    if architecture not in known:
        raise unknown_name("torchvision model", architecture, known)
    weights = models.get_model_weights(architecture).DEFAULT
    (size,) = weights.transforms().crop_size
    default = (3, size, size)
    shape = input_shape or default
    params = weights.meta["num_params"] if shape == default else None  # published for this shape
    return ModelSpec(
        name=name,
        family="torchvision",
        source=f"torchvision, {weights.meta['recipe']}",
        input_shape=shape,
        classes=len(weights.meta["categories"]),
        build=partial(_build_torchvision, architecture, shape),
        params=params,
        trainable_params=params,
        pretrained=architecture,
        transform=published_transform(architecture),
    )


def published_transform(architecture: str) -> ImageTransform:
    """Return how torchvision's default weights of `architecture` expect images."""
    from torchvision import models

    found = models.get_model_weights(architecture).DEFAULT.transforms()
    return ImageTransform(
        mean=tuple(found.mean),
        std=tuple(found.std),
        resize=found.resize_size[0] / found.crop_size[0],
        interpolation=found.interpolation.value,
    )


def _build_torchvision(architecture: str, input_shape: Shape) -> nn.Module:
    from torchvision import models

    # The published weights of these two were trained with another normalisation, which they make themselves. The state
    # dict does not hold that, so each of them is built so.
    options: dict[str, object] = {}
    if architecture == "googlenet":  # its metadata counts no auxiliary heads
        options = {"aux_logits": False, "init_weights": False, "transform_input": True}
    elif architecture == "inception_v3":  # its metadata counts them
        options = {"aux_logits": True, "init_weights": False, "transform_input": True}
    elif architecture.startswith("vit_"):
        options = {"image_size": input_shape[1]}
    elif architecture.startswith("maxvit_"):
        options = {"input_size": input_shape[1:]}
    model: nn.Module = models.get_model(architecture, weights=None, **options)
    return model


def timm_spec(name: str, architecture: str, input_shape: Shape | None) -> ModelSpec:
    """Return the spec of a timm model; raise the errors of `find_model`."""
    from importlib import metadata

    import timm

    if not timm.is_model(architecture):
        raise unknown_name("timm model", architecture, timm.list_models())
    config = timm.get_pretrained_cfg(architecture)
    default = tuple(config.input_size) if config else IMAGENET_SHAPE  # some have no published weights
    shape = input_shape or default
    options: dict[str, Any] = {"img_size": shape[1:]} if config and config.fixed_input_size and shape != default else {}
    if shape[0] != default[0]:
        options["in_chans"] = shape[0]
    return ModelSpec(
        name=name,
        family="timm",
        source=f"timm {metadata.version('timm')}",
        input_shape=shape,
        classes=config.num_classes if config else None,
        build=partial(_build_timm, architecture, options),
        transform=_timm_transform(config) if config else None,
    )


def _timm_transform(config: Any) -> ImageTransform:  # noqa: ANN401, RUF100 - timm has no types
    return ImageTransform(
        mean=tuple(config.mean),
        std=tuple(config.std),
        resize=1 / config.crop_pct,
        interpolation=config.interpolation,
    )


def _build_timm(architecture: str, options: dict[str, Any]) -> nn.Module:
    import timm

    model: nn.Module = timm.create_model(architecture, pretrained=False, **options)
    return model
