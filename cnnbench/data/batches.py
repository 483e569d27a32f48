"""Images as tensors in memory: splits, views that fit them to a model, augmentation and seeded minibatches."""

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

# A split is adapted once if its adapted images take at most this many bytes, and batch by batch otherwise.
#
# 1,797 images of 3x32x32 take 21 MiB; of 3x224x224 they take more than 1 GiB. Bytes that need no resizing are always
# adapted batch by batch: that takes a few microseconds, and all at once they would take four times the memory.
HELD_BYTES = 64 * 2**20

_BYTES_PER_FLOAT = 4


@dataclass(frozen=True, kw_only=True, slots=True)
class View:
    """How a model sees images: in `input_shape` (channels, height, width), and normalised.

    Normalising gives (x - mean) / std per channel; empty `mean` and `std` mean that images are not normalised.
    """

    input_shape: Shape
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()

    def __call__(self, images: Tensor) -> Tensor:
        """Return `images` (N, C, H, W; uint8, or float in [0, 1]) as float32 of this view's shape.

        Resizing is bilinear, with antialiasing only if a side gets smaller. A grey image is repeated in all channels.
        """
        channels, height, width = self.input_shape

        # The steps below work in place, and so may the model: the stored images must stay as they are.
        seen = images.to(torch.float32, copy=True)
        if images.dtype == torch.uint8:
            seen.div_(255)

        if seen.shape[2:] != (height, width):
            shrinks = height < seen.shape[2] or width < seen.shape[3]
            seen = functional.interpolate(seen, size=(height, width), mode="bilinear", antialias=shrinks)

        # Only grey images get here, because `view_for` refuses colour images for a grey model.
        if seen.shape[1] != channels:
            seen = seen.expand(-1, channels, -1, -1).contiguous()

        if self.mean:
            mean, std = _columns(self.mean, self.std, seen.device)
            seen.sub_(mean).div_(std)

        return seen.contiguous()

    def fits(self, images: Tensor) -> bool:
        """Return whether `images` (N, C, H, W) have this view's shape, and need no resizing or repeating."""
        return tuple(images.shape[1:]) == self.input_shape


@lru_cache(maxsize=16)
def _columns(mean: tuple[float, ...], std: tuple[float, ...], device: torch.device) -> tuple[Tensor, Tensor]:
    """Return mean and deviation as (1, C, 1, 1); they are cached, because making them takes longer than using them."""

    def column(values: tuple[float, ...]) -> Tensor:
        return torch.tensor(values, dtype=torch.float32, device=device).reshape(1, -1, 1, 1)

    return column(mean), column(std)


@dataclass(frozen=True, kw_only=True, slots=True)
class Augmentation:
    """Random changes to training images, drawn anew each time that an image is used.

    `flip` mirrors every second image on average, left to right. `padding` adds this many black pixels on each side, and
    cuts out a window of the image's own size at a random place.
    """

    flip: bool = False
    padding: int = 0

    def __call__(self, images: Tensor, augment_rng: torch.Generator) -> Tensor:
        """Return `images` (N, C, H, W; uint8, or float before normalisation) with random changes.

        `augment_rng` is a generator on the CPU. It draws whole numbers, so every device makes the same changes.
        """
        count, device = len(images), images.device

        if self.padding:
            height, width = images.shape[2:]
            padded = functional.pad(images, [self.padding] * 4)

            # All windows as a view (N, C, places, places, H, W), which copies nothing; the indexing copies one each.
            windows = padded.unfold(2, height, 1).unfold(3, width, 1)
            top, left = torch.randint(2 * self.padding + 1, (2, count), generator=augment_rng).to(device)
            images = windows[torch.arange(count, device=device), :, top, left]

        if self.flip:
            mirrored = torch.randint(2, (count, 1, 1, 1), generator=augment_rng).to(device=device, dtype=torch.bool)
            images = torch.where(mirrored, images.flip(3), images)

        return images


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Split:
    """Images (N, C, H, W; uint8, or float in [0, 1]) with labels (N, int64) below `classes`.

    `view` is applied to every batch; None means that the images already fit the model. `augmentation` is applied
    before `view`.
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
        """Return a part of the images, which shares their memory."""
        return replace(self, images_NCHW=self.images_NCHW[which], labels_N=self.labels_N[which])


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Splits:
    """A dataset's parts: `val` is evaluated during training, `test` once at the end.

    They are disjoint, but `val` and `test` are the same object if the dataset has no third part.
    """

    train: Split
    val: Split
    test: Split


def splits_of(read: Read, classes: int) -> Splits:
    """Return the images and labels in `read` as tensors, which share their memory."""
    test = _split(read.test, classes)
    val = test if read.val is read.test else _split(read.val, classes)
    return Splits(train=_split(read.train, classes), val=val, test=test)


def _split(part: LabelledImages, classes: int) -> Split:
    with warnings.catch_warnings():
        # Images that are mapped from a file are read-only, and nothing here writes to them.
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        images, labels = (torch.from_numpy(values) for values in (part.images_NCHW, part.labels_N))
    return Split(images_NCHW=images, labels_N=labels, classes=classes)


def view_for(input_shape: Shape, stored: Shape, mean: tuple[float, ...], std: tuple[float, ...]) -> View:
    """Return the view of a model with `input_shape` on images of shape `stored`, both (channels, height, width).

    Raises:
        UnsupportedError: the input is no image, or it is grey while the images are in colour.
        UsageError: `mean` and `std` differ in length, or do not have a value for each channel, one for all, or none.
    """
    text = "x".join(map(str, input_shape))
    if not is_image(input_shape):
        raise UnsupportedError(f"The model's input {text} is not an image, because an image has 1 or 3 channels.")

    # Grey images can be repeated in three channels, but no recipe says how to make colour images grey.
    if input_shape[0] < stored[0]:
        raise UnsupportedError(f"The model's input {text} is grey, but the dataset's images are in colour.")

    if len(mean) != len(std) or len(mean) not in (0, 1, input_shape[0]):
        raise UsageError(
            f"The recipe gives {len(mean)} means and {len(std)} deviations for {input_shape[0]} channels; "
            "give one of each per channel, one for all, or none."
        )
    return View(input_shape=input_shape, mean=mean, std=std)


def adapt_splits(
    splits: Splits, view: View, device: str, augmentation: Augmentation | None = None, *, augments_all: bool = False
) -> Splits:
    """Return `splits` on `device` as `view` shows them, with `augmentation` of the training images, or of all.

    Small splits (`HELD_BYTES`) that must be resized are adapted now, others batch by batch.
    """
    # One object that is both `val` and `test` stays one, so that its images are on the device only once.
    others = augmentation if augments_all else None
    test = adapt(splits.test, view, device, others)
    return Splits(
        train=adapt(splits.train, view, device, augmentation),
        val=test if splits.val is splits.test else adapt(splits.val, view, device, others),
        test=test,
    )


def adapt(split: Split, view: View, device: str, augmentation: Augmentation | None = None) -> Split:
    """Return one split as `adapt_splits` does."""
    channels, height, width = view.input_shape
    images = split.images_NCHW.to(device)

    # Augmentation comes before the view, so with it no image can be adapted in advance.
    large = len(split) * channels * height * width * _BYTES_PER_FLOAT > HELD_BYTES
    later = large or augmentation is not None or (images.dtype == torch.uint8 and view.fits(images))
    return replace(
        split,
        images_NCHW=images if later else view(images),
        labels_N=split.labels_N.to(device),
        view=view if later else None,
        augmentation=augmentation,
    )


def shift_images(split: Split, *, right: int, down: int) -> Split:
    """Return the images moved by `right` and `down` pixels (negative: left, up); freed pixels are black.

    The images must be as stored, before any view.
    """
    height, width = split.images_NCHW.shape[2:]
    moved = torch.zeros_like(split.images_NCHW)

    # What stays visible is copied as one rectangle, whose top left corner moves from one place to the other.
    rows, columns = max(0, height - abs(down)), max(0, width - abs(right))
    to_row, to_column = max(0, down), max(0, right)
    from_row, from_column = max(0, -down), max(0, -right)
    moved[:, :, to_row : to_row + rows, to_column : to_column + columns] = split.images_NCHW[
        :, :, from_row : from_row + rows, from_column : from_column + columns
    ]
    return replace(split, images_NCHW=moved)


def batch_count(images: int, batch_size: int, *, keep_single: bool = True) -> int:
    """Return how many batches `batches` yields for this many images."""
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
    """Yield images (N, C, H, W; as the split's view shows them) and labels (N), with N at most `batch_size`.

    `shuffle_rng` draws a new permutation for this pass; None keeps the stored order. It is a generator on the CPU, so
    that every device sees the same order. The split's augmentation draws from `augment_rng`; without it nothing is
    augmented, as when training images are scored. Without `keep_single`, a last batch of a single image is left out
    unless it is the only one. The batches before `first` are left out, and nothing is drawn for their augmentation.
    """
    count = len(split)

    # All places are drawn even if batches are left out, so that the others have the same images as in a whole pass.
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
            # This is a slice of the stored images, and a model may change its input in place.
            images = images.clone()

        yield images, labels
