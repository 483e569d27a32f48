"""What the frozen part of a network makes of pictures, computed once, so that a head can be trained on it alone."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from cnnbench.data.batches import Split, Splits, batches
from cnnbench.runners.evaluate import fitting_batch
from cnnbench.spec import UsageError

Hear = Callable[[str, float], None]


def head_of(model: nn.Module) -> nn.Module:
    """Return the last child of a network, if it alone is trained.

    Raises:
        UsageError: another part of the network is trained, too, or nothing is.
    """
    children = list(model.children())
    trained = {id(p) for p in model.parameters() if p.requires_grad}
    if not children or not trained or not trained <= {id(p) for p in children[-1].parameters()}:
        raise UsageError(
            "Features can be computed once only where all layers but the head are frozen, as in "
            "mobilenet_v2_transfer. Leave --features-once out."
        )
    return children[-1]


def features_of(model: nn.Module, splits: Splits, hear: Hear) -> Splits:
    """Return `splits` with what the head of `model` is given for each picture, float32 on the pictures' device.

    The network is in evaluation mode, so features are those that a frozen network gives in training, too.

    Raises:
        UsageError: the network has no head that alone is trained, or gives it something else than one tensor.
    """
    head = head_of(model)
    model.eval()
    test = _features(model, head, splits.test, hear)
    val = test if splits.val is splits.test else _features(model, head, splits.val, hear)
    train = test if splits.train is splits.test else _features(model, head, splits.train, hear)
    return Splits(train=train, val=val, test=test)


def _features(model: nn.Module, head: nn.Module, split: Split, hear: Hear) -> Split:
    taken: list[Tensor] = []

    def take(_: nn.Module, given: tuple[object, ...]) -> None:
        if len(given) != 1 or not isinstance(given[0], Tensor):
            raise UsageError("Features can be computed once only where the head is given one tensor.")
        taken.append(given[0])

    hook = head.register_forward_pre_hook(take)
    size = fitting_batch(split)
    try:
        with torch.no_grad():
            for at, (images, _) in enumerate(batches(split, size), start=1):
                model(images)
                hear(f"computing features of {len(split)} pictures once", min(1.0, at * size / len(split)))
    finally:
        hook.remove()
    return Split(images_NCHW=torch.cat(taken), labels_N=split.labels_N, classes=split.classes)
