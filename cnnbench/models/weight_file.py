"""Read the weights in a file: what it is wrapped in, and the names that a wrapper gave them."""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeGuard

import torch

from cnnbench.spec import UsageError
from cnnbench.text import name_list

# Where checkpoints hold their state dict, the usual places first; an average over the training is the second choice.
_PLACES = ("state_dict", "model_state_dict", "model", "net", "weights", "params", "module")
_AVERAGES = ("state_dict_ema", "model_ema", "ema_state_dict", "ema", "params_ema")

_SHARDS_SUFFIX = ".safetensors.index.json"
_SHOWN_NAMES = 3

SAVE_WEIGHTS = "Save only the weights, with torch.save(model.state_dict(), path) or as safetensors."


@dataclass(frozen=True, kw_only=True, slots=True)
class WeightFile:
    """The state dict of a file, and what was done to get it, as phrases for a note."""

    state: Mapping[str, torch.Tensor]
    done: tuple[str, ...] = ()


def read_weights(path: Path) -> WeightFile:
    """Return the weights in a safetensors file, in its shards by their index, or in a file of `torch.save`.

    Raises:
        UsageError: the file is damaged, holds no state dict, or could run code when it is loaded.
    """
    if path.name.endswith(_SHARDS_SUFFIX):
        return WeightFile(state=_read_shards(path))
    if path.suffix == ".safetensors":
        return WeightFile(state=_read_safetensors(path))
    return _state_in(_load_pickle(path), path)


def _read_safetensors(path: Path) -> Mapping[str, torch.Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        tensors: Mapping[str, torch.Tensor] = load_file(path)
    except SafetensorError as error:
        raise UsageError(f"'{path}' is not a safetensors file: {error}") from error
    except OSError as error:
        raise UsageError(f"Cannot read '{path}': {error.strerror or error}.") from error
    return tensors


def _read_shards(index: Path) -> Mapping[str, torch.Tensor]:
    """Return the tensors of all shards that an index names; the shards lie beside it."""
    try:
        names = set(json.loads(index.read_bytes())["weight_map"].values())
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UsageError(f"'{index}' is not an index of safetensors files: {error}.") from error

    # The index comes from elsewhere, so it must not lead out of its folder.
    if wrong := [name for name in names if not isinstance(name, str) or Path(name).name != name]:
        raise UsageError(f"'{index}' names '{wrong[0]}', which is not a file beside it.")
    if missing := sorted(name for name in names if not index.with_name(name).is_file()):
        raise UsageError(f"'{index}' names {name_list(missing)}, but there is no such file beside it.")
    found: dict[str, torch.Tensor] = {}
    for name in sorted(names):
        found |= _read_safetensors(index.with_name(name))
    return found


def _load_pickle(path: Path) -> object:
    # `weights_only` keeps the pickle in the file from running code.
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise UsageError(f"Cannot read '{path}': {error.strerror or error}.") from error
    except Exception as error:  # a damaged file makes torch raise nearly anything
        raise UsageError(_refusal(path, error)) from error


def _refusal(path: Path, error: Exception) -> str:
    """Return why a file cannot be loaded safely, with what it holds as far as that can be told."""
    with suppress(zipfile.BadZipFile), zipfile.ZipFile(path) as archive:
        if any(name.endswith("/constants.pkl") for name in archive.namelist()):
            return f"'{path}' is a TorchScript program, not weights. {SAVE_WEIGHTS}"
    try:
        code = torch.serialization.get_unsafe_globals_in_checkpoint(path)
    except Exception:  # whatever is wrong with the file, it is damaged
        code = []

    # Files of before torch 1.6 are no zips, and only the error names what they hold.
    code = code or re.findall(r"GLOBAL (\S+) was not an allowed", str(error))
    if not code:
        return f"'{path}' is damaged, or torch.save did not write it. {SAVE_WEIGHTS}"
    more = ", ..." if len(code) > _SHOWN_NAMES else ""
    what = ", ".join(sorted(code)[:_SHOWN_NAMES])
    return f"'{path}' holds Python objects ({what}{more}), which could run code when they are loaded. {SAVE_WEIGHTS}"


def _state_in(held: object, path: Path) -> WeightFile:
    """Return the state dict in what a file holds, which may be a whole checkpoint."""
    if _is_state(held):
        return WeightFile(state=held)
    if isinstance(held, dict):
        inside = {str(key): value for key, value in held.items() if _is_state(value)}
        for place in (*_PLACES, *_AVERAGES, *inside):
            if place in inside:
                others = [key for key in inside if key != place]
                said = f"read from '{place}'" + (f" and not from {name_list(map(repr, others))}" if others else "")
                return WeightFile(state=inside[place], done=(said,))
        if held:
            keys = name_list(list(map(repr, held))[:5])
            raise UsageError(f"'{path}' holds {keys}, but no state dict, which maps parameter names to tensors.")
    raise UsageError(f"'{path}' does not hold a state dict, which maps parameter names to tensors.")


def _is_state(held: object) -> TypeGuard[dict[str, torch.Tensor]]:
    """Return whether something that a file holds maps names to tensors."""
    if not isinstance(held, dict) or not held:
        return False
    return all(isinstance(name, str) and isinstance(value, torch.Tensor) for name, value in held.items())


def fit_names(file: WeightFile, own: Collection[str]) -> WeightFile:
    """Return `file` without prefixes that keep its names from being those of the model, `own`.

    Wrappers put their name before all others: DataParallel `module.`, torch.compile `_orig_mod.`, Lightning mostly
    `model.`. Nothing is changed if a name is the model's as it stands.
    """
    state, done = dict(file.state), list(file.done)
    while not _shared(state, own):
        # A model that is itself a wrapper has the longer names.
        for prefix in dict.fromkeys(f"{name.partition('.')[0]}." for name in own):
            longer = {prefix + name: value for name, value in state.items()}
            if _shared(longer, own):
                return WeightFile(state=longer, done=(*done, f"'{prefix}' put before all names"))

        found = _best_prefix(state, own)
        if found is None:
            break
        prefix, shorter = found
        left_out = len(state) - len(shorter)
        done.append(f"'{prefix}' taken off" + (f", {left_out} other names left out" if left_out else ""))
        state = shorter
    return WeightFile(state=state, done=tuple(done))


def _best_prefix(state: Mapping[str, torch.Tensor], own: Collection[str]) -> tuple[str, dict[str, torch.Tensor]] | None:
    """Return the first part of names without which most are the model's, and the names shortened by it.

    If none is the model's, a part that all names have in common is taken: another wrapper may lie inside. None: there
    is no such part.
    """
    found = {}
    for prefix in dict.fromkeys(f"{name.partition('.')[0]}." for name in state if "." in name):
        found[prefix] = {name.removeprefix(prefix): v for name, v in state.items() if name.startswith(prefix)}
    best = max(found, key=lambda prefix: (_shared(found[prefix], own), len(found[prefix])), default=None)
    if best is None or not (_shared(found[best], own) or len(found[best]) == len(state)):
        return None
    return best, found[best]


def _shared(state: Mapping[str, torch.Tensor], own: Collection[str]) -> int:
    return sum(name in state for name in own)
