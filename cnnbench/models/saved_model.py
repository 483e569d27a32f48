"""Hand a model object to worker processes: write it into a file, together with the way to its modules.

`saved:FILE` is its name within a run. Only the run that wrote a file reads it.
"""

from __future__ import annotations

import copy
import importlib
import importlib.util
import pickle
import sys
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cnnbench.models.user_file import FILE_INPUT_SHAPE
from cnnbench.spec import CnnbenchError, ModelSpec, Shape, UsageError

if TYPE_CHECKING:
    from torch import nn

PREFIX = "saved:"
MAKE_IT = "Give a function that makes the model, at the top level of a module."


@dataclass(frozen=True, kw_only=True, slots=True)
class _Saved:
    """The content of a file: the import path, name and file of each module that the model needs, and the model."""

    path: tuple[str, ...]
    modules: tuple[tuple[str, str], ...]
    model: bytes


def is_saved(name: str) -> bool:
    """Return whether `name` has the form of a saved model's name."""
    return name.startswith(PREFIX)


def save_model(file: Path, model: object) -> str:
    """Write a model, or a function that makes one, into `file`, and return its name within a run.

    A function that another process cannot find by its name, such as a lambda, is called here; its model is written.

    Raises:
        UsageError: `model` is no model and makes none, or neither it nor the model it makes can be written.
    """
    from torch import nn

    made = model
    if not isinstance(model, nn.Module):
        if not callable(model):
            raise UsageError(f"The model is a {type(model).__name__}. Give a model, or a function that makes one.")
        # Pickle writes only the name of a function, so the name must be enough to find it.
        if not _is_importable(model):
            made = model()
            if not isinstance(made, nn.Module):
                raise UsageError(f"{label_of(model)}() returned a {type(made).__name__}, not a torch.nn.Module.")

    try:
        written = pickle.dumps(made)
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise UsageError(f"The model cannot be handed to another process: {error}. {MAKE_IT}") from error

    # Pickle writes only the names of the layers' classes, too, so the worker must import their modules.
    names = {type(part).__module__ for part in made.modules()} if isinstance(made, nn.Module) else {made.__module__}
    saved = _Saved(path=tuple(sys.path), modules=tuple(_files(names)), model=written)
    file.write_bytes(pickle.dumps(saved))
    return f"{PREFIX}{file}"


def label_of(model: object) -> str:
    """Return the name to show for a model, or for a function that makes one."""
    return str(getattr(model, "__name__", type(model).__name__))


def find_saved(name: str, input_shape: Shape | None) -> ModelSpec:
    """Return the spec of a saved model; this process takes over the import path of the one that wrote it.

    Raises:
        UsageError: its modules cannot be imported in this process.
    """
    saved = pickle.loads(Path(name.removeprefix(PREFIX)).read_bytes())  # noqa: S301  # the run's own file
    assert isinstance(saved, _Saved)
    sys.path[:] = saved.path

    try:
        # The modules come first: reading the model looks up its classes in them.
        for module, file in saved.modules:
            _import(module, file)
        made = pickle.loads(saved.model)  # noqa: S301  # from the run's own file
    except Exception as error:  # a user's module may raise anything
        said = f"{type(error).__name__}: {error}"
        raise UsageError(f"The model cannot be loaded in another process: {said}. {MAKE_IT}") from error

    return ModelSpec(
        name=name,
        family="saved",
        source="another process",
        input_shape=input_shape or FILE_INPUT_SHAPE,
        build=lambda: _model(made),
    )


def _model(made: object) -> nn.Module:
    from torch import nn

    # Every call gives a new model, because the caller may change the one that it gets.
    model = made() if callable(made) and not isinstance(made, nn.Module) else copy.deepcopy(made)
    if not isinstance(model, nn.Module):
        raise CnnbenchError(f"{label_of(made)}() returned a {type(model).__name__}, not a torch.nn.Module.")
    return model


def _is_importable(model: Callable[[], object]) -> bool:
    """Return whether another process can find `model` by its module and name."""
    module = sys.modules.get(getattr(model, "__module__", None) or "")
    return module is not None and getattr(module, getattr(model, "__qualname__", ""), None) is model


def _files(names: Iterable[str]) -> Iterable[tuple[str, str]]:
    for name in sorted(names):
        file = getattr(sys.modules.get(name), "__file__", None)
        if file is not None:
            yield name, file


def _import(name: str, file: str) -> None:
    """Import a module, from its file if the path does not lead to it, as pytest's importlib mode does."""
    with suppress(ImportError):
        importlib.import_module(name)
        return

    found = importlib.util.spec_from_file_location(name, file)
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    # Registered before it runs, as an ordinary import does: the module may look itself up.
    sys.modules[name] = module
    found.loader.exec_module(module)
