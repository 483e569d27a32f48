"""Models from outside: torchvision, timm, a user's file, installed plugins."""

from __future__ import annotations

import ast
import importlib.util
import sys
from collections.abc import Callable, Container, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import MappingProxyType, ModuleType
from typing import TYPE_CHECKING, Any

from cnnbench.spec import CnnbenchError, MissingError, ModelSpec, Shape, UsageError, unknown_name

if TYPE_CHECKING:
    from torch import nn

FORMS = "A model is a built-in, one from a plugin, torchvision:NAME, timm:NAME or FILE.py:FACTORY."
PLUGIN_GROUP = "cnnbench.models"
FILE_INPUT_SHAPE = (3, 224, 224)

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


def check_outside(name: str) -> None:
    """Check an outside name without importing torch or executing a file; raise the errors of `check_name`."""
    source, rest = _split(name)
    if source in _PACKAGES:
        _require(source, name)
        return
    names = _top_level_names(Path(source))
    if names is not None and rest not in names:
        raise unknown_name(f"factory in {source}", rest, names)


def find_outside(name: str, input_shape: Shape | None) -> ModelSpec:
    """Return the spec of an outside name; raise the errors of `find_model`."""
    source, rest = _split(name)
    if source in _PACKAGES:
        _require(source, name)
        return (_torchvision_spec if source == "torchvision" else _timm_spec)(name, rest, input_shape)
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
            problems[entry.name] = f"{what} could not be loaded: {_error_text(error)}."
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


def _torchvision_spec(name: str, architecture: str, input_shape: Shape | None) -> ModelSpec:
    from torchvision import models

    known = models.list_models(module=models)
    if architecture not in known:
        raise unknown_name("torchvision model", architecture, known)
    weights = models.get_model_weights(architecture).DEFAULT
    (size,) = weights.transforms().crop_size
    default = (3, size, size)
    shape = input_shape or default
    params = weights.meta["num_params"] if shape == default else None  # published for this shape
    return ModelSpec(
        name=name,
        family="torchvision",
        source=f"torchvision, {weights.meta['recipe']}",
        input_shape=shape,
        classes=len(weights.meta["categories"]),
        build=partial(_build_torchvision, architecture, shape),
        params=params,
        trainable_params=params,
        pretrained=architecture,
    )


def _build_torchvision(architecture: str, input_shape: Shape) -> nn.Module:
    from torchvision import models

    options: dict[str, object] = {}
    if architecture == "googlenet":  # its metadata counts no auxiliary heads
        options = {"aux_logits": False, "init_weights": False}
    elif architecture == "inception_v3":  # its metadata counts them
        options = {"aux_logits": True, "init_weights": False}
    elif architecture.startswith("vit_"):
        options = {"image_size": input_shape[1]}
    elif architecture.startswith("maxvit_"):
        options = {"input_size": input_shape[1:]}
    model: nn.Module = models.get_model(architecture, weights=None, **options)
    return model


def _timm_spec(name: str, architecture: str, input_shape: Shape | None) -> ModelSpec:
    from importlib import metadata

    import timm

    if not timm.is_model(architecture):
        raise unknown_name("timm model", architecture, timm.list_models())
    config = timm.get_pretrained_cfg(architecture)
    default = tuple(config.input_size) if config else FILE_INPUT_SHAPE  # some have no published weights
    shape = input_shape or default
    options: dict[str, Any] = {"img_size": shape[1:]} if config and config.fixed_input_size and shape != default else {}
    if shape[0] != default[0]:
        options["in_chans"] = shape[0]
    return ModelSpec(
        name=name,
        family="timm",
        source=f"timm {metadata.version('timm')}",
        input_shape=shape,
        classes=config.num_classes if config else None,
        build=partial(_build_timm, architecture, options),
    )


def _build_timm(architecture: str, options: dict[str, Any]) -> nn.Module:
    import timm

    model: nn.Module = timm.create_model(architecture, pretrained=False, **options)
    return model


def missing_factory_error(path: Path, factory: str, module: ModuleType) -> UsageError:
    """Return the error for a `factory` that is missing in the `module` in `path`; it suggests close names."""
    return unknown_name(f"factory in {path}", factory, (n for n in vars(module) if not n.startswith("_")))


def factory_spec(name: str, path: Path, factory: str, module: ModuleType, input_shape: Shape | None) -> ModelSpec:
    """Return the spec of `factory` in `module`, the file `path`; raise the errors of `find_model`."""
    if not hasattr(module, factory):
        raise missing_factory_error(path, factory, module)

    make = getattr(module, factory)
    if not callable(make):
        kind = type(make).__name__
        raise UsageError(f"'{factory}' in {path} is of type {kind}, not a function or class that makes a model.")

    return ModelSpec(
        name=name,
        family="file",
        source=str(path.resolve()),
        input_shape=input_shape or FILE_INPUT_SHAPE,
        build=partial(_build_file, path, factory, make),
    )


def _build_file(path: Path, factory: str, make: Callable[[], object]) -> nn.Module:
    from torch import nn

    try:
        with _add_to_path(path):
            made = make()
    except Exception as error:
        raise CnnbenchError(f"{_place(path, error)}: {factory}() raised {_error_text(error)}.") from error
    if not isinstance(made, nn.Module):
        raise CnnbenchError(f"{path}: {factory}() returned a {type(made).__name__}, not a torch.nn.Module.")
    return made


def load_file(path: Path) -> ModuleType:
    """Return the module in `path`, named after its full path, so that no two files are mixed up."""
    import hashlib

    full = path.resolve()
    unique = f"cnnbench_file_{hashlib.sha256(str(full).encode()).hexdigest()[:16]}"
    found = importlib.util.spec_from_file_location(unique, full)
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    sys.modules[unique] = module  # dataclasses and pickle look the module up there
    try:
        with explain_errors(path), _add_to_path(path):
            found.loader.exec_module(module)
    except UsageError:
        del sys.modules[unique]  # it is imported in part only
        raise
    return module


@contextmanager
def explain_errors(path: Path) -> Iterator[None]:
    """Turn an error in the block, which imports the file `path`, into a UsageError that says where."""
    try:
        yield
    except (Exception, SystemExit) as error:
        raise UsageError(f"{_place(path, error)}: importing the file raised {_error_text(error)}.") from error


@contextmanager
def _add_to_path(path: Path) -> Iterator[None]:
    """Let the file in `path` import modules from its own folder."""
    folder = str(path.resolve().parent)
    sys.path.insert(0, folder)
    try:
        yield
    finally:
        sys.path.remove(folder)


def _place(path: Path, error: BaseException) -> str:
    """Return the file and its last line in the error's traceback."""
    import traceback

    if isinstance(error, SyntaxError) and error.filename == str(path.resolve()):
        return f"{path}, line {error.lineno}"
    lines = [f.lineno for f in traceback.extract_tb(error.__traceback__) if f.filename == str(path.resolve())]
    return f"{path}, line {lines[-1]}" if lines else str(path)


def _error_text(error: BaseException) -> str:
    text = (error.msg if isinstance(error, SyntaxError) else str(error)).strip().rstrip(".")
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _top_level_names(path: Path) -> frozenset[str] | None:
    """Return a file's top-level names without executing it, or None if only executing it can tell."""
    try:
        tree = ast.parse(path.read_bytes(), filename=str(path))
    except (SyntaxError, ValueError) as error:
        line = f", line {error.lineno}" if isinstance(error, SyntaxError) else ""
        raise UsageError(f"{path}{line}: the file is not valid Python: {_error_text(error)}.") from error
    names = frozenset(_bound_names(tree))
    return None if names & {"*", "__getattr__"} else names


def _bound_names(node: ast.AST) -> Iterator[str]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield child.name  # names bound inside it are not at top level
        elif isinstance(child, ast.alias):
            yield (child.asname or child.name).partition(".")[0]
        elif isinstance(child, ast.Name):
            if isinstance(child.ctx, ast.Store):
                yield child.id
        elif not isinstance(child, ast.Lambda | ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp):
            yield from _bound_names(child)
