"""Pictures as tensors in memory: splits, how a network wants to see them, and seeded minibatches."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional

from cnnbench.spec import Shape, UnsupportedError, UsageError

HELD_BYTES = 64 * 2**20
"""A split whose adapted pictures take at most this is adapted once; a larger one batch by batch.

Our choice: 1,797 pictures of 3x32x32 take 21 MiB, of 3x224x224 more than 1 GiB.
"""

PICTURE_CHANNELS = (1, 3)
_PICTURE_DIMENSIONS = 3
_BYTES_PER_FLOAT = 4


@dataclass(frozen=True, kw_only=True, slots=True)
class View:
    """How a network sees pictures: (channels, height, width), then (x - mean) / std per channel, empty: not at all."""

    input_shape: Shape
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()

    def __call__(self, images: Tensor) -> Tensor:
        """Return `images` (N, C, H, W; uint8, or float in [0, 1]) as float32 of this view's shape.

        Resizing is bilinear; smoothing against aliasing only where a side gets smaller. Grey is repeated to all
        channels.
        """
        channels, height, width = self.input_shape
        seen = images.to(torch.float32).div(255) if images.dtype == torch.uint8 else images.to(torch.float32)
        if seen.shape[2:] != (height, width):
            shrinks = height < seen.shape[2] or width < seen.shape[3]
            seen = functional.interpolate(seen, size=(height, width), mode="bilinear", antialias=shrinks)
        if seen.shape[1] != channels:
            seen = seen.expand(-1, channels, -1, -1)
        if self.mean:
            mean, std = (seen.new_tensor(values).reshape(1, -1, 1, 1) for values in (self.mean, self.std))
            seen = (seen - mean) / std
        return seen.contiguous()


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Split:
    """Pictures (N, C, H, W; uint8, or float in [0, 1]) with labels (N, int64) below `classes`.

    `view` is applied to every batch; `None` means that the pictures are as the network wants them.
    """

    images_NCHW: Tensor  # noqa: N815 - a tensor's axes are part of its name
    labels_N: Tensor  # noqa: N815
    classes: int
    view: View | None = None

    def __len__(self) -> int:
        """Return the number of pictures."""
        return len(self.labels_N)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Splits:
    """A dataset's three disjoint parts: `val` is looked at during training, `test` once at the end."""

    train: Split
    val: Split
    test: Split


def view_for(input_shape: Shape, stored: Shape, mean: tuple[float, ...], std: tuple[float, ...]) -> View:
    """Return how a network with `input_shape` sees pictures of shape `stored`, both (channels, height, width).

    Raises:
        UnsupportedError: the input is no picture, or it is grey and the pictures are in colour.
        UsageError: mean and std are not given for each channel.
    """
    text = "x".join(map(str, input_shape))
    if len(input_shape) != _PICTURE_DIMENSIONS or input_shape[0] not in PICTURE_CHANNELS:
        raise UnsupportedError(f"The network's input {text} is no picture: a picture has 1 or 3 channels.")
    if input_shape[0] < stored[0]:
        raise UnsupportedError(f"The network's input {text} is grey, and the dataset's pictures are in colour.")
    if len(mean) != len(std) or len(mean) not in (0, 1, input_shape[0]):
        raise UsageError(
            f"The recipe gives {len(mean)} means and {len(std)} deviations for {input_shape[0]} channels; "
            "give one of each per channel, one for all, or none."
        )
    return View(input_shape=input_shape, mean=mean, std=std)


def adapted(splits: Splits, view: View, device: str) -> Splits:
    """Return `splits` on `device` as `view` shows them: small ones adapted now, large ones (`HELD_BYTES`) by batch."""
    return Splits(
        train=_adapt(splits.train, view, device),
        val=_adapt(splits.val, view, device),
        test=_adapt(splits.test, view, device),
    )


def _adapt(split: Split, view: View, device: str) -> Split:
    channels, height, width = view.input_shape
    images = split.images_NCHW.to(device)
    later = len(split) * channels * height * width * _BYTES_PER_FLOAT > HELD_BYTES
    return replace(
        split,
        images_NCHW=images if later else view(images),
        labels_N=split.labels_N.to(device),
        view=view if later else None,
    )


def batch_count(pictures: int, batch_size: int, *, keep_single: bool = True) -> int:
    """Return how many batches `batches` gives for so many pictures."""
    whole, rest = divmod(pictures, batch_size)
    dropped = rest == 1 and whole > 0 and not keep_single
    return whole + (1 if rest and not dropped else 0)


def batches(
    split: Split, batch_size: int, *, order: torch.Generator | None = None, keep_single: bool = True
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield pictures (N, C, H, W; as the split's view shows them) and labels (N), N at most `batch_size`.

    `order` draws a new permutation for this pass (a generator on the CPU, so that every device sees the same order);
    None keeps the stored order. Without `keep_single` a last batch of a single picture is left out, unless it is the
    only one.
    """
    count = len(split)
    places = torch.arange(count) if order is None else torch.randperm(count, generator=order)
    places = places.to(split.labels_N.device)
    for index in range(batch_count(count, batch_size, keep_single=keep_single)):
        chosen = places[index * batch_size : (index + 1) * batch_size]
        images = split.images_NCHW[chosen]
        yield (split.view(images) if split.view else images), split.labels_N[chosen]
