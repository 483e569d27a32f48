"""Models from a file of the user: run it, and call the factory that it names."""

from __future__ import annotations

import ast
import copy
import importlib
import importlib.util
import itertools
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from cnnbench.spec import CnnbenchError, ModelSpec, Shape, UsageError, unknown_name

if TYPE_CHECKING:
    from torch import nn

# Input of a model from a file, unless the user gives another one.
FILE_INPUT_SHAPE = (3, 224, 224)


def missing_factory_error(path: Path, factory: str, module: ModuleType) -> UsageError:
    """Return the error for a `factory` that is missing in the `module` in `path`; it suggests close names."""
    return unknown_name(f"factory in {path}", factory, (n for n in vars(module) if not n.startswith("_")))


def factory_spec(name: str, path: Path, factory: str, module: ModuleType, input_shape: Shape | None) -> ModelSpec:
    """Return the spec of `factory` in `module`, the file `path`; raise the errors of `find_model`."""
    if not hasattr(module, factory):
        raise missing_factory_error(path, factory, module)

    make = getattr(module, factory)
    if _is_model(make):
        make = partial(copy.deepcopy, make)  # as with a factory, each call gives another model
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
        raise CnnbenchError(f"{_place(path, error)}: {factory}() raised {error_text(error)}.") from error
    if not isinstance(made, nn.Module):
        raise CnnbenchError(f"{path}: {factory}() returned a {type(made).__name__}, not a torch.nn.Module.")
    return made


def _is_model(thing: object) -> bool:
    from torch import nn

    return isinstance(thing, nn.Module)


def load_file(path: Path) -> ModuleType:
    """Return the module in `path`, named after its full path, so that no two files are mixed up.

    A file beside an `__init__.py` is imported as a part of its package, so that its relative imports work.
    """
    import hashlib

    full = path.resolve()
    unique = f"cnnbench_file_{hashlib.sha256(os.fsencode(full)).hexdigest()[:16]}"
    *_, root = full, *packages_of(full)
    try:
        with explain_errors(path), _add_to_path(path):
            if root == full:
                return _import_as(unique, full)
            _import_as(unique, root / "__init__.py")
            inside = full.relative_to(root).with_suffix("").parts
            return importlib.import_module(".".join((unique, *inside)))
    except UsageError:
        # It is imported in part only, and so are other modules of its package.
        for name in [name for name in sys.modules if name == unique or name.startswith(f"{unique}.")]:
            del sys.modules[name]
        raise


def packages_of(file: Path) -> list[Path]:
    """Return the folders of the packages that `file` lies in, the innermost first."""
    return list(itertools.takewhile(lambda folder: (folder / "__init__.py").is_file(), file.parents))


def _import_as(name: str, file: Path) -> ModuleType:
    """Return the module in `file` under another name; that of an `__init__.py` is a package."""
    inside = [str(file.parent)] if file.name == "__init__.py" else None
    found = importlib.util.spec_from_file_location(name, file, submodule_search_locations=inside)
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    sys.modules[name] = module  # dataclasses and pickle look the module up there
    found.loader.exec_module(module)
    return module


@contextmanager
def explain_errors(path: Path) -> Iterator[None]:
    """Turn an error in the block, which imports the file `path`, into a UsageError that says where."""
    try:
        yield
    except SystemExit as error:
        raise UsageError(
            f"{_place(path, error)}: importing the file ended the program ({error_text(error)}). If it reads the "
            "command line, move that under: if __name__ == '__main__':"
        ) from error
    except Exception as error:
        raise UsageError(f"{_place(path, error)}: importing the file raised {error_text(error)}.") from error


@contextmanager
def _add_to_path(path: Path) -> Iterator[None]:
    """Let the file in `path` import modules from its own folder and from that of its package.

    Within the block its own folder comes first. Afterwards both stay at the end of the path, for imports in functions:
    a file there must not hide an installed package.
    """
    full = path.resolve()
    *_, top = full, *packages_of(full)
    sys.path.insert(0, str(full.parent))
    add_last(top.parent)
    try:
        yield
    finally:
        sys.path.remove(str(full.parent))
        add_last(full.parent)


def add_last(folder: Path) -> None:
    """Let this process import from `folder` what is nowhere else."""
    if str(folder) not in sys.path:
        sys.path.append(str(folder))


def _place(path: Path, error: BaseException) -> str:
    """Return the file and its last line in the error's traceback."""
    import traceback

    if isinstance(error, SyntaxError) and error.filename == str(path.resolve()):
        return f"{path}, line {error.lineno}"
    lines = [f.lineno for f in traceback.extract_tb(error.__traceback__) if f.filename == str(path.resolve())]
    return f"{path}, line {lines[-1]}" if lines else str(path)


def error_text(error: BaseException) -> str:
    """Return an error as text: its class, and its message if there is one."""
    text = (error.msg if isinstance(error, SyntaxError) else str(error)).strip().rstrip(".")
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def top_level_names(path: Path) -> frozenset[str] | None:
    """Return a file's top-level names without executing it, or None if only executing it can tell."""
    try:
        tree = ast.parse(path.read_bytes(), filename=str(path))
    except (SyntaxError, ValueError) as error:
        line = f", line {error.lineno}" if isinstance(error, SyntaxError) else ""
        raise UsageError(f"{path}{line}: the file is not valid Python: {error_text(error)}.") from error
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
