from __future__ import annotations

import urllib.error
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from safetensors.torch import save_file
from torch import nn

from cnnbench.models import MODELS, find_model
from cnnbench.models.weights import load_weights
from cnnbench.spec import MissingError, UsageError

LENET = MODELS["lenet"]


def same(model: nn.Module, state: dict[str, torch.Tensor]) -> bool:
    own = model.state_dict()
    return own.keys() == state.keys() and all(torch.equal(own[key], state[key]) for key in own)


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise urllib.error.URLError("no route to host")

    monkeypatch.setattr(torchvision.models._api, "load_state_dict_from_url", refuse)


def give(monkeypatch: pytest.MonkeyPatch, state: dict[str, Any]) -> None:
    monkeypatch.setattr(torchvision.models._api, "load_state_dict_from_url", lambda *_, **__: state)


def test_none_leaves_the_network_as_it_is() -> None:
    model = LENET.build()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    load_weights(model, LENET, "none")
    assert same(model, before)


@pytest.mark.parametrize("name", ["w.safetensors", "w.pt", "w.ckpt"])
def test_a_file_is_loaded(tmp_path: Path, name: str) -> None:
    state = LENET.build().state_dict()
    path = tmp_path / name
    if name == "w.safetensors":
        save_file(state, path)
    else:
        torch.save(state if name == "w.pt" else {"state_dict": state, "epoch": 3}, path)
    model = LENET.build()
    load_weights(model, LENET, str(path))
    assert same(model, state)


def refusal(choice: str) -> str:
    with pytest.raises(UsageError) as refused:
        load_weights(LENET.build(), LENET, choice)
    return str(refused.value)


def test_a_missing_file_is_named() -> None:
    assert refusal("gone.pt") == ("There is no weight file 'gone.pt'. Give 'none', 'default' or the path of a file.")


def test_weights_that_do_not_fit_are_named(tmp_path: Path) -> None:
    path = tmp_path / "other.pt"
    state = LENET.build().state_dict()
    state["extra"] = state.pop("0.weight")
    state["0.bias"] = torch.zeros(7)
    torch.save(state, path)
    assert refusal(str(path)) == (
        f"The weights {path} do not fit the model: 0.weight is missing; extra is not in the model;"
        " 0.bias is (7,) where the model has (6,)."
    )
    save_file({"a": torch.zeros(1)}, tmp_path / "a.safetensors")
    assert refusal(str(tmp_path / "a.safetensors")).endswith(
        "0.weight is missing; 0.bias is missing; 3.weight is missing, and 8 more."
    )


def test_a_pickled_network_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "whole.pth"
    torch.save(LENET.build(), path)
    assert refusal(str(path)) == (
        f"'{path}' holds something other than tensors, or is damaged. Save only the weights, with"
        " torch.save(model.state_dict(), path) or as safetensors."
    )


def test_a_file_without_a_state_dict_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "number.pt"
    torch.save({"epoch": 3}, path)
    assert refusal(str(path)) == f"'{path}' does not hold a state dict, which maps parameter names to tensors."


def test_a_damaged_safetensors_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "bad.safetensors"
    path.write_bytes(b"no tensors")
    assert refusal(str(path)).startswith(f"'{path}' is not a safetensors file: ")


def test_a_model_without_default_weights_says_so() -> None:
    assert refusal("default") == ("No default weights are known for 'lenet'. Give 'none' or the path of a weight file.")


@pytest.mark.usefixtures("offline")
def test_without_network_the_message_says_where_the_file_goes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    spec = MODELS["resnet18"]
    with pytest.raises(MissingError) as missing:
        load_weights(spec.build(), spec, "default")
    assert str(missing.value) == (
        "The weights ResNet18_Weights.IMAGENET1K_V1 could not be downloaded from"
        " https://download.pytorch.org/models/resnet18-f37072fd.pth (<urlopen error no route to host>). Put that file"
        f" into {tmp_path}/hub/checkpoints, where torch.hub keeps its files, or set TORCH_HOME to a folder that has it,"
        " or use --weights none."
    )


def test_default_weights_are_loaded_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = find_model("torchvision:squeezenet1_1")
    state = spec.build().state_dict()
    give(monkeypatch, state)
    model = spec.build()
    load_weights(model, spec, "default")
    assert same(model, state)


def test_a_transfer_network_keeps_its_own_head_and_stays_frozen(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = MODELS["resnet18_transfer"]
    published = MODELS["resnet18"].build().state_dict()
    give(monkeypatch, published)
    model = spec.build()
    head = {key: value.clone() for key, value in model.state_dict().items() if key.startswith("fc.")}
    load_weights(model, spec, "default")
    assert same(model, {key: value for key, value in published.items() if not key.startswith("fc.")} | head)
    assert sum(p.numel() for p in model.parameters() if p.requires_grad) == spec.trainable_params


@pytest.mark.parametrize("name", ["resnet18_transfer", "mobilenet_v2_transfer"])
def test_published_weights_fill_transfer_network_except_head(tmp_path: Path, name: str) -> None:
    spec = MODELS[name]
    published = MODELS[spec.pretrained or ""].build().state_dict()
    torch.save(published, tmp_path / "published.pth")
    model = spec.build()
    head = [child for child, _ in model.named_children()][-1] + "."
    own = {key: value.clone() for key, value in model.state_dict().items() if key.startswith(head)}
    load_weights(model, spec, str(tmp_path / "published.pth"))
    assert same(model, {key: value for key, value in published.items() if not key.startswith(head)} | own)
    assert sum(p.numel() for p in model.parameters() if p.requires_grad) == spec.trainable_params


def test_a_head_that_fits_is_never_left_out(tmp_path: Path) -> None:
    published = MODELS["resnet18"]
    spec = replace(published, name="my_resnet", pretrained="resnet18")
    state = published.build().state_dict()
    torch.save(state, tmp_path / "trained.pth")
    model = published.build()
    load_weights(model, spec, str(tmp_path / "trained.pth"))
    assert same(model, state)


def test_transfer_weights_load_whole_and_other_head_is_refused(tmp_path: Path) -> None:
    spec = MODELS["resnet18_transfer"]
    state = spec.build().state_dict()
    torch.save(state, tmp_path / "own.pth")
    model = spec.build()
    load_weights(model, spec, str(tmp_path / "own.pth"))
    assert same(model, state)
    torch.save(state | {"fc.weight": torch.zeros(3, 512), "fc.bias": torch.zeros(3)}, tmp_path / "three.pth")
    with pytest.raises(UsageError, match=r"fc\.weight is \(3, 512\) where the model has \(2, 512\)"):
        load_weights(model, spec, str(tmp_path / "three.pth"))


def test_another_network_than_the_published_one_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    give(monkeypatch, MODELS["resnet18"].build().state_dict())
    spec = replace(LENET, pretrained="resnet18")
    with pytest.raises(UsageError, match=r"^The weights ResNet18_Weights\.IMAGENET1K_V1 do not fit the model: "):
        load_weights(LENET.build(), spec, "default")


def test_googlenet_gets_the_input_transform_of_its_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = find_model("torchvision:googlenet")
    model = spec.build()
    give(monkeypatch, model.state_dict() | {"aux1.conv.conv.weight": torch.zeros(1)})
    load_weights(model, spec, "default")
    assert bool(model.transform_input)
