"""Crop or resize scikit-learn's images to any input shape, as inputs for numerical comparisons."""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from cnnbench.data.decode import decode
from cnnbench.spec import Shape, UnsupportedError

# scikit-learn's two sample photographs, 640 x 427 pixels in colour.
PHOTOGRAPHS = ("china.jpg", "flower.jpg")

# Least side of a crop, as a share of the largest one in the photograph: crops differ in scale by up to four times.
SMALLEST_CROP = 0.25

# Number of the 1,797 digits that are read, which takes 5 ms.
DIGITS_READ = 256

_DIGIT_SIDE = 8
_IMAGE_DIMENSIONS = 3


def real_images(shape: Shape, count: int, seed: int) -> Tensor:
    """Return `count` real images, float32 of (count, C, H, W); the same seed gives the same images.

    `shape` is (C, H, W). One channel gives scanned digits, others give crops of two photographs at several scales. More
    than three channels are red, green and blue in turn. All images are normalised together to mean 0 and variance 1.

    Raises:
        UnsupportedError: the shape is not that of an image.
    """
    if len(shape) != _IMAGE_DIMENSIONS:
        text = "x".join(map(str, shape))
        raise UnsupportedError(f"The model's input {text} is not an image with channels, height and width.")
    generator = torch.Generator().manual_seed(seed)
    channels = shape[0]
    images = _digits(shape, count, generator) if channels == 1 else _crops(shape, count, generator)
    # Fewer channels than three keep the first colours, more repeat them in turn.
    images = images[:, [at % images.shape[1] for at in range(channels)]]
    return (images - images.mean()) / images.std()


def _digits(shape: Shape, count: int, generator: torch.Generator) -> Tensor:
    digits = _read_digits()[torch.randint(DIGITS_READ, (count,), generator=generator)]
    # Antialiasing matters only where an 8x8 digit gets smaller.
    shrinks = min(shape[1:]) < _DIGIT_SIDE
    return functional.interpolate(digits, size=shape[1:], mode="bilinear", antialias=shrinks)


def _crops(shape: Shape, count: int, generator: torch.Generator) -> Tensor:
    crops = [_crop(shape, at, torch.rand(3, generator=generator).tolist()) for at in range(count)]
    # from (N, H, W, C) to (N, C, H, W)
    return torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2).to(torch.float32)


def _crop(shape: Shape, at: int, drawn: list[float]) -> np.ndarray:
    """Return crop number `at` (H, W, 3; uint8) with the aspect of `shape`; `drawn` in [0, 1) sets size and place."""
    photograph = _read_photograph(PHOTOGRAPHS[at % len(PHOTOGRAPHS)])
    height, width = shape[1:]

    # The largest box of this aspect in the photograph, made smaller by the first number.
    scale = min(photograph.width / width, photograph.height / height)
    scale *= SMALLEST_CROP + (1 - SMALLEST_CROP) * drawn[0]
    left, top = drawn[1] * (photograph.width - width * scale), drawn[2] * (photograph.height - height * scale)
    box = (left, top, left + width * scale, top + height * scale)
    return np.asarray(photograph.resize((width, height), Image.Resampling.BILINEAR, box))


def photograph(shape: Shape) -> Tensor:
    """Return the centre of the second photograph, resized to `shape` (3, H, W), as bytes."""
    return torch.from_numpy(decode((_folder() / "images" / PHOTOGRAPHS[1]).read_bytes(), shape))


def _folder() -> Path:
    """Return the folder of scikit-learn's data sets without importing it, which would take a second for two files."""
    found = find_spec("sklearn")
    assert found is not None
    assert found.origin is not None
    return Path(found.origin).parent / "datasets"


@cache
def _read_photograph(name: str) -> Image.Image:
    with Image.open(_folder() / "images" / name) as image:
        return image.convert("RGB")


@cache
def _read_digits() -> Tensor:
    """Return the first digits, (DIGITS_READ, 1, 8, 8); the last column of the file is the class and is left out."""
    rows = np.loadtxt(_folder() / "data" / "digits.csv.gz", delimiter=",", max_rows=DIGITS_READ, dtype=np.float32)
    return torch.from_numpy(rows[:, :-1]).reshape(-1, 1, _DIGIT_SIDE, _DIGIT_SIDE)
