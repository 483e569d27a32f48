"""Save trained weights in safetensors files that describe themselves, and read the description back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from safetensors import SafetensorError, safe_open

from cnnbench.atomic_write import replacing
from cnnbench.spec import Recipe, RecipeName, Shape, UsageError

if TYPE_CHECKING:
    from torch import Tensor, nn

_KEY = "cnnbench"


@dataclass(frozen=True, kw_only=True, slots=True)
class CheckpointInfo:
    """Description of a checkpoint: model, training, share of correct test images (`top1`), and versions."""

    model: str
    input_shape: Shape
    classes: int
    dataset: str | None = None
    class_names: tuple[str, ...] = ()
    recipe: Recipe | None = None
    recipe_name: RecipeName = "tutorial"
    epochs: int | None = None
    seed: int | None = None
    top1: float | None = None
    cnnbench: str
    torch: str


def save(path: Path, model: nn.Module, info: CheckpointInfo) -> None:
    """Write the weights and buffers of `model`, and `info`, to `path`, whole or not at all.

    Raises:
        UsageError: the file cannot be written.
    """
    try:
        write_tensors(path, model.state_dict(), {_KEY: msgspec.json.encode(info).decode()})
    except (OSError, SafetensorError) as error:
        raise UsageError(f"Cannot write the checkpoint {path}: {error}.") from error


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: dict[str, str]) -> None:
    """Write `tensors` with `metadata` to a safetensors file, whole or not at all.

    Raises:
        OSError, SafetensorError: the file cannot be written.
    """
    from safetensors.torch import save_file

    # safetensors refuses tensors that share memory, so each one is copied.
    plain = {name: value.detach().cpu().clone().contiguous() for name, value in tensors.items()}

    with replacing(path) as part:
        save_file(plain, part, metadata=metadata)


def load(path: Path) -> CheckpointInfo:
    """Return what the checkpoint at `path` says about itself, without reading its weights.

    Raises:
        UsageError: the file does not exist, is not a safetensors file, or was not written by cnnbench.
    """
    _check_exists(path)

    # Only the header is read, and the framework "numpy" keeps torch from being imported.
    try:
        with safe_open(path, framework="numpy") as opened:
            metadata = opened.metadata() or {}
    except (OSError, SafetensorError) as error:
        raise _unreadable(path, error) from error

    # Other programs write safetensors files too; they hold weights, but not this description.
    if _KEY not in metadata:
        raise UsageError(
            f"{path} is a safetensors file that cnnbench did not write, so it does not name its model. "
            "Name the model, and give the file as its weights."
        )

    try:
        return msgspec.json.decode(metadata[_KEY], type=CheckpointInfo)
    except msgspec.MsgspecError as error:
        raise UsageError(f"The metadata of the checkpoint {path} cannot be read: {error}.") from error


def _check_exists(path: Path) -> None:
    if not path.is_file():
        raise UsageError(f"There is no checkpoint file {path}.")


def _unreadable(path: Path, error: Exception) -> UsageError:
    return UsageError(f"{path} is not a readable safetensors file: {error}.")
