"""Images as tensors in memory: splits, how a model wants to see them, seeded minibatches and augmentation."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional

from cnnbench.data.dataset import LabelledImages, Read
from cnnbench.spec import Shape, UnsupportedError, UsageError, is_image

# A split whose adapted images take at most this is adapted once; a larger one batch by batch.
#
# Our choice: 1,797 images of 3x32x32 take 21 MiB, of 3x224x224 more than 1 GiB. Bytes that need no resizing are
# always adapted by batch: that takes a few microseconds, and whole they would take four times the memory.
HELD_BYTES = 64 * 2**20

_BYTES_PER_FLOAT = 4


@dataclass(frozen=True, kw_only=True, slots=True)
class View:
    """How a model sees images: (channels, height, width), then (x - mean) / std per channel, empty: not at all."""

    input_shape: Shape
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()

    def __call__(self, images: Tensor) -> Tensor:
        """Return `images` (N, C, H, W; uint8, or float in [0, 1]) as float32 of this view's shape.

        Resizing is bilinear; smoothing against aliasing only where a side gets smaller. Grey is repeated to all
        channels.
        """
        channels, height, width = self.input_shape
        seen = images.to(torch.float32, copy=True)  # so that what follows, and the model, may work in place
        if images.dtype == torch.uint8:
            seen.div_(255)

        if seen.shape[2:] != (height, width):
            shrinks = height < seen.shape[2] or width < seen.shape[3]
            seen = functional.interpolate(seen, size=(height, width), mode="bilinear", antialias=shrinks)

        if seen.shape[1] != channels:
            seen = seen.expand(-1, channels, -1, -1).contiguous()

        if self.mean:
            mean, std = _columns(self.mean, self.std, seen.device)
            seen.sub_(mean).div_(std)

        return seen.contiguous()

    def fits(self, images: Tensor) -> bool:
        """Return whether `images` (N, C, H, W) have this view's shape, so that nothing must be resized or repeated."""
        return tuple(images.shape[1:]) == self.input_shape


@lru_cache(maxsize=16)
def _columns(mean: tuple[float, ...], std: tuple[float, ...], device: torch.device) -> tuple[Tensor, Tensor]:
    """Return mean and deviation by channel, to be used on (N, C, H, W); making them takes longer than using them."""

    def column(values: tuple[float, ...]) -> Tensor:
        return torch.tensor(values, dtype=torch.float32, device=device).reshape(1, -1, 1, 1)

    return column(mean), column(std)


@dataclass(frozen=True, kw_only=True, slots=True)
class Augmentation:
    """What is done to training images at random, each time that they are seen.

    `flip`: mirrored left to right, every second one. `padding`: so many black pixels around, then a window of the
    image's own size at a random place.
    """

    flip: bool = False
    padding: int = 0

    def __call__(self, images: Tensor, augment_rng: torch.Generator) -> Tensor:
        """Return `images` (N, C, H, W; bytes, or floats before normalising) changed; `augment_rng` lives on the CPU.

        What is drawn are whole numbers on the CPU, so every device does the same.
        """
        count, device = len(images), images.device
        if self.padding:
            height, width = images.shape[2:]
            padded = functional.pad(images, [self.padding] * 4)
            windows = padded.unfold(2, height, 1).unfold(3, width, 1)  # (N, C, places, places, H, W), nothing is copied
            top, left = torch.randint(2 * self.padding + 1, (2, count), generator=augment_rng).to(device)
            images = windows[torch.arange(count, device=device), :, top, left]
        if self.flip:
            mirrored = torch.randint(2, (count, 1, 1, 1), generator=augment_rng).to(device=device, dtype=torch.bool)
            images = torch.where(mirrored, images.flip(3), images)
        return images


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Split:
    """Images (N, C, H, W; uint8, or float in [0, 1]) with labels (N, int64) below `classes`.

    `view` is applied to every batch; `None` means that the images are as the model wants them. `augmentation` comes
    before it.
    """

    images_NCHW: Tensor  # noqa: N815 - a tensor's axes are part of its name
    labels_N: Tensor  # noqa: N815
    classes: int
    view: View | None = None
    augmentation: Augmentation | None = None

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.labels_N)

    def part(self, which: slice) -> Split:
        """Return some of the images, over the same memory."""
        return replace(self, images_NCHW=self.images_NCHW[which], labels_N=self.labels_N[which])


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Splits:
    """A dataset's three disjoint parts: `val` is looked at during training, `test` once at the end."""

    train: Split
    val: Split
    test: Split


def splits_of(read: Read, classes: int) -> Splits:
    """Return what was read as tensors over the same memory."""
    test = _split(read.test, classes)
    val = test if read.val is read.test else _split(read.val, classes)
    return Splits(train=_split(read.train, classes), val=val, test=test)


def _split(part: LabelledImages, classes: int) -> Split:
    with warnings.catch_warnings():
        # images that are mapped from a file cannot be written, and nothing here does
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        images, labels = (torch.from_numpy(values) for values in (part.images_NCHW, part.labels_N))
    return Split(images_NCHW=images, labels_N=labels, classes=classes)


def view_for(input_shape: Shape, stored: Shape, mean: tuple[float, ...], std: tuple[float, ...]) -> View:
    """Return how a model with `input_shape` sees images of shape `stored`, both (channels, height, width).

    Raises:
        UnsupportedError: the input is no image, or it is grey and the images are in colour.
        UsageError: mean and std are not given for each channel.
    """
    text = "x".join(map(str, input_shape))
    if not is_image(input_shape):
        raise UnsupportedError(f"The model's input {text} is no image: an image has 1 or 3 channels.")
    if input_shape[0] < stored[0]:
        raise UnsupportedError(f"The model's input {text} is grey, and the dataset's images are in colour.")
    if len(mean) != len(std) or len(mean) not in (0, 1, input_shape[0]):
        raise UsageError(
            f"The recipe gives {len(mean)} means and {len(std)} deviations for {input_shape[0]} channels; "
            "give one of each per channel, one for all, or none."
        )
    return View(input_shape=input_shape, mean=mean, std=std)


def adapted(
    splits: Splits, view: View, device: str, augmentation: Augmentation | None = None, *, augments_all: bool = False
) -> Splits:
    """Return `splits` on `device` as `view` shows them, training images (or all) with `augmentation`.

    Small ones (`HELD_BYTES`) that must be resized are adapted now, others by batch.
    """
    others = augmentation if augments_all else None
    test = adapt(splits.test, view, device, others)
    return Splits(
        train=adapt(splits.train, view, device, augmentation),
        val=test if splits.val is splits.test else adapt(splits.val, view, device, others),
        test=test,
    )


def adapt(split: Split, view: View, device: str, augmentation: Augmentation | None = None) -> Split:
    """Return one part as `adapted` does."""
    channels, height, width = view.input_shape
    images = split.images_NCHW.to(device)
    large = len(split) * channels * height * width * _BYTES_PER_FLOAT > HELD_BYTES
    later = large or augmentation is not None or (images.dtype == torch.uint8 and view.fits(images))
    return replace(
        split,
        images_NCHW=images if later else view(images),
        labels_N=split.labels_N.to(device),
        view=view if later else None,
        augmentation=augmentation,
    )


def shifted(split: Split, *, right: int, down: int) -> Split:
    """Return the images moved by so many pixels (negative: left, up), black where they came from.

    For images as they are stored, before any view.
    """
    height, width = split.images_NCHW.shape[2:]
    moved = torch.zeros_like(split.images_NCHW)
    rows, columns = max(0, height - abs(down)), max(0, width - abs(right))
    to_row, to_column = max(0, down), max(0, right)
    from_row, from_column = max(0, -down), max(0, -right)
    moved[:, :, to_row : to_row + rows, to_column : to_column + columns] = split.images_NCHW[
        :, :, from_row : from_row + rows, from_column : from_column + columns
    ]
    return replace(split, images_NCHW=moved)


def batch_count(images: int, batch_size: int, *, keep_single: bool = True) -> int:
    """Return how many batches `batches` gives for so many images."""
    whole, rest = divmod(images, batch_size)
    dropped = rest == 1 and whole > 0 and not keep_single
    return whole + (1 if rest and not dropped else 0)


def batches(
    split: Split,
    batch_size: int,
    *,
    shuffle_rng: torch.Generator | None = None,
    augment_rng: torch.Generator | None = None,
    keep_single: bool = True,
    first: int = 0,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield images (N, C, H, W; as the split's view shows them) and labels (N), N at most `batch_size`.

    `shuffle_rng` draws a new permutation for this pass (a generator on the CPU, so that every device sees the same
    order); None keeps the stored order. `augment_rng` is what the split's augmentation draws from; without it nothing
    is augmented, as when training images are scored. Without `keep_single` a last batch of a single image is left out,
    unless it is the only one. The batches before `first` are left out, and nothing is drawn for their augmentation.
    """
    count = len(split)
    places = None if shuffle_rng is None else torch.randperm(count, generator=shuffle_rng).to(split.labels_N.device)
    for index in range(first, batch_count(count, batch_size, keep_single=keep_single)):
        chosen = slice(index * batch_size, (index + 1) * batch_size)
        if places is None:
            images, labels = split.images_NCHW[chosen], split.labels_N[chosen]
        else:
            images, labels = split.images_NCHW[places[chosen]], split.labels_N[places[chosen]]

        if split.augmentation is not None and augment_rng is not None:
            images = split.augmentation(images, augment_rng)

        if split.view is not None:
            images = split.view(images)
        elif places is None:
            images = images.clone()  # a model may work in place on its input

        yield images, labels
