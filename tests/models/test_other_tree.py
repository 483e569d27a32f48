"""Models as another tree builds them: its files with their neighbours and packages, and its own package cnnbench."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

import cnnbench.models
from cnnbench.models import MODELS, find_model
from cnnbench.models.other_tree import AbsentError, name_in_tree
from cnnbench.spec import CnnbenchError, UsageError


@pytest.fixture(autouse=True)
def own_imports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Forget afterwards what was imported from trees, and where from: a run does this in a worker, which ends."""
    before = dict(sys.modules)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield
    for name, module in list(sys.modules.items()):
        if (getattr(module, "__file__", None) or "").startswith(str(tmp_path)):
            del sys.modules[name]
    sys.modules.update(before)


def write(folder: Path, **files: str) -> Path:
    """Write files, whose names have two underscores for a slash."""
    for name, text in files.items():
        path = folder / f"{name.replace('__', '/')}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return folder


NET = "from torch import nn\nfrom {width} import WIDTH\n\ndef make():\n    return nn.Linear(3, WIDTH)\n"


def width_of(folder: Path, name: str) -> int:
    model = find_model(name_in_tree(folder, name), (3,)).build()
    return int(model(torch.zeros(1, 3)).shape[1])


def test_file_finds_neighbours_and_packages_of_its_tree(tmp_path: Path) -> None:
    write(
        tmp_path,
        bench__nets=NET.format(width="neighbour_of_tree"),
        bench__neighbour_of_tree="from inner_of_tree.deep import WIDTH\n",
        src__inner_of_tree__deep="WIDTH = 7\n",
    )
    (tmp_path / "src" / "inner_of_tree" / "__init__.py").write_text("")
    assert width_of(tmp_path, "bench/nets.py:make") == 7


def test_a_file_in_a_package_imports_relatively(tmp_path: Path) -> None:
    write(tmp_path, pkg_of_tree__nets=NET.format(width=".widths"), pkg_of_tree__widths="WIDTH = 5\n")
    (tmp_path / "pkg_of_tree" / "__init__.py").write_text("")
    assert width_of(tmp_path, "pkg_of_tree/nets.py:make") == 5
    spec = find_model(name_in_tree(tmp_path, "pkg_of_tree/nets.py:make"))
    assert (spec.input_shape, spec.source) == ((3, 224, 224), str(tmp_path / "pkg_of_tree" / "nets.py"))


def test_late_import_while_building_comes_from_tree(tmp_path: Path) -> None:
    late = "def make():\n    from torch import nn\n    from late_of_tree import WIDTH\n    return nn.Linear(3, WIDTH)\n"
    write(tmp_path, nets=late, late_of_tree="WIDTH = 9\n")
    assert width_of(tmp_path, "nets.py:make") == 9


def test_the_current_folder_is_not_looked_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = write(tmp_path / "here", only_here_of_tree="WIDTH = 1\n")
    there = write(tmp_path / "there", nets=NET.format(width="only_here_of_tree"))
    monkeypatch.chdir(here)
    sys.path.insert(0, str(here))
    with pytest.raises(UsageError, match="No module named 'only_here_of_tree'"):
        find_model(name_in_tree(there, "nets.py:make"))


def test_what_was_imported_from_elsewhere_is_an_error(tmp_path: Path) -> None:
    elsewhere = write(tmp_path / "elsewhere", shared_of_tree="WIDTH = 1\n")
    sys.path.insert(0, str(elsewhere))
    import shared_of_tree  # type: ignore[import-not-found]

    assert shared_of_tree.WIDTH == 1
    tree = write(tmp_path / "tree", nets=NET.format(width="shared_of_tree"), shared_of_tree="WIDTH = 2\n")
    with pytest.raises(CnnbenchError) as caught:
        find_model(name_in_tree(tree, "nets.py:make"))
    assert str(caught.value) == (
        f"'shared_of_tree' is in {tree}, but was imported from {elsewhere / 'shared_of_tree.py'}, so this revision "
        "would not be measured. Install that package in editable mode, or uninstall it."
    )


def test_what_a_tree_does_not_have_is_absent(tmp_path: Path) -> None:
    write(tmp_path, nets="def make():\n    pass\n")
    with pytest.raises(AbsentError) as caught:
        find_model(name_in_tree(tmp_path, "gone.py:make"))
    assert str(caught.value) == f"There is no file 'gone.py' in {tmp_path}."
    with pytest.raises(AbsentError) as caught:
        find_model(name_in_tree(tmp_path, "nets.py:made"))
    assert str(caught.value) == f"Unknown factory in {tmp_path / 'nets.py'} 'made'. Did you mean make?"
    with pytest.raises(AbsentError) as caught:
        find_model(name_in_tree(tmp_path, "lenet"))
    assert str(caught.value) == (
        f"'lenet' is the name of a built-in, but {tmp_path} is not a repository of cnnbench. Name a factory in it: "
        "path/in/it.py:FACTORY."
    )


@pytest.mark.parametrize("folder", ["", "inner_of_broken"])
def test_a_file_that_cannot_be_imported_is_not_absent(tmp_path: Path, folder: str) -> None:
    write(tmp_path / folder, nets="x = 1\nraise RuntimeError('no')\n")
    if folder:
        (tmp_path / folder / "__init__.py").write_text("")
    name = "/".join(filter(None, (folder, "nets.py")))
    with pytest.raises(UsageError) as caught:
        find_model(name_in_tree(tmp_path, f"{name}:make"))
    assert not isinstance(caught.value, AbsentError)
    assert str(caught.value) == f"{tmp_path / name}, line 2: importing the file raised RuntimeError: no."


OWN_MODELS = """\
from dataclasses import dataclass
from typing import Any

from cnnbench.own import make

@dataclass
class Spec:
    name: str = "lenet"
    family: str = "f"
    source: str = "s"
    input_shape: tuple = (3,)
    classes: Any = None
    build: Any = make

MODELS = {"lenet": Spec()}
"""
OWN_NET = """\
from torch import nn

class Net(nn.Module):
    def forward(self, x):
        return x[:, :2]

def make():
    from cnnbench.late import check
    check()
    return Net()
"""


def own_package(folder: Path) -> Path:
    write(folder, cnnbench__own=OWN_NET, cnnbench__late="def check():\n    pass\n")
    (folder / "cnnbench" / "models").mkdir()
    (folder / "cnnbench" / "__init__.py").write_text("")
    (folder / "cnnbench" / "models" / "__init__.py").write_text(OWN_MODELS)
    return folder


def test_cnnbench_tree_builds_with_own_package_and_keeps_ours(tmp_path: Path) -> None:
    own_package(tmp_path)
    ours = {name: module for name, module in sys.modules.items() if name.partition(".")[0] == "cnnbench"}
    spec = find_model(name_in_tree(tmp_path, "lenet"))
    assert (spec.name, spec.input_shape) == (name_in_tree(tmp_path, "lenet"), (3,))
    model = spec.build()
    assert type(model).__module__ == "cnnbench.own"
    assert model(torch.zeros(1, 3)).shape == (1, 2)
    assert sys.modules["cnnbench.own"].__file__ == str(tmp_path / "cnnbench" / "own.py")  # for torch.compile
    assert {name: sys.modules[name] for name in ours} == ours
    assert "cnnbench.late" not in sys.modules
    import cnnbench.spec

    assert cnnbench.spec.__file__ != str(tmp_path / "cnnbench" / "spec.py")
    assert cnnbench.models.MODELS is MODELS


def test_name_missing_in_cnnbench_tree_names_closest(tmp_path: Path) -> None:
    own_package(tmp_path)
    with pytest.raises(AbsentError) as caught:
        find_model(name_in_tree(tmp_path, "lennet"))
    assert str(caught.value) == "Unknown model 'lennet'. Did you mean lenet?"
    assert cnnbench.models.MODELS is MODELS


def test_models_of_packages_are_what_is_installed(tmp_path: Path) -> None:
    spec = find_model(name_in_tree(tmp_path, "torchvision:resnet18"))
    assert (spec.name, spec.input_shape) == (name_in_tree(tmp_path, "torchvision:resnet18"), (3, 224, 224))
