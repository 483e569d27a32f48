"""Load weights into a built model: none, torchvision's default ones, or those of a file."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from cnnbench.spec import MissingError, ModelSpec, UsageError

# The number of classes of ImageNet, which torchvision's published models are trained on.
PUBLISHED_CLASSES = 1000

_SHOWN_KEYS = 3


def load_weights(model: nn.Module, spec: ModelSpec, choice: str) -> None:
    """Load weights into `model`, which was built from `spec`.

    `choice` is `none` (do nothing), `default` (torchvision's weights, downloaded if torch.hub does not have them yet)
    or the path of a file. The file is in safetensors format, or a state dict written by `torch.save`. A model with
    another head than the published one keeps its head under default weights, and under a file of the published ones.

    Raises:
        UsageError: the model has no default weights, there is no such file, or it does not fit the model.
        MissingError: the weights cannot be downloaded.
    """
    if choice == "none":
        return
    if choice == "default":
        _load_default(model, spec)
        return

    path = Path(choice)
    if not path.is_file():
        raise UsageError(f"There is no weight file '{choice}'. Give 'none', 'default' or the path of a file.")

    # The weights of the published model fit everything but the head of a model with a new one.
    state = _read(path)
    if _has_another_head(spec) and _is_published(model, state) and not _heads_match(model, state):
        state = _keep_own_head(model, state)

    # Checked before loading: torch's own message lists every name that differs.
    _check_fit(model, state, str(path))
    model.load_state_dict(state)


def _has_another_head(spec: ModelSpec) -> bool:
    """Return whether the model is a published one under another head."""
    return spec.pretrained is not None and spec.name.removeprefix("torchvision:") != spec.pretrained


def _is_published(model: nn.Module, state: Mapping[str, torch.Tensor]) -> bool:
    """Return whether the head in `state` is a published model's, judged by its number of classes."""
    head = _head(model)
    return any(key.startswith(head) and value.shape[:1] == (PUBLISHED_CLASSES,) for key, value in state.items())


def _heads_match(model: nn.Module, state: Mapping[str, torch.Tensor]) -> bool:
    """Return whether the head in `state` fits that of `model`."""
    head = _head(model)
    one, other = (
        {key: value.shape for key, value in held.items() if key.startswith(head)}
        for held in (model.state_dict(), state)
    )
    return one == other


def _head(model: nn.Module) -> str:
    """Return how the names of the head's parameters begin; the head is the model's last child."""
    return [name for name, _ in model.named_children()][-1] + "."


def _keep_own_head(model: nn.Module, state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return `state` with the head of `model` in place of its own."""
    head = _head(model)
    kept = {key: value for key, value in model.state_dict().items() if key.startswith(head)}
    return {key: value for key, value in state.items() if not key.startswith(head)} | kept


def _load_default(model: nn.Module, spec: ModelSpec) -> None:
    from torchvision import models

    if spec.pretrained is None:
        raise UsageError(f"No default weights are known for '{spec.name}'. Give 'none' or the path of a weight file.")

    weights = models.get_model_weights(spec.pretrained).DEFAULT
    state = _download(weights)
    # The model is built without the auxiliary heads, as torchvision builds it for these weights.
    if spec.pretrained == "googlenet":
        state = {key: value for key, value in state.items() if not key.startswith(("aux1.", "aux2."))}

    # GoogLeNet and Inception were trained with another normalisation; this makes them convert their inputs.
    if hasattr(model, "transform_input"):
        model.transform_input = True  # type: ignore[assignment]

    if _has_another_head(spec):
        state = _keep_own_head(model, state)
    _check_fit(model, state, str(weights))
    model.load_state_dict(state)


def _download(weights: Any) -> Mapping[str, torch.Tensor]:  # noqa: ANN401, RUF100 - torchvision has no types
    try:
        state: Mapping[str, torch.Tensor] = weights.get_state_dict(check_hash=True, progress=True)
    except (OSError, RuntimeError) as error:
        folder = Path(torch.hub.get_dir()) / "checkpoints"
        raise MissingError(
            f"The weights {weights} could not be downloaded from {weights.url} ({error}). Put that file into {folder},"
            " where torch.hub keeps its files, or set TORCH_HOME to a folder that has it, or use --weights none."
        ) from error
    return state


def _read(path: Path) -> Mapping[str, torch.Tensor]:
    """Return the state dict in a file; a checkpoint may hold it under `state_dict` or `model`."""
    if path.suffix == ".safetensors":
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            tensors: Mapping[str, torch.Tensor] = load_file(path)
        except SafetensorError as error:
            raise UsageError(f"'{path}' is not a safetensors file: {error}") from error
        return tensors

    # `weights_only` keeps the pickle in the file from running code.
    try:
        held = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError) as error:
        raise UsageError(
            f"'{path}' holds something other than tensors, or is damaged. Save only the weights, with"
            " torch.save(model.state_dict(), path) or as safetensors."
        ) from error

    # A checkpoint also holds other things, such as the optimiser's state.
    if isinstance(held, dict):
        held = next((held[key] for key in ("state_dict", "model") if isinstance(held.get(key), dict)), held)
    if not isinstance(held, dict) or not all(isinstance(value, torch.Tensor) for value in held.values()):
        raise UsageError(f"'{path}' does not hold a state dict, which maps parameter names to tensors.")
    return held


def _check_fit(model: nn.Module, state: Mapping[str, torch.Tensor], origin: str) -> None:
    """Check that `state` has the names and shapes of `model`.

    Raises:
        UsageError: they differ; the message gives the first differences.
    """
    own = model.state_dict()
    differing = (
        *(f"{key} is missing" for key in own if key not in state),
        *(f"{key} is not in the model" for key in state if key not in own),
        *(
            f"{key} is {tuple(state[key].shape)} where the model has {tuple(own[key].shape)}"
            for key in own
            if key in state and state[key].shape != own[key].shape
        ),
    )

    # Weights of another architecture differ in hundreds of names, and a few are enough to see that.
    if differing:
        more = f", and {len(differing) - _SHOWN_KEYS} more" if len(differing) > _SHOWN_KEYS else ""
        raise UsageError(f"The weights {origin} do not fit the model: {'; '.join(differing[:_SHOWN_KEYS])}{more}.")
