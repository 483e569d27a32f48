from __future__ import annotations

import importlib.metadata
import importlib.util
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch import nn

from cnnbench.image_types import ImageTransform
from cnnbench.models import MODELS, check_name, find_model, list_models
from cnnbench.spec import CnnbenchError, MissingError, ModelSpec, UsageError

FORMS = "A model is a built-in, one from a plugin, torchvision:NAME, timm:NAME or FILE.py:FACTORY."

GOOD = """\
import dataclasses
from torch import nn
from helper_of_this_test import WIDTH as width

if True:
    def tiny():
        return nn.Linear(width, 2)

class Net(nn.Linear):
    def __init__(self):
        super().__init__(3, 2)

made = nn.Linear(3, 2)
first, (second, *rest) = None, (None, None)

def fails():
    wide = 4
    raise RuntimeError("no such width: 4")

def gives_text():
    return "model"
"""


@pytest.fixture
def model_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "helper_of_this_test.py").write_text("WIDTH = 3\n")
    (tmp_path / "nets.py").write_text(GOOD)
    return Path("nets.py")


def message_of(name: str, kind: type[CnnbenchError] = UsageError, *, checks: bool = True) -> str:
    """Return what find_model says, after making sure that check_name says the same."""
    with pytest.raises(kind) as found:
        find_model(name)
    if checks:
        with pytest.raises(kind) as checked:
            check_name(name)
        assert str(checked.value) == str(found.value)
    return str(found.value)


def test_a_built_in_is_found_as_it_is() -> None:
    check_name("lenet")
    assert find_model("lenet") is MODELS["lenet"]
    assert find_model("lenet", (3, 32, 32)) is MODELS["lenet"]


def test_another_input_voids_the_counts_that_depend_on_it() -> None:
    spec = find_model("resnet18", (3, 64, 64))
    assert spec == replace(MODELS["resnet18"], input_shape=(3, 64, 64), macs=None, mult_adds=None)


def test_an_unknown_name_is_answered_with_close_ones() -> None:
    assert message_of("lennet") == f"Unknown model 'lennet'. Did you mean lenet? {FORMS}"


def test_an_unknown_source_is_answered_with_the_forms() -> None:
    assert message_of("hub:lenet") == f"Unknown source 'hub' in 'hub:lenet'. {FORMS}"


def test_a_file_without_a_factory_is_refused(model_file: Path) -> None:
    assert message_of("nets.py") == (
        "'nets.py' does not name a factory. Write nets.py:FACTORY, a function that returns a model."
    )


def test_a_missing_file_is_named_with_the_folder(model_file: Path, tmp_path: Path) -> None:
    assert message_of("net.py:tiny") == f"There is no file 'net.py' (looked in {tmp_path})."


@pytest.mark.parametrize("factory", ["tiny", "Net"])
def test_a_factory_of_a_file_makes_the_network(model_file: Path, factory: str) -> None:
    name = f"nets.py:{factory}"
    check_name(name)
    path = list(sys.path)
    spec = find_model(name)
    assert sys.path == [*path, str(model_file.resolve().parent)]  # last: it hides no installed package
    assert (spec.name, spec.family, spec.input_shape) == (name, "file", (3, 224, 224))
    assert spec.source == str(model_file.resolve())
    assert isinstance(spec.build(), nn.Linear)
    assert find_model(name, (1, 8, 8)).input_shape == (1, 8, 8)


@pytest.mark.parametrize("name", ["made", "second", "rest", "width", "dataclasses"])
def test_every_name_of_the_top_level_is_known_without_executing(model_file: Path, name: str) -> None:
    check_name(f"nets.py:{name}")


@pytest.mark.parametrize("name", ["wide", "self"])
def test_names_inside_functions_are_no_factories(model_file: Path, name: str) -> None:
    with pytest.raises(UsageError, match=rf"^Unknown factory in nets\.py '{name}'\. "):
        check_name(f"nets.py:{name}")


def test_an_unknown_factory_is_answered_with_close_ones(model_file: Path) -> None:
    assert message_of("nets.py:tinny") == "Unknown factory in nets.py 'tinny'. Did you mean tiny?"


def test_a_star_import_leaves_the_question_to_the_worker(tmp_path: Path) -> None:
    file = tmp_path / "stars.py"
    file.write_text("from torch.nn import *\n")
    check_name(f"{file}:Sequential")
    assert isinstance(find_model(f"{file}:Sequential").build(), nn.Sequential)


def test_a_thing_that_cannot_be_called_is_no_factory(tmp_path: Path) -> None:
    file = tmp_path / "numbers_only.py"
    file.write_text("WIDTH = 3\n")
    expected = f"'WIDTH' in {file} is of type int, not a function or class that makes a model."
    assert message_of(f"{file}:WIDTH", checks=False) == expected


def test_checking_does_not_execute_the_file(tmp_path: Path) -> None:
    file = tmp_path / "loud.py"
    file.write_text("raise SystemExit('executed')\ndef net(): ...\n")
    check_name(f"{file}:net")
    expected = (
        f"{file}, line 1: importing the file ended the program (SystemExit: executed). If it reads the command line, "
        "move that under: if __name__ == '__main__':"
    )
    assert message_of(f"{file}:net", checks=False) == expected


def test_a_file_that_fails_to_import_is_named_with_its_line(tmp_path: Path) -> None:
    file = tmp_path / "broken.py"
    file.write_text("import math\n\nmath.sqrt(-1)\ndef net(): ...\n")
    assert message_of(f"{file}:net", checks=False).startswith(f"{file}, line 3: importing the file raised ValueError: ")
    assert not [
        name for name in sys.modules if name.startswith("cnnbench_file_") and "broken" in str(sys.modules[name])
    ]


def test_a_file_that_is_not_python_is_named_with_its_line(tmp_path: Path) -> None:
    file = tmp_path / "text.py"
    file.write_text("import math\nthis is no code\n")
    with pytest.raises(UsageError) as checked:
        check_name(f"{file}:net")
    assert str(checked.value) == f"{file}, line 2: the file is not valid Python: SyntaxError: invalid syntax."
    with pytest.raises(UsageError) as found:
        find_model(f"{file}:net")
    assert str(found.value) == f"{file}, line 2: importing the file raised SyntaxError: invalid syntax."


def test_a_factory_that_raises_is_named_with_its_line(model_file: Path) -> None:
    spec = find_model("nets.py:fails")
    with pytest.raises(CnnbenchError) as raised:
        spec.build()
    assert str(raised.value) == "nets.py, line 18: fails() raised RuntimeError: no such width: 4."
    assert raised.value.exit_code == 1


def test_a_factory_that_returns_something_else_is_named(model_file: Path) -> None:
    spec = find_model("nets.py:gives_text")
    with pytest.raises(CnnbenchError) as raised:
        spec.build()
    assert str(raised.value) == "nets.py: gives_text() returned a str, not a torch.nn.Module."


def test_files_of_the_same_name_are_kept_apart(tmp_path: Path) -> None:
    for width in (2, 3):
        (tmp_path / str(width)).mkdir()
        (tmp_path / str(width) / "net.py").write_text(
            f"from torch import nn\ndef net(): return nn.Linear({width}, 1)\n"
        )
    widths = [find_model(f"{tmp_path / str(width)}/net.py:net").build() for width in (2, 3)]
    assert [layer.in_features for layer in widths if isinstance(layer, nn.Linear)] == [2, 3]


def test_torchvision_model_has_input_of_default_weights() -> None:
    check_name("torchvision:efficientnet_b1")
    spec = find_model("torchvision:efficientnet_b1")
    assert (spec.family, spec.input_shape, spec.classes, spec.params, spec.pretrained) == (
        "torchvision",
        (3, 240, 240),
        1000,
        7_794_184,
        "efficientnet_b1",
    )
    assert find_model("torchvision:efficientnet_b1", (3, 64, 64)).params is None


def test_torchvision_transformer_is_built_for_requested_input() -> None:
    spec = find_model("torchvision:vit_b_32", (3, 64, 64))
    with torch.device("meta"), torch.no_grad():
        assert spec.build().eval()(torch.zeros(1, 3, 64, 64)).shape == (1, 1000)


def test_unknown_torchvision_model_names_closest() -> None:
    check_name("torchvision:resnet19")  # the worker knows, the coordinator imports no torch
    assert message_of("torchvision:resnet19", checks=False) == (
        "Unknown torchvision model 'resnet19'. Did you mean resnet18, resnet152, resnet101?"
    )


@pytest.mark.skipif(importlib.util.find_spec("timm") is None, reason="timm is not installed")
def test_a_timm_model_has_the_input_of_its_weights() -> None:
    check_name("timm:resnet10t")
    spec = find_model("timm:resnet10t")
    assert (spec.family, spec.input_shape, spec.classes) == ("timm", (3, 176, 176), 1000)
    assert isinstance(spec.build(), nn.Module)
    with pytest.raises(UsageError, match=r"^Unknown timm model 'resnet10x'\. Did you mean "):
        find_model("timm:resnet10x")


def test_without_timm_the_message_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert message_of("timm:resnet10t", MissingError) == (
        "The model 'timm:resnet10t' needs timm: pip install 'cnnbench[timm]'"
    )


def plug(monkeypatch: pytest.MonkeyPatch, **things: object) -> None:
    """Install plugins: entry points into a module that holds `things`; an exception among them is raised on loading."""
    module = ModuleType("plugged_for_a_test")

    def get(name: str) -> object:
        thing = things.get(name)
        if isinstance(thing, Exception):
            raise thing
        return thing

    module.__getattr__ = get  # type: ignore[method-assign]
    monkeypatch.setitem(sys.modules, module.__name__, module)
    group = "cnnbench.models"
    entries = [importlib.metadata.EntryPoint(n, f"{module.__name__}:{n}", group) for n in things]
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda group: importlib.metadata.EntryPoints(entries))


MINE = ModelSpec(name="mine", family="mine", source="a test", input_shape=(3, 8, 8), build=nn.Identity)
YOURS = replace(MINE, name="yours")


def test_a_plugin_gives_one_spec_or_several(monkeypatch: pytest.MonkeyPatch) -> None:
    plug(monkeypatch, one=MINE, several=[YOURS])
    check_name("mine")
    assert find_model("mine") is MINE
    assert find_model("yours", (3, 9, 9)) == replace(YOURS, input_shape=(3, 9, 9))
    assert list_models().specs == (*MODELS.values(), MINE, YOURS)
    assert dict(list_models().problems) == {}


def test_a_broken_plugin_is_reported_only_where_it_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    plug(
        monkeypatch,
        broken=ImportError("no module named 'gone'"),
        one=MINE,
        text="ab",
        taken=[replace(MINE, name="lenet")],
    )
    broken = "The plugin 'broken' (plugged_for_a_test:broken) could not be loaded: ImportError: no module named 'gone'."
    taken = "The plugin 'taken' (plugged_for_a_test:taken) gives a model 'lenet', but that name is already taken."
    text = "The plugin 'text' (plugged_for_a_test:text) gives a str where a ModelSpec is expected."
    assert find_model("mine") is MINE
    assert find_model("lenet") is MODELS["lenet"]
    assert message_of("broken", CnnbenchError) == broken
    assert dict(list_models().problems) == {"broken": broken, "taken": taken, "text": text}
    assert message_of("mene") == f"Unknown model 'mene'. Did you mean mine, lenet? {broken} {taken} {text} {FORMS}"


def test_listing_the_models_imports_no_torch() -> None:
    code = "import sys, cnnbench.models as m; print(len(m.list_models().specs) >= 17, 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "True False\n"


def test_published_weights_say_how_they_expect_images() -> None:
    found = find_model("torchvision:efficientnet_v2_l").transform
    assert found == ImageTransform(mean=(0.5,) * 3, std=(0.5,) * 3, resize=1.0, interpolation="bicubic")
    found = find_model("torchvision:mobilenet_v2").transform
    assert found is not None
    assert (round(224 * found.resize), found.interpolation) == (232, "bilinear")


def test_timm_says_how_its_weights_expect_images() -> None:
    pytest.importorskip("timm")
    found = find_model("timm:test_resnet").transform
    assert found is not None
    assert (found.mean, found.std) == ((0.5,) * 3, (0.5,) * 3)
