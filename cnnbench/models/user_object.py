"""Models that a process has at hand, for workers of another one: written into a file, with the way to their modules.

`saved:FILE` names one within a run. A file is only read by the run that wrote it.
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

from cnnbench.models.outside import FILE_INPUT_SHAPE
from cnnbench.spec import CnnbenchError, ModelSpec, Shape, UsageError

if TYPE_CHECKING:
    from torch import nn

PREFIX = "saved:"
MAKE_IT = "Give a function that makes the model, at the top level of a module."


@dataclass(frozen=True, kw_only=True, slots=True)
class _Saved:
    """What a file holds: where modules are looked for, the files of those that the model needs, and the model."""

    path: tuple[str, ...]
    modules: tuple[tuple[str, str], ...]
    model: bytes


def is_saved(name: str) -> bool:
    """Return whether `name` has the form of a model in a file of this kind."""
    return name.startswith(PREFIX)


def save_model(file: Path, model: object) -> str:
    """Write a model, or what makes one, into `file`, and return the name of the model, within a run.

    What another process cannot find by its name, such as a lambda, is called here, and its model written.

    Raises:
        UsageError: what is given makes no model, or neither it nor its model can be written.
    """
    from torch import nn

    made = model
    if not isinstance(model, nn.Module):
        if not callable(model):
            raise UsageError(f"The model is a {type(model).__name__}, neither a model nor a function that makes one.")
        if not _by_name(model):
            made = model()
            if not isinstance(made, nn.Module):
                raise UsageError(f"{called(model)}() returned a {type(made).__name__}, not a torch.nn.Module.")
    try:
        written = pickle.dumps(made)
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise UsageError(f"The model cannot be handed to another process: {error}. {MAKE_IT}") from error
    names = {type(part).__module__ for part in made.modules()} if isinstance(made, nn.Module) else {made.__module__}
    saved = _Saved(path=tuple(sys.path), modules=tuple(_files(names)), model=written)
    file.write_bytes(pickle.dumps(saved))
    return f"{PREFIX}{file}"


def called(model: object) -> str:
    """Return what a person calls a model, or what makes one."""
    return str(getattr(model, "__name__", type(model).__name__))


def find_saved(name: str, input_shape: Shape | None) -> ModelSpec:
    """Return the spec of a saved model; from then on this process imports from where the writing one did.

    Raises:
        UsageError: its modules cannot be imported in this process.
    """
    saved = pickle.loads(Path(name.removeprefix(PREFIX)).read_bytes())  # noqa: S301  # the run's own file
    assert isinstance(saved, _Saved)
    sys.path[:] = saved.path

    try:
        for module, file in saved.modules:
            _import(module, file)
        made = pickle.loads(saved.model)  # noqa: S301  # the same
    except Exception as error:  # whatever a user's module raises
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

    # a model may be built more than once, and changed each time
    model = made() if callable(made) and not isinstance(made, nn.Module) else copy.deepcopy(made)
    if not isinstance(model, nn.Module):
        raise CnnbenchError(f"{called(made)}() returned a {type(model).__name__}, not a torch.nn.Module.")
    return model


def _by_name(model: Callable[[], object]) -> bool:
    """Return whether another process finds `model` by its module and name."""
    module = sys.modules.get(getattr(model, "__module__", None) or "")
    return module is not None and getattr(module, getattr(model, "__qualname__", ""), None) is model


def _files(names: Iterable[str]) -> Iterable[tuple[str, str]]:
    for name in sorted(names):
        file = getattr(sys.modules.get(name), "__file__", None)
        if file is not None:
            yield name, file


def _import(name: str, file: str) -> None:
    """Import a module, from its file where the path does not lead to it, as with pytest's importlib mode."""
    with suppress(ImportError):
        importlib.import_module(name)
        return
    found = importlib.util.spec_from_file_location(name, file)
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    sys.modules[name] = module
    found.loader.exec_module(module)
