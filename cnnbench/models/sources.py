"""Titles of the five public tutorials that the built-in architectures come from."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

# The title of each tutorial, by the id that specs cite.
TUTORIALS: Mapping[str, str] = MappingProxyType(
    {
        "mslearn": "Microsoft Learn, 'Introduction to computer vision with PyTorch'",
        "cifar-cnn": "'Quick breakthrough in PyTorch: a CNN image classifier'",
        "tudui": "'Dissecting a PyTorch CNN example: Sequential, Conv2d, MaxPool2d, Flatten'",
        "runoob": "Runoob, reference page 'PyTorch CNN'",
        "digit-cnn": "'PyTorch in practice 5: handwritten digit recogniser'",
    }
)


def describe_source(source: str) -> str:
    """Return `source`, followed by the title of the tutorial that it cites, if any."""
    cited = next(
        (key for key in TUTORIALS if source == key or source.startswith((f"{key} ", f"{key};", f"{key},"))), None
    )
    return source if cited is None else f"{source} ({cited}: {TUTORIALS[cited]})"
