from __future__ import annotations

import subprocess
import sys
from collections.abc import MutableMapping
from typing import cast

import pytest

from cnnbench import data
from cnnbench.data.digits import SPEC
from cnnbench.spec import UsageError


def test_every_dataset_is_found_by_name() -> None:
    assert list(data.DATASETS) == ["digits", "mnist", "fashion_mnist", "cifar10", "cats_dogs", "synthetic"]
    assert all(spec.name == name for name, spec in data.DATASETS.items())
    assert data.find("digits") is SPEC


def test_an_unknown_name_is_answered_with_close_ones() -> None:
    with pytest.raises(UsageError) as caught:
        data.find("digit")
    assert str(caught.value) == (
        "Unknown dataset 'digit'. Did you mean digits? Or use folder:PATH, with one folder of images for each class."
    )


def test_the_registry_is_read_only() -> None:
    with pytest.raises(TypeError):
        cast("MutableMapping[str, data.DatasetSpec]", data.DATASETS)["more"] = SPEC


def test_a_duplicate_name_is_our_mistake() -> None:
    with pytest.raises(ValueError, match=r"^two datasets are named 'digits'$"):
        data._map_by_name((SPEC, SPEC))


def test_listing_datasets_loads_no_heavy_library() -> None:
    code = "import sys, cnnbench.data; print(sorted({'torch', 'numpy', 'sklearn'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_all_datasets_but_synthetic_have_fast_recipe() -> None:
    assert [spec.name for spec in data.DATASETS.values() if spec.fast is None] == ["synthetic"]
