"""Decode and resize image files in parallel; name and leave out those that cannot be used."""

from __future__ import annotations

import io
import math
import re
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

from cnnbench import machine
from cnnbench.data.dataset import LeftOut
from cnnbench.image_types import ImageTransform
from cnnbench.spec import Shape
from cnnbench.text import valid_text

# The shorter side of a resized image, relative to the side of the centre crop, as in tests of ImageNet's models.
RESIZE = 256 / 224

# The most images that wait for a thread or for their turn: enough to keep all cores busy, few enough for memory.
AHEAD = 256

# Pillow's modes of more than 8 bits: whole numbers of 16 or 32 bits, and floats.
_DEEP = ("I;16", "I;16L", "I;16B", "I;16N", "I", "F")
_WHITE = {"I": (255.0, 65535.0), "F": (1.0, 255.0)}

# Pillow's resampling by the names that torchvision and timm use.
_RESAMPLING = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}

# Called with an image's number in the given order, and its pixels (C, H, W).
Place = Callable[[int, npt.NDArray[np.uint8]], object]


def decode_all(
    contents: Iterable[tuple[str, bytes | memoryview]],
    count: int,
    shape: Shape,
    place: Place,
    on_progress: Callable[[float], None],
) -> tuple[LeftOut, ...]:
    """Decode images, pass their pixels to `place` in order, and return the images that cannot be decoded.

    `contents` gives `count` names and files. An image whose height and width are not those of `shape` is resized,
    bilinearly as in torchvision, until its shorter side is `RESIZE` times the longer one of `shape`; then its centre is
    cut out. `on_progress` is called with the share that is done.
    """
    left_out: list[LeftOut] = []
    with warnings.catch_warnings():
        # Pillow warns about flaws that it tolerates, such as odd metadata.
        warnings.simplefilter("ignore")

        # Threads are enough: Pillow decodes and resizes without Python's global lock.
        with ThreadPoolExecutor(max_workers=machine.usable_cores()) as pool:
            for at, (name, found) in enumerate(_decode_in_order(pool, contents, shape)):
                if isinstance(found, str):
                    left_out.append(LeftOut(name=valid_text(name), reason=found))
                else:
                    place(at, found)

                # A call every few hundred images is enough to show the progress.
                if at % AHEAD == 0:
                    on_progress(at / count)
    return tuple(left_out)


_Found = npt.NDArray[np.uint8] | str


def _decode_in_order(
    pool: ThreadPoolExecutor, contents: Iterable[tuple[str, bytes | memoryview]], shape: Shape
) -> Iterator[tuple[str, _Found]]:
    """Yield the name of every image in order, with its pixels or the reason why there are none."""
    coming = iter(contents)
    waiting: deque[tuple[str, Future[_Found]]] = deque()
    while True:
        # Later images are decoded while the oldest one is waited for.
        for name, content in islice(coming, AHEAD - len(waiting)):
            waiting.append((name, pool.submit(_decode, content, shape)))
        if not waiting:
            return
        name, future = waiting.popleft()
        yield name, future.result()


def _decode(content: bytes | memoryview, shape: Shape) -> _Found:
    try:
        return decode(content, shape)
    except MemoryError:
        # The machine lacks memory, which says nothing about the image.
        raise
    except Exception as error:  # a damaged file makes Pillow raise nearly anything
        # Pillow's message holds the address of the buffer, which differs in every run.
        said = re.sub(r" <_io\.BytesIO[^>]*>", "", " ".join(str(error).split()))
        return (said or type(error).__name__) if len(content) else "the file is empty, or cannot be read"


def decode(content: bytes | memoryview, shape: Shape, transform: ImageTransform | None = None) -> npt.NDArray[np.uint8]:
    """Return the pixels (channels, height, width) of one image file in the height and width of `shape`.

    The image is seen as a viewer shows it: turned as its camera noted (EXIF), transparent parts white, more than 8 bits
    scaled down. Of an animation the first image is taken. It is resized as `transform` says, or as most tests are.

    Raises:
        OSError: the file is no image, or damaged; Pillow may raise other errors too.
        ValueError: its values have no known range.
    """
    channels, height, width = shape
    with Image.open(io.BytesIO(content)) as opened:
        opened.load()  # so the file may be closed afterwards
        try:
            upright = ImageOps.exif_transpose(opened)
        except Exception:  # a viewer shows an image whose notes are damaged as it is stored
            upright = opened
        image = _flatten(upright).convert("L" if channels == 1 else "RGB")
    if image.size != (width, height):
        image = _crop_centre(image, height, width, transform)
    pixels = np.asarray(image)
    return pixels[None] if channels == 1 else np.ascontiguousarray(pixels.transpose(2, 0, 1))


def _flatten(image: Image.Image) -> Image.Image:
    """Return an image of 8 bits without transparency, which Pillow converts rightly.

    Pillow itself cuts 16 bits off at 255, makes float values whole, and shows what transparent parts hide.
    """
    if image.mode in _DEEP:
        pixels = np.asarray(image, dtype=np.float64)
        lowest, highest = float(pixels.min(initial=0.0)), float(pixels.max(initial=0.0))
        # White is the smallest of the usual values that no pixel exceeds; two bytes are always 16 bits.
        usual = [white for white in _WHITE.get(image.mode, (65535.0,)) if highest <= white]
        if lowest < 0.0 or not usual:
            raise ValueError(f"its values go from {lowest:g} to {highest:g}, and nothing tells which is white")
        return Image.fromarray(np.round(pixels * (255.0 / usual[0])).astype(np.uint8))

    if image.has_transparency_data:
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image


def _crop_centre(image: Image.Image, height: int, width: int, transform: ImageTransform | None) -> Image.Image:
    """Resize `image` and return its centre; sizes are rounded as torchvision and timm round them."""
    resampling = Image.Resampling.BILINEAR
    short = round(max(height, width) * RESIZE)
    if transform is not None:
        resampling = _RESAMPLING.get(transform.interpolation, resampling)
        # The product of a quotient may lie just below the whole number that it should be.
        short = math.floor(max(height, width) * transform.resize + 1e-6)
    long = int(short * max(image.size) / min(image.size))
    size = (short, long) if image.width <= image.height else (long, short)
    image = image.resize(size, resampling)
    left, top = round((image.width - width) / 2), round((image.height - height) / 2)
    return image.crop((left, top, left + width, top + height))
