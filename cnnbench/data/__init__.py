"""The datasets by name; importing this loads neither torch nor any data."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from cnnbench.data import cats_dogs, cifar10, digits, mnist, synthetic
from cnnbench.data import user_folder as folder
from cnnbench.data.dataset import Counts, DatasetSpec, Fast
from cnnbench.data.locations import locate, places, read
from cnnbench.spec import UsageError, unknown_name

__all__ = ["DATASETS", "Counts", "DatasetSpec", "fast_recipe_of", "find", "locate", "places", "read"]

_ALL = (
    digits.SPEC,
    mnist.SPEC,
    mnist.FASHION_SPEC,
    cifar10.SPEC,
    cats_dogs.SPEC,
    synthetic.SPEC,
    # one line per dataset
)


def _map_by_name(specs: tuple[DatasetSpec, ...]) -> Mapping[str, DatasetSpec]:
    """Return the specs by name as a read-only mapping.

    Raises:
        ValueError: two datasets have the same name.
    """
    found: dict[str, DatasetSpec] = {}
    for spec in specs:
        if spec.name in found:
            raise ValueError(f"two datasets are named '{spec.name}'")
        found[spec.name] = spec
    return MappingProxyType(found)


# Every dataset by name, read-only.
DATASETS = _map_by_name(_ALL)


def find(name: str) -> DatasetSpec:
    """Return the dataset called `name`; `folder:PATH` is a folder of the user's own images.

    Raises:
        UsageError: there is no such dataset; the message suggests close names.
    """
    if name.startswith(folder.PREFIX):
        return folder.spec_of(name)
    if name not in DATASETS:
        raise unknown_name(
            "dataset", name, DATASETS, more=f"Or use {folder.PREFIX}PATH, with one folder of images for each class."
        )
    return DATASETS[name]


def fast_recipe_of(dataset: DatasetSpec) -> Fast:
    """Return the fast recipe of a dataset.

    Raises:
        UsageError: it has none; the message names the datasets that have one.
    """
    if dataset.fast is None:
        known = ", ".join(other.name for other in DATASETS.values() if other.fast is not None)
        raise UsageError(f"There is no fast recipe for {dataset.name}, only for {known}. Use --recipe tutorial.")
    return dataset.fast
