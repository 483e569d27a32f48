"""Image files to bytes: decoded and resized in parallel, those that cannot be used named and left out."""

from __future__ import annotations

import io
import re
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice

import numpy as np
import numpy.typing as npt
from PIL import Image

from cnnbench import machine
from cnnbench.data.dataset import LeftOut
from cnnbench.spec import Shape

# The shorter side before the centre is cut out, in sides of the cut: what ImageNet's models are tested with.
RESIZE = 256 / 224

# Images that wait for a thread or for their turn: enough to keep all cores busy, few enough to hold. Our choice.
AHEAD = 256

# Takes an image's number in the order given, and its pixels (C, H, W).
Place = Callable[[int, npt.NDArray[np.uint8]], object]


def decode_all(
    contents: Iterable[tuple[str, bytes | memoryview]],
    count: int,
    shape: Shape,
    place: Place,
    on_progress: Callable[[float], None],
) -> tuple[LeftOut, ...]:
    """Decode images, hand over their pixels in order, and return those that cannot be decoded.

    `contents` are names and files, `count` of them. An image that is not of the height and width in `shape` is
    resized, bilinear as torchvision does, until its shorter side is `RESIZE` times that of the shape, and its centre is
    cut out. `on_progress` hears the share that is done.
    """
    left_out: list[LeftOut] = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow warns of what it puts up with, such as odd metadata
        with ThreadPoolExecutor(max_workers=machine.usable_cores()) as pool:
            for at, (name, found) in enumerate(_in_order(pool, contents, shape)):
                if isinstance(found, str):
                    left_out.append(LeftOut(name=name, reason=found))
                else:
                    place(at, found)
                if at % AHEAD == 0:
                    on_progress(at / count)
    return tuple(left_out)


_Found = npt.NDArray[np.uint8] | str


def _in_order(
    pool: ThreadPoolExecutor, contents: Iterable[tuple[str, bytes | memoryview]], shape: Shape
) -> Iterator[tuple[str, _Found]]:
    """Yield name and pixels of every image in order, or why there are none."""
    coming = iter(contents)
    waiting: deque[tuple[str, Future[_Found]]] = deque()
    while True:
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
        raise
    except Exception as error:  # a damaged file makes Pillow raise nearly anything
        said = re.sub(r" <_io\.BytesIO[^>]*>", "", " ".join(str(error).split()))
        return (said or type(error).__name__) if len(content) else "the file is empty, or cannot be read"


def decode(content: bytes | memoryview, shape: Shape) -> npt.NDArray[np.uint8]:
    """Return the pixels (channels, height, width) of one image file in the height and width of `shape`.

    Raises:
        OSError: it is no image, or damaged; Pillow may raise others too.
    """
    channels, height, width = shape
    with Image.open(io.BytesIO(content)) as opened:
        image: Image.Image = opened.convert("L" if channels == 1 else "RGB")
    if image.size != (width, height):
        image = _centre(image, height, width)
    pixels = np.asarray(image)
    return pixels[None] if channels == 1 else np.ascontiguousarray(pixels.transpose(2, 0, 1))


def _centre(image: Image.Image, height: int, width: int) -> Image.Image:
    """Return the centre of `image`, resized first; sizes are rounded as torchvision rounds them."""
    short = round(max(height, width) * RESIZE)
    long = int(short * max(image.size) / min(image.size))
    size = (short, long) if image.width <= image.height else (long, short)
    image = image.resize(size, Image.Resampling.BILINEAR)
    left, top = round((image.width - width) / 2), round((image.height - height) / 2)
    return image.crop((left, top, left + width, top + height))
