from __future__ import annotations

from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import nn

from cnnbench.checkpoint import CheckpointInfo, load, save
from cnnbench.models.weights import load_weights
from cnnbench.spec import DEFAULT_RECIPE, ModelSpec, UsageError

INFO = CheckpointInfo(
    model="small",
    input_shape=(1, 2, 2),
    classes=2,
    dataset="digits",
    recipe=DEFAULT_RECIPE,
    epochs=3,
    seed=7,
    top1=0.1 + 0.2,  # every digit is kept
    cnnbench="1.2.3",
    torch="2.0",
)


def load_into(model: nn.Module, path: Path) -> None:
    spec = ModelSpec(name="small", family="", source="", input_shape=(1, 2, 2), build=make_model)
    load_weights(model, spec, str(path))


def values(model: nn.Module) -> list[torch.Tensor]:
    return [value.clone() for value in model.state_dict().values()]


def same(one: nn.Module, other: nn.Module) -> bool:
    return all(map(torch.equal, values(one), values(other)))


def make_model(outputs: int = 2, *, normalised: bool = True) -> nn.Sequential:
    return nn.Sequential(nn.Flatten(), nn.Linear(4, outputs), *([nn.BatchNorm1d(outputs)] if normalised else []))


def test_weights_buffers_and_info_come_back(tmp_path: Path) -> None:
    path = tmp_path / "new" / "small.safetensors"
    one, other = make_model(), make_model()
    one(torch.rand(5, 1, 2, 2))  # moves the batch statistics
    save(path, one, INFO)
    assert load(path) == INFO
    load_into(other, path)
    assert same(one, other)
    assert [file.name for file in path.parent.iterdir()] == ["small.safetensors"]


def test_unusual_weights_are_kept(tmp_path: Path) -> None:
    shared, conv = nn.Linear(3, 3), nn.Conv2d(3, 4, 2).to(memory_format=torch.channels_last)
    shared.weight.data = shared.weight.data.t()
    model = nn.Sequential(shared, conv, shared)
    save(tmp_path / "w.safetensors", model, INFO)
    before = values(model)
    nn.init.zeros_(shared.weight)
    load_into(model, tmp_path / "w.safetensors")
    assert all(map(torch.equal, before, values(model)))


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "small.safetensors"
    save(path, make_model(), INFO)
    old = path.read_bytes()

    def half(tensors: object, file: Path, metadata: object) -> None:
        file.write_bytes(b"half")
        raise OSError("No space left on device")

    monkeypatch.setattr(safetensors.torch, "save_file", half)
    with pytest.raises(UsageError) as caught:
        save(path, make_model(), INFO)
    assert str(caught.value) == f"Cannot write the checkpoint {path}: No space left on device."
    assert path.read_bytes() == old
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_is_a_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    path = tmp_path / "taken" / "small.safetensors"
    with pytest.raises(UsageError) as caught:
        save(path, make_model(), INFO)
    assert str(caught.value).startswith(f"Cannot write the checkpoint {path}: ")


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    path = tmp_path / "none.safetensors"
    with pytest.raises(UsageError) as caught:
        load(path)
    assert str(caught.value) == f"There is no checkpoint file {path}."
    with pytest.raises(UsageError) as caught:
        load_into(make_model(), path)
    assert str(caught.value) == f"There is no weight file '{path}'. Give 'none', 'default' or the path of a file."


@pytest.mark.parametrize("content", [b"", b"\x80\x02pickle of something old", b"PK" * 400])
def test_another_kind_of_file_is_told(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "model.pt"
    path.write_bytes(content)
    with pytest.raises(UsageError) as caught:
        load(path)
    assert str(caught.value).startswith(f"{path} is not a readable safetensors file: ")


def test_foreign_weights_load_but_name_no_model(tmp_path: Path) -> None:
    path = tmp_path / "theirs.safetensors"
    theirs, ours = make_model(), make_model()
    safetensors.torch.save_file(theirs.state_dict(), path)
    load_into(ours, path)
    assert same(theirs, ours)
    with pytest.raises(UsageError) as caught:
        load(path)
    assert str(caught.value) == (
        f"{path} is a safetensors file that cnnbench did not write, so it does not name its model. "
        "Name the model, and give the file as its weights."
    )


def test_info_of_another_form_is_told_with_its_field(tmp_path: Path) -> None:
    path = tmp_path / "odd.safetensors"
    safetensors.torch.save_file(make_model().state_dict(), path, metadata={"cnnbench": '{"model": 3}'})
    with pytest.raises(UsageError) as caught:
        load(path)
    assert str(caught.value) == (
        f"The metadata of the checkpoint {path} cannot be read: Expected `str`, got `int` - at `$.model`."
    )


def test_weights_that_do_not_fit_are_told_as_a_run_tells_it(tmp_path: Path) -> None:
    path = tmp_path / "small.safetensors"
    save(path, make_model(3, normalised=False), INFO)
    model = make_model()
    with pytest.raises(UsageError) as caught:
        load_into(model, path)
    assert str(caught.value) == (
        f"The weights {path} do not fit the model: 2.weight is missing; 2.bias is missing; "
        "2.running_mean is missing, and 3 more."
    )
