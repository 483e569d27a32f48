"""Decode and resize image files in parallel; name and leave out those that cannot be used."""

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

# The shorter side of a resized image, relative to the side of the centre crop, as in tests of ImageNet's models.
RESIZE = 256 / 224

# The most images that wait for a thread or for their turn: enough to keep all cores busy, few enough for memory.
AHEAD = 256

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
                    left_out.append(LeftOut(name=name, reason=found))
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


def decode(content: bytes | memoryview, shape: Shape) -> npt.NDArray[np.uint8]:
    """Return the pixels (channels, height, width) of one image file in the height and width of `shape`.

    Raises:
        OSError: the file is no image, or damaged; Pillow may raise other errors too.
    """
    channels, height, width = shape
    with Image.open(io.BytesIO(content)) as opened:
        # Conversion reads the pixels, so the file may be closed afterwards.
        image: Image.Image = opened.convert("L" if channels == 1 else "RGB")
    if image.size != (width, height):
        image = _crop_centre(image, height, width)
    pixels = np.asarray(image)
    return pixels[None] if channels == 1 else np.ascontiguousarray(pixels.transpose(2, 0, 1))


def _crop_centre(image: Image.Image, height: int, width: int) -> Image.Image:
    """Resize `image` and return its centre; sizes are rounded as torchvision rounds them."""
    short = round(max(height, width) * RESIZE)
    long = int(short * max(image.size) / min(image.size))
    size = (short, long) if image.width <= image.height else (long, short)
    image = image.resize(size, Image.Resampling.BILINEAR)
    left, top = round((image.width - width) / 2), round((image.height - height) / 2)
    return image.crop((left, top, left + width, top + height))
