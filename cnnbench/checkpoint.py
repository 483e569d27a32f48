"""Keep trained weights in safetensors files that say what they are, and put them back into networks built by name."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from safetensors import SafetensorError, safe_open

from cnnbench.spec import ModelSpec, Recipe, Shape, UsageError

if TYPE_CHECKING:
    from torch import nn

_KEY = "cnnbench"


@dataclass(frozen=True, kw_only=True, slots=True)
class CheckpointInfo:
    """What a checkpoint holds: the network's name, how it was trained, its share of correct test pictures, versions."""

    model: str
    input_shape: Shape
    classes: int
    dataset: str | None = None
    recipe: Recipe | None = None
    epochs: int | None = None
    seed: int | None = None
    top1: float | None = None
    cnnbench: str
    torch: str


def save(path: Path, model: nn.Module, info: CheckpointInfo) -> None:
    """Write the weights and buffers of `model` with `info` to `path`, whole or not at all.

    Raises:
        UsageError: the file cannot be written.
    """
    from safetensors.torch import save_file

    tensors = {name: value.detach().cpu().clone().contiguous() for name, value in model.state_dict().items()}
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file(tensors, part, metadata={_KEY: msgspec.json.encode(info).decode()})
        part.replace(path)  # in one folder, so a reader sees the old file or the new one
    except (OSError, SafetensorError) as error:
        raise UsageError(f"Cannot write the checkpoint {path}: {error}.") from error
    finally:
        with contextlib.suppress(OSError):  # the folder may not be there
            part.unlink()


def load(path: Path) -> CheckpointInfo:
    """Return what the checkpoint at `path` says about itself, without reading its weights.

    Raises:
        UsageError: there is no such file, it is no safetensors file, or cnnbench did not write it.
    """
    _check_exists(path)
    try:
        with safe_open(path, framework="numpy") as opened:
            metadata = opened.metadata() or {}
    except (OSError, SafetensorError) as error:
        raise _unreadable(path, error) from error
    if _KEY not in metadata:
        raise UsageError(
            f"{path} is a safetensors file, but does not say which network it is for: cnnbench did not write it. "
            "Name the network, and give the file as its weights."
        )
    try:
        return msgspec.json.decode(metadata[_KEY], type=CheckpointInfo)
    except msgspec.MsgspecError as error:
        raise UsageError(f"{path}: what the checkpoint says about itself cannot be read: {error}.") from error


def load_into(model: nn.Module, path: Path) -> None:
    """Put the weights and buffers at `path` into `model`, as every run does that is given a file of weights.

    Raises:
        UsageError: there is no such file, it cannot be read, or names or shapes differ.
    """
    from cnnbench.models.weights import load_weights

    # A file needs no spec: that is for weights known by the network's name.
    spec = ModelSpec(name=str(path), family="", source="", input_shape=(), build=lambda: model)
    load_weights(model, spec, str(path.absolute()))


def _check_exists(path: Path) -> None:
    if not path.is_file():
        raise UsageError(f"There is no checkpoint file {path}.")


def _unreadable(path: Path, error: Exception) -> UsageError:
    return UsageError(f"{path} is not a readable safetensors file: {error}.")
