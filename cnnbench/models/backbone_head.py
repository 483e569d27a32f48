"""Join a model that computes features of images and a head that classifies them."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn


def replace_head(base: nn.Module, head: nn.Module) -> nn.Module:
    """Return one model from the frozen `features` of `base` and, behind them, `head`; it takes what `base` takes.

    Its parts have the same names as in torchvision's models, so that published weights fit all parts but the head.
    """
    from torch import nn

    features = base.get_submodule("features").requires_grad_(requires_grad=False)
    return nn.Sequential(OrderedDict(features=features, classifier=head))
