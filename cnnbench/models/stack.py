"""Put a model that takes features under the one that makes them of images."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn


def under(base: nn.Module, head: nn.Module) -> nn.Module:
    """Return the frozen `features` of `base` and `head` on them as one model, which takes what `base` takes.

    Its parts are named as those of torchvision's models, so that published weights fit all but the head.
    """
    from torch import nn

    features = base.get_submodule("features").requires_grad_(requires_grad=False)
    return nn.Sequential(OrderedDict(features=features, classifier=head))
