"""The datasets by name; importing this loads neither torch nor any data."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from cnnbench.data import digits
from cnnbench.data.dataset import Counts, DatasetSpec
from cnnbench.spec import unknown_name

__all__ = ["DATASETS", "Counts", "DatasetSpec", "find"]

_ALL = (
    digits.SPEC,
    # one line per dataset
)


def _by_name(specs: tuple[DatasetSpec, ...]) -> Mapping[str, DatasetSpec]:
    """Return the read-only registry.

    Raises:
        ValueError: two datasets have one name.
    """
    found: dict[str, DatasetSpec] = {}
    for spec in specs:
        if spec.name in found:
            raise ValueError(f"two datasets are named '{spec.name}'")
        found[spec.name] = spec
    return MappingProxyType(found)


DATASETS = _by_name(_ALL)
"""Every dataset by name, read-only."""


def find(name: str) -> DatasetSpec:
    """Return the dataset called `name`.

    Raises:
        UsageError: there is none; the message names close ones.
    """
    if name not in DATASETS:
        raise unknown_name("dataset", name, DATASETS)
    return DATASETS[name]
