"""Compute the features of the frozen part of a model once, so that a head can be trained on them alone."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from cnnbench.data.batches import Split, Splits, batches
from cnnbench.spec import UsageError
from cnnbench.training.loop import StoppedError
from cnnbench.training.scoring import fitting_batch, main_logits

OnMessage = Callable[[str, float], None]


LEAVE_OUT = "Leave out --cache-features."


def head_of(model: nn.Module, advice: str = LEAVE_OUT) -> nn.Module:
    """Return the last child of a model if it alone is trained; `advice` ends the message of the error otherwise.

    Raises:
        UsageError: another part of the model is trained too, or nothing is.
    """
    children = list(model.children())
    trained = {id(p) for p in model.parameters() if p.requires_grad}
    if not children or not trained or not trained <= {id(p) for p in children[-1].parameters()}:
        raise UsageError(
            "--cache-features works only if all layers except the head are frozen, as in "
            f"mobilenet_v2_transfer. {advice}"
        )
    return children[-1]


def features_of(
    model: nn.Module,
    splits: Splits,
    on_message: OnMessage,
    *,
    stop: Callable[[], bool] = lambda: False,
    test: bool = True,
) -> Splits:
    """Return `splits` with the input of the head of `model` for each image, float32 on the images' device.

    The model is in evaluation mode, so these are also the features that a frozen model computes in training. Without
    `test`, the test split stays as it is, because another model will be tested.

    Raises:
        UsageError: the model has no head that alone is trained, does more with the features than its head does, or
            gives the head anything but one tensor.
        StoppedError: `stop` returned true after a batch.
    """
    head = head_of(model)
    model.eval()
    # Validation and test images are the same in some tutorials, so features are kept by the images' tensor.
    done: dict[int, Split] = {}

    def compute_once(split: Split, name: str) -> Split:
        """Return the features of a part; compute them once for parts with the same images."""
        at = id(split.images_NCHW)
        if at not in done:
            done[at] = _features(
                model, head, split, lambda far: on_message(f"features of {name} images {far}", 0.0), stop
            )
        return done[at]

    return Splits(
        train=compute_once(splits.train, "training"),
        val=compute_once(splits.val, "validation"),
        test=compute_once(splits.test, "test") if test else splits.test,
    )


def _features(
    model: nn.Module, head: nn.Module, split: Split, on_message: Callable[[str], None], stop: Callable[[], bool]
) -> Split:
    taken: list[Tensor] = []

    def take(_: nn.Module, given: tuple[object, ...]) -> None:
        if len(given) != 1 or not isinstance(given[0], Tensor):
            raise UsageError("--cache-features works only if the head takes exactly one tensor.")
        taken.append(given[0])

    # The hook takes the input of the head from a normal pass, so no model must offer its features itself.
    hook = head.register_forward_pre_hook(take)
    features: Tensor | None = None
    at = 0

    try:
        with torch.no_grad():
            for images, _ in batches(split, fitting_batch(split)):
                scores = main_logits(model(images))
                # The first batch shows the shape of the features. They have one tensor from the start, because
                # joining the batches at the end would take twice the memory.
                if features is None:
                    _check_all_is_head(head, taken, scores)
                    features = taken[0].new_empty((len(split), *taken[0].shape[1:]))
                features[at : at + len(images)] = taken.pop()
                at += len(images)
                on_message(f"{100 * at // len(split)} %")
                if stop():
                    raise StoppedError("Stopped while features were computed. Resuming computes them again.")
    finally:
        hook.remove()

    assert features is not None
    return Split(images_NCHW=features, labels_N=split.labels_N, classes=split.classes)


def _check_all_is_head(head: nn.Module, taken: list[Tensor], scores: Tensor) -> None:
    """Check that the model's scores are those of its head on the features, and nothing more."""
    if len(taken) == 1:
        alone = main_logits(head.forward(taken[0]))  # does not run the hook, so that it takes nothing
        if alone.shape == scores.shape and torch.allclose(alone, scores, rtol=1e-4, atol=1e-5):
            return
    raise UsageError(
        f"--cache-features works only if the model returns the output of its last layer, called once. {LEAVE_OUT}"
    )
