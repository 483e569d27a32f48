"""Made-up images of ten classes, for trying things out without a file or download."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cnnbench.data.dataset import Counts, DatasetSpec, OnProgress, Read, Source, built_in_source
from cnnbench.spec import Shape

if TYPE_CHECKING:
    from cnnbench.data.dataset import LabelledImages

CLASSES = 10
SHAPE = (3, 32, 32)
COUNTS = Counts(train=5_000, val=1_000, test=1_000)

# Standard deviation of the noise on the scale of 0 to 255; the patterns span half of that scale. This is hard enough
# that a model must learn, and easy enough that it does so within seconds.
NOISE = 60.0

_GRID = 4


def read(_source: Source, _wanted: Shape, _on_progress: OnProgress) -> Read:
    """Return images (N, 3, 32, 32; uint8), the same ones every time: a coarse pattern for each class under noise."""
    import numpy as np

    from cnnbench.data.dataset import LabelledImages

    draw = np.random.RandomState(0)  # the old generator's stream is promised never to change

    # A pattern is a grid of 4x4 colours, and each colour fills a square of 8x8 pixels.
    coarse = draw.uniform(64, 192, size=(CLASSES, SHAPE[0], _GRID, _GRID))
    patterns = coarse.repeat(SHAPE[1] // _GRID, axis=2).repeat(SHAPE[2] // _GRID, axis=3)

    def part(count: int) -> LabelledImages:
        labels = draw.randint(0, CLASSES, size=count)
        noisy = patterns[labels] + draw.normal(0, NOISE, size=(count, *SHAPE))
        return LabelledImages(images_NCHW=noisy.clip(0, 255).astype(np.uint8), labels_N=labels.astype(np.int64))

    # All parts draw from one stream, so their order decides which images they get.
    return Read(train=part(COUNTS.train), val=part(COUNTS.val), test=part(COUNTS.test))


SPEC = DatasetSpec(
    name="synthetic",
    classes=CLASSES,
    class_names=tuple("0123456789"),
    shape=SHAPE,
    counts=COUNTS,
    source="made up",
    description="7,000 made-up colour images, 32x32: a pattern for each of ten classes under noise",
    look=built_in_source,
    read=read,
)
