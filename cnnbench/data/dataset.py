"""What is known of a dataset before it is loaded: names, shapes, counts, and the function that loads it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cnnbench.spec import Shape

if TYPE_CHECKING:
    from cnnbench.data.batches import Splits


@dataclass(frozen=True, kw_only=True, slots=True)
class Counts:
    """How many pictures each split holds."""

    train: int
    val: int
    test: int


@dataclass(frozen=True, kw_only=True, slots=True)
class DatasetSpec:
    """One dataset: `shape` is (channels, height, width) of a picture as stored; `load` returns its fixed splits.

    `epochs` and `steps` stand in for a recipe's epochs where the dataset is much smaller than the recipe's own:
    that many epochs, but no more than `steps` optimiser steps in all. `None` means that the recipe's epochs are used.
    """

    name: str
    classes: int
    shape: Shape
    counts: Counts
    source: str
    description: str
    load: Callable[[], Splits]
    epochs: int | None = None
    steps: int | None = None
