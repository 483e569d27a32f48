"""Find models that are not built in: by a name with its source, or from installed plugins."""

from __future__ import annotations

import importlib.util
from collections.abc import Container, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from cnnbench.models.user_file import add_last, error_text, factory_spec, load_file, top_level_names
from cnnbench.models.zoo import timm_spec, torchvision_spec
from cnnbench.spec import MissingError, ModelSpec, Shape, UsageError, unknown_name

if TYPE_CHECKING:
    pass

FORMS = "A model is a built-in, one from a plugin, torchvision:NAME, timm:NAME or FILE.py:FACTORY."
PLUGIN_GROUP = "cnnbench.models"

_PACKAGES = {
    "torchvision": "The model '{name}' needs torchvision: pip install torchvision",
    "timm": "The model '{name}' needs timm: pip install 'cnnbench[timm]'",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Plugins:
    """The plugins' specs, and one sentence for each plugin that gave none, by the name of its entry point."""

    specs: tuple[ModelSpec, ...]
    problems: Mapping[str, str]


def is_outside(name: str) -> bool:
    """Return whether `name` has the form of an outside source rather than of a built-in or plugin model."""
    return ":" in name or name.endswith(".py")


def is_published(name: str) -> bool:
    """Return whether `name` has the form of a model of an installed package: torchvision:NAME or timm:NAME."""
    return name.partition(":")[0] in _PACKAGES and ".py:" not in name


def check_outside(name: str) -> None:
    """Check an outside name without importing torch or executing a file; raise the errors of `check_name`."""
    source, rest = _split(name)
    if source in _PACKAGES:
        _require(source, name)
        return
    names = top_level_names(Path(source))
    if names is not None and rest not in names:
        raise unknown_name(f"factory in {source}", rest, names)


def find_outside(name: str, input_shape: Shape | None) -> ModelSpec:
    """Return the spec of an outside name; raise the errors of `find_model`."""
    source, rest = _split(name)
    if source in _PACKAGES:
        _require(source, name)
        return (torchvision_spec if source == "torchvision" else timm_spec)(name, rest, input_shape)
    # Workers do not look in the current folder first, where a user's random.py would hide the library's.
    add_last(Path.cwd())
    return factory_spec(name, Path(source), rest, load_file(Path(source)), input_shape)


def resize_spec(spec: ModelSpec, input_shape: Shape | None) -> ModelSpec:
    """Return `spec` for another input shape, without the multiply-adds, which are declared for its own shape."""
    if input_shape is None or input_shape == spec.input_shape:
        return spec
    return replace(spec, input_shape=input_shape, macs=None, mult_adds=None)


def load_plugins(reserved: Container[str]) -> Plugins:
    """Return the models of all installed plugins, and a problem for each plugin that breaks or takes a used name."""
    from importlib import metadata  # a third of this package's import time

    specs: dict[str, ModelSpec] = {}
    problems: dict[str, str] = {}
    for entry in sorted(metadata.entry_points(group=PLUGIN_GROUP), key=lambda entry: entry.name):
        what = f"The plugin '{entry.name}' ({entry.value})"
        try:
            loaded = entry.load()
            found = (loaded,) if isinstance(loaded, ModelSpec) else tuple(loaded)  # one spec or several
        except Exception as error:  # an error in a plugin must not stop cnnbench
            problems[entry.name] = f"{what} could not be loaded: {error_text(error)}."
            continue
        wrong = next((item for item in found if not isinstance(item, ModelSpec)), None)
        taken = next(
            (s.name for s in found if isinstance(s, ModelSpec) and (s.name in reserved or s.name in specs)), ""
        )
        if wrong is not None:
            problems[entry.name] = f"{what} gives a {type(wrong).__name__} where a ModelSpec is expected."
        elif taken:
            problems[entry.name] = f"{what} gives a model '{taken}', but that name is already taken."
        else:
            specs.update({spec.name: spec for spec in found})  # all models of a plugin, or none
    return Plugins(specs=tuple(specs.values()), problems=MappingProxyType(problems))


def _split(name: str) -> tuple[str, str]:
    """Return the two parts of an outside name: (`torchvision`, NAME), (`timm`, NAME) or (FILE.py, FACTORY)."""
    if name.endswith(".py"):
        raise UsageError(f"'{name}' does not name a factory. Write {name}:FACTORY, a function that returns a model.")
    source, _, rest = name.rpartition(":") if ".py:" in name else name.partition(":")  # a path may hold ":"
    if source in _PACKAGES:
        return source, rest
    if not source.endswith(".py"):
        raise UsageError(f"Unknown source '{source}' in '{name}'. {FORMS}")
    if not Path(source).is_file():
        raise UsageError(f"There is no file '{source}' (looked in {Path.cwd()}).")
    return source, rest


def _require(package: str, name: str) -> None:
    if importlib.util.find_spec(package) is None:
        raise MissingError(_PACKAGES[package].format(name=name))
