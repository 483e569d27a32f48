"""Models written into a file for another process: found by name where that is possible, else as models."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from cnnbench.models import find_model
from cnnbench.models.saved_model import MAKE_IT, label_of, save_model
from cnnbench.spec import CnnbenchError, UsageError


def make() -> nn.Module:
    return nn.Linear(3, 4)


def makes_text() -> str:
    return "model"


@pytest.fixture(autouse=True)
def own_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))


def test_a_function_is_found_by_its_name(tmp_path: Path) -> None:
    name = save_model(tmp_path / "one", make)
    spec = find_model(name, (3,))
    assert (name, spec.name, spec.input_shape) == (f"saved:{tmp_path / 'one'}", name, (3,))
    assert spec.build()(torch.zeros(2, 3)).shape == (2, 4)
    assert spec.build() is not spec.build()


def test_saved_network_keeps_weights_and_builds_anew_each_time(tmp_path: Path) -> None:
    model = make()
    spec = find_model(save_model(tmp_path / "one", model))
    found, other = spec.build(), spec.build()
    images = torch.randn(2, 3)
    assert torch.equal(found(images), model(images))
    found.double()
    assert torch.equal(other(images), model(images))


def test_a_lambda_is_called_at_once(tmp_path: Path) -> None:
    width = 5
    spec = find_model(save_model(tmp_path / "one", lambda: nn.Linear(3, width)))
    assert spec.build()(torch.zeros(2, 3)).shape == (2, 5)


def test_other_process_finds_module_outside_its_path(tmp_path: Path) -> None:
    (tmp_path / "hidden_net.py").write_text("from torch import nn\n\nclass Net(nn.Linear):\n    pass\n")
    writing = (
        "import importlib.util, sys\n"
        f"found = importlib.util.spec_from_file_location('hidden_net', {str(tmp_path / 'hidden_net.py')!r})\n"
        "module = sys.modules['hidden_net'] = importlib.util.module_from_spec(found)\n"
        "found.loader.exec_module(module)\n"
        "from pathlib import Path\n"
        "from cnnbench.models.saved_model import save_model\n"
        f"print(save_model(Path({str(tmp_path / 'one')!r}), module.Net(3, 6)))\n"
    )
    done = subprocess.run([sys.executable, "-c", writing], capture_output=True, text=True, check=True, timeout=60)
    try:
        assert find_model(done.stdout.strip()).build()(torch.zeros(1, 3)).shape == (1, 6)
    finally:
        sys.modules.pop("hidden_net", None)


def test_what_is_no_network_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        save_model(tmp_path / "one", 3)
    assert str(caught.value) == "The model is a int. Give a model, or a function that makes one."
    with pytest.raises(UsageError) as caught:
        save_model(tmp_path / "one", lambda: "model")
    assert str(caught.value) == "<lambda>() returned a str, not a torch.nn.Module."
    spec = find_model(save_model(tmp_path / "one", makes_text))
    with pytest.raises(CnnbenchError) as broken:
        spec.build()
    assert str(broken.value) == "makes_text() returned a str, not a torch.nn.Module."


def test_a_network_of_a_local_class_cannot_be_handed_over(tmp_path: Path) -> None:
    class Local(nn.Linear):
        pass

    with pytest.raises(UsageError) as caught:
        save_model(tmp_path / "one", Local(3, 4))
    assert str(caught.value).startswith("The model cannot be handed to another process: ")
    assert str(caught.value).endswith(f". {MAKE_IT}")


def test_modules_that_are_gone_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "gone_net.py").write_text("from torch import nn\n\nclass Net(nn.Linear):\n    pass\n")
    sys.path.insert(0, str(tmp_path))
    import gone_net  # type: ignore[import-not-found]

    name = save_model(tmp_path / "one", gone_net.Net(3, 4))
    monkeypatch.delitem(sys.modules, "gone_net")
    (tmp_path / "gone_net.py").write_text("")
    with pytest.raises(UsageError) as caught:
        find_model(name)
    assert str(caught.value).startswith("The model cannot be loaded in another process: AttributeError: ")
    assert str(caught.value).endswith(f". {MAKE_IT}")


def test_names_for_people() -> None:
    assert [label_of(one) for one in (make, nn.Linear, nn.Linear(1, 1), lambda: None)] == [
        "make",
        "Linear",
        "Linear",
        "<lambda>",
    ]
