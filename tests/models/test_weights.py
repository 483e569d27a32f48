from __future__ import annotations

import json
import re
import urllib.error
from argparse import Namespace
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from safetensors.torch import save_file
from torch import nn

from cnnbench.models import MODELS, find_model
from cnnbench.models.weight_file import SAVE_WEIGHTS
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


def wrapped(prefix: str) -> dict[str, torch.Tensor]:
    return {prefix + name: value for name, value in LENET.build().state_dict().items()}


@pytest.mark.parametrize(
    ("held", "note"),
    [
        (wrapped("module."), "'module.' taken off"),
        (wrapped("_orig_mod."), "'_orig_mod.' taken off"),
        (wrapped("module._orig_mod."), "'module.' taken off; '_orig_mod.' taken off"),
        ({"epoch": 3, "model_state_dict": wrapped("")}, "read from 'model_state_dict'"),
        ({"epoch": 3, "state_dict_ema": wrapped("")}, "read from 'state_dict_ema'"),
        ({"epoch": 3, "own_name": wrapped("")}, "read from 'own_name'"),
        (
            {"model": wrapped(""), "model_ema": wrapped("")},
            "read from 'model' and not from 'model_ema'",
        ),
        (
            {"pytorch-lightning_version": "2.4.0", "state_dict": wrapped("model.") | {"loss.weight": torch.ones(2)}},
            "read from 'state_dict'; 'model.' taken off, 1 other names left out",
        ),
    ],
)
def test_wrappers_are_taken_off_and_named(tmp_path: Path, held: dict[str, Any], note: str) -> None:
    torch.save(held, tmp_path / "w.pth")
    model = LENET.build()
    assert load_weights(model, LENET, str(tmp_path / "w.pth")) == (f"Weights of w.pth: {note}.",)
    inside = next((v for v in held.values() if isinstance(v, dict)), held)
    assert torch.equal(model.state_dict()["0.weight"], next(v for k, v in inside.items() if k.endswith("0.weight")))


def test_wrapped_model_with_a_part_called_net_is_not_stripped(tmp_path: Path) -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 2))

    state = Net().state_dict()
    torch.save(state, tmp_path / "w.pth")
    model = nn.Module()
    model.model = Net()
    assert load_weights(model, LENET, str(tmp_path / "w.pth")) == ("Weights of w.pth: 'model.' put before all names.",)
    assert same(model.model, state)


def test_a_model_that_insists_on_a_version_gets_one(tmp_path: Path) -> None:
    spec = find_model("torchvision:mnasnet0_5")
    state = spec.build().state_dict()
    save_file(dict(state), tmp_path / "w.safetensors")
    model = spec.build()
    assert load_weights(model, spec, str(tmp_path / "w.safetensors")) == ()
    assert same(model, dict(state))


@pytest.mark.parametrize("name", ["googlenet", "inception_v3"])
def test_models_that_normalise_themselves_do_so_with_any_weights(name: str) -> None:
    assert bool(find_model(f"torchvision:{name}").build().transform_input)


def test_a_file_of_an_old_torch_says_what_it_holds(tmp_path: Path) -> None:
    path = tmp_path / "old.pth"
    torch.save({"options": Namespace(lr=0.1)}, path, _use_new_zipfile_serialization=False)
    assert refusal(str(path)) == (
        f"'{path}' holds Python objects (argparse.Namespace), which could run code when they are loaded. {SAVE_WEIGHTS}"
    )


def test_model_that_wraps_another_takes_its_plain_weights(tmp_path: Path) -> None:
    class Wrapper(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = LENET.build()

    state = LENET.build().state_dict()
    torch.save(state, tmp_path / "w.pth")
    model = Wrapper()
    assert load_weights(model, LENET, str(tmp_path / "w.pth")) == ("Weights of w.pth: 'inner.' put before all names.",)
    assert same(model.inner, state)


@pytest.mark.parametrize("name", ["w.pth", "w.safetensors"])
def test_batch_counters_may_be_missing(tmp_path: Path, name: str) -> None:
    spec = MODELS["resnet18"]
    state = {key: value for key, value in spec.build().state_dict().items() if "num_batches_tracked" not in key}
    (save_file if name.endswith("safetensors") else torch.save)(state, tmp_path / name)
    model = spec.build()
    assert load_weights(model, spec, str(tmp_path / name)) == ()
    assert torch.equal(model.state_dict()["fc.weight"], state["fc.weight"])


def old_densenet() -> dict[str, torch.Tensor]:
    """Return weights under the names of torchvision's published file, which is older than its code."""
    state = torchvision.models.densenet121().state_dict()
    names = {key: re.sub(r"(denselayer\d+\.(?:norm|conv))([12]\.)", r"\1.\2", key) for key in state}
    return {names[key]: value for key, value in state.items() if not key.endswith("num_batches_tracked")}


@pytest.mark.parametrize("by_file", [False, True])
def test_published_names_of_densenet_are_understood(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, by_file: bool
) -> None:
    spec, state = find_model("torchvision:densenet121"), old_densenet()
    torch.save(state, tmp_path / "published.pth")
    give(monkeypatch, dict(state))
    model = spec.build()
    load_weights(model, spec, str(tmp_path / "published.pth") if by_file else "default")
    own = model.state_dict()
    layer = "features.denseblock1.denselayer1"
    for new, old in (("norm1", "norm.1"), ("conv2", "conv.2")):
        assert torch.equal(own[f"{layer}.{new}.weight"], state[f"{layer}.{old}.weight"])


def test_shards_are_joined_by_their_index(tmp_path: Path) -> None:
    state = LENET.build().state_dict()
    parts = {"a.safetensors": dict(list(state.items())[:4]), "b.safetensors": dict(list(state.items())[4:])}
    for name, part in parts.items():
        save_file(part, tmp_path / name)
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {key: name for name, part in parts.items() for key in part}}))
    model = LENET.build()
    assert load_weights(model, LENET, str(index)) == ()
    assert same(model, state)
    (tmp_path / "b.safetensors").unlink()
    assert refusal(str(index)) == f"'{index}' names b.safetensors, but there is no such file beside it."
    index.write_text('{"weight_map": {"0.weight": "../a.safetensors"}}')
    assert refusal(str(index)) == f"'{index}' names '../a.safetensors', which is not a file beside it."
    index.write_text("[]")
    assert refusal(str(index)).startswith(f"'{index}' is not an index of safetensors files: ")


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
        " 0.bias is (7,) where the model has (6,). Names in the file look like extra, names of the model like 0.weight."
    )
    save_file({"a": torch.zeros(1)}, tmp_path / "a.safetensors")
    assert refusal(str(tmp_path / "a.safetensors")).endswith(
        "0.weight is missing; 0.bias is missing; 3.weight is missing, and 8 more. "
        "Names in the file look like a, names of the model like 0.weight."
    )


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
def test_a_pickled_network_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "whole.pth"
    torch.save(nn.Sequential(nn.Linear(2, 2)), path)
    assert refusal(str(path)) == (
        f"'{path}' holds Python objects (torch.nn.modules.container.Sequential, torch.nn.modules.linear.Linear), which"
        f" could run code when they are loaded. {SAVE_WEIGHTS}"
    )
    torch.jit.script(nn.Linear(2, 2)).save(str(path))  # type: ignore[no-untyped-call]
    assert refusal(str(path)) == f"'{path}' is a TorchScript program, not weights. {SAVE_WEIGHTS}"
    path.write_bytes(b"no weights")
    assert refusal(str(path)) == f"'{path}' is damaged, or torch.save did not write it. {SAVE_WEIGHTS}"


def test_a_file_without_a_state_dict_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "number.pt"
    torch.save({"epoch": 3}, path)
    assert refusal(str(path)) == (f"'{path}' holds 'epoch', but no state dict, which maps parameter names to tensors.")
    torch.save(3, path)
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
    published = torchvision.models.googlenet(weights=None, aux_logits=True, init_weights=False)
    give(monkeypatch, published.state_dict())
    load_weights(model, spec, "default")
    assert bool(model.transform_input)
