"""Load weights into a built model: none, torchvision's default ones, or those of a file."""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import nn

from cnnbench.models.weight_file import fit_names, read_weights
from cnnbench.spec import MissingError, ModelSpec, UsageError

# The number of classes of ImageNet, which torchvision's published models are trained on.
PUBLISHED_CLASSES = 1000

_SHOWN_KEYS = 3

# Names in the published files of DenseNets, which torchvision translates when it builds one: `norm.1` is `norm1`.
_DENSENET_NAME = re.compile(r"(denselayer\d+\.(?:norm|relu|conv))\.([12]\.)")


def load_weights(model: nn.Module, spec: ModelSpec, choice: str) -> tuple[str, ...]:
    """Load weights into `model`, which was built from `spec`, and return notes on how they were found in the file.

    `choice` is `none` (do nothing), `default` (torchvision's weights, downloaded if torch.hub does not have them yet)
    or the path of a file. The file is in safetensors format or an index of such files, or it was written by
    `torch.save` and holds a state dict, or a checkpoint with one in it. A model with another head than the published
    one keeps its head under default weights, and under a file of the published ones.

    Raises:
        UsageError: the model has no default weights, there is no such file, or it does not fit the model.
        MissingError: the weights cannot be downloaded.
    """
    if choice == "none":
        return ()
    if choice == "default":
        _load_default(model, spec)
        return ()

    path = Path(choice)
    if not path.is_file():
        raise UsageError(f"There is no weight file '{choice}'. Give 'none', 'default' or the path of a file.")

    own = model.state_dict().keys()
    file = fit_names(read_weights(path), own)
    state = {_DENSENET_NAME.sub(r"\1\2", name): value for name, value in file.state.items()}

    # The weights of the published model fit everything but the head of a model with a new one.
    if _has_another_head(spec) and _is_published(model, state) and not _heads_match(model, state):
        state = _keep_own_head(model, state)

    _load(model, state, str(path))
    return (f"Weights of {path.name}: {'; '.join(file.done)}.",) if file.done else ()


def _load(model: nn.Module, state: Mapping[str, torch.Tensor], origin: str) -> None:
    """Load `state` as torch does, whose modules know how older files name their tensors.

    Raises:
        UsageError: torch refuses it; the message gives the first differences.
    """
    # MNASNet alone insists on a version, which a file does not hold. Only the outermost module gets one, because the
    # others know an older file by its lack.
    held = OrderedDict(state)
    held._metadata = {"": {"version": model._version}}  # type: ignore[attr-defined]  # noqa: SLF001 - as torch holds it
    try:
        model.load_state_dict(held)
    except (RuntimeError, ValueError) as error:
        raise UsageError(_misfit(model, state, origin, error)) from error


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

    # torchvision builds the published model, because it alone knows how the names in its files are to be read.
    weights = models.get_model_weights(spec.pretrained).DEFAULT
    try:
        published: nn.Module = models.get_model(spec.pretrained, weights=weights)
    except (OSError, RuntimeError) as error:
        folder = Path(torch.hub.get_dir()) / "checkpoints"
        raise MissingError(
            f"The weights {weights} could not be downloaded from {weights.url} ({error}). Put that file into {folder},"
            " where torch.hub keeps its files, or set TORCH_HOME to a folder that has it, or use --weights none."
        ) from error

    state: Mapping[str, torch.Tensor] = published.state_dict()
    if _has_another_head(spec):
        state = _keep_own_head(model, state)
    _load(model, state, str(weights))


def _misfit(model: nn.Module, state: Mapping[str, torch.Tensor], origin: str, error: Exception) -> str:
    """Return the message for weights that torch does not load into `model`, with the first differences."""
    own = model.state_dict()
    # torch fills in the batch counters that older files lack, so their absence is no reason.
    missing = [key for key in own if key not in state and not key.endswith("num_batches_tracked")]
    unknown = [key for key in state if key not in own]
    shapes = [
        f"{key} is {tuple(state[key].shape)} where the model has {tuple(own[key].shape)}"
        for key in own
        if key in state and state[key].shape != own[key].shape
    ]
    differing = (*(f"{k} is missing" for k in missing), *(f"{k} is not in the model" for k in unknown), *shapes)
    if not differing:
        return f"The weights {origin} do not fit the model: {' '.join(str(error).split())}"

    # Weights of another architecture differ in hundreds of names, and a few are enough to see that.
    more = f", and {len(differing) - _SHOWN_KEYS} more" if len(differing) > _SHOWN_KEYS else ""
    said = f"The weights {origin} do not fit the model: {'; '.join(differing[:_SHOWN_KEYS])}{more}."
    if missing and unknown:
        said += f" Names in the file look like {unknown[0]}, names of the model like {missing[0]}."
    return said
