"""Build models from another source tree, such as another revision of a repository.

A model comes from the tree's own package, or from a file that may import its neighbours. Within a run its name is
`tree:FOLDER::NAME`; NAME is a built-in, or FILE.py:FACTORY with FILE below FOLDER.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from cnnbench.models.external import find_outside, is_outside
from cnnbench.models.user_file import explain_errors, factory_spec, load_file, missing_factory_error, packages_of
from cnnbench.spec import CnnbenchError, ModelSpec, Shape, UsageError, unknown_name

if TYPE_CHECKING:
    from torch import nn

PREFIX = "tree:"
SEPARATOR = "::"

# The package that measures; a tree may hold another version of it.
OURS = "cnnbench"


class AbsentError(UsageError):
    """A tree does not have the model (exit code 2): the model was added after this revision, or removed before it."""


def name_in_tree(folder: Path, name: str) -> str:
    """Return the name within a run of the model that is called `name` in the tree `folder`."""
    return f"{PREFIX}{folder}{SEPARATOR}{name}"


def is_in_tree(name: str) -> bool:
    """Return whether `name` has the form of a model of another tree."""
    return name.startswith(PREFIX)


def find_in_tree(name: str, input_shape: Shape | None) -> ModelSpec:
    """Return the spec of a model of another tree; from then on this process imports the tree's modules from there.

    Recipes and declared counts are left out, because only the times of trees are compared.

    Raises:
        AbsentError: the tree has no such file, factory or built-in.
        UsageError: importing the file raised an error.
        CnnbenchError: a module of the tree was imported from elsewhere.
    """
    folder, _, rest = name.removeprefix(PREFIX).partition(SEPARATOR)

    # A name without a source, such as `lenet`, is a built-in of the tree's own package.
    if not is_outside(rest):
        return _find_built_in(name, Path(folder), rest, input_shape)
    if ".py:" in rest:
        return _find_in_file(name, Path(folder), rest, input_shape)
    return replace(find_outside(rest, input_shape), name=name)  # a model of an installed package


def _find_built_in(name: str, folder: Path, rest: str, input_shape: Shape | None) -> ModelSpec:
    """Return the spec of a built-in model of the tree's own package."""
    if not (folder / OURS / "models").is_dir():
        raise AbsentError(
            f"'{rest}' is the name of a built-in, but {folder} is not a repository of {OURS}. Name a factory in it: "
            f"path/in/it.py:FACTORY."
        )

    tree = _Tree(folder)
    with tree.activate():
        known: Any = importlib.import_module(f"{OURS}.models").MODELS

    if rest not in known:
        raise AbsentError(str(unknown_name("model", rest, known)))

    # Their spec is an instance of their own ModelSpec class, so its fields are copied one by one.
    theirs = known[rest]
    return ModelSpec(
        name=name,
        family=theirs.family,
        source=theirs.source,
        input_shape=input_shape or tuple(theirs.input_shape),
        classes=theirs.classes,
        build=partial(_build, tree, theirs.build),
    )


def _find_in_file(name: str, folder: Path, rest: str, input_shape: Shape | None) -> ModelSpec:
    relative, _, factory = rest.rpartition(":")
    path = folder.resolve() / relative
    if not path.is_file():
        raise AbsentError(f"There is no file '{relative}' in {folder}.")

    # The file's own imports run in here too, so they come from the tree.
    tree = _Tree(folder, path)
    with tree.activate():
        module = _load(path)

    # A missing factory has its own error: an older revision may not have it yet.
    if not hasattr(module, factory):
        raise AbsentError(str(missing_factory_error(path, factory, module)))

    spec = factory_spec(name, path, factory, module, input_shape)
    return replace(spec, build=partial(_build, tree, spec.build))


def _build(tree: _Tree, make: Callable[[], nn.Module]) -> nn.Module:
    with tree.activate():
        model = make()
    tree.adopt(type(module).__module__ for module in model.modules())
    return model


def _load(path: Path) -> ModuleType:
    """Return the module in `path`; inside a package it keeps its full name, so that relative imports work."""
    parts, _ = _package(path)
    if not parts:
        return load_file(path)
    with explain_errors(path):
        return importlib.import_module(".".join((*parts, path.stem)))


def _package(path: Path) -> tuple[tuple[str, ...], Path]:
    """Return the names of the packages that contain `path`, outermost first, and the folder that holds them."""
    packages = packages_of(path)
    *_, outermost = path, *packages
    return tuple(folder.name for folder in reversed(packages)), outermost.parent


class _Tree:
    """The modules that are imported from one folder; its own cnnbench, if it has one, is put aside between uses.

    The folder, its `src` and the folder of `file` come first on the path until the process ends, so that later imports
    of a model come from the tree too. The current folder leaves the path: it may be another revision of the same code.
    """

    def __init__(self, folder: Path, file: Path | None = None) -> None:
        self._folder = folder.resolve()
        own = [] if file is None else [_package(file)[1]]
        self._roots = [root for root in (*own, self._folder / "src", self._folder) if root.is_dir()]

        # The tree's own version of our package is kept here while ours is in use.
        self._has_ours = (self._folder / OURS / "__init__.py").is_file()
        self._theirs: dict[str, ModuleType] = {}

        # The tree's folders come first on the path, so that no installed version hides what they hold.
        here, roots = Path.cwd(), [str(root) for root in dict.fromkeys(self._roots)]
        others = [entry for entry in sys.path if entry not in roots and Path(entry).resolve() != here]
        sys.path[:] = [*roots, *others]
        importlib.invalidate_caches()

    @contextmanager
    def activate(self) -> Iterator[None]:
        """Let `import cnnbench` mean the tree's package, if it has one, and the measuring one again afterwards.

        Raises:
            CnnbenchError: a module of the tree was imported from elsewhere.
        """
        # An import returns what is in `sys.modules`, so it is enough to exchange the entries there.
        ours = _remove_modules() if self._has_ours else {}
        sys.modules.update(self._theirs)
        try:
            yield
            self._check_origins()
        finally:
            if self._has_ours:
                self._theirs = _remove_modules()
                sys.modules.update(ours)

    def adopt(self, names: Iterable[str]) -> None:
        """Register the tree's modules `names` in `sys.modules`, where torch.compile looks up the module of a class."""
        sys.modules.update({name: self._theirs[name] for name in set(names) & self._theirs.keys()})

    def _check_origins(self) -> None:
        # An installed package of the same name may hide the tree's, and another revision would be measured.
        for name in sorted(_importable_names(self._roots) - sys.stdlib_module_names):
            origin = getattr(sys.modules.get(name), "__file__", None)
            if origin is not None and not Path(origin).resolve().is_relative_to(self._folder):
                raise CnnbenchError(
                    f"'{name}' is in {self._folder}, but was imported from {origin}, so this revision would not be "
                    "measured. Install that package in editable mode, or uninstall it."
                )


def _importable_names(roots: Iterable[Path]) -> set[str]:
    """Return the names of the modules and packages directly in `roots`."""
    found = set()
    for root in roots:
        found |= {file.stem for file in root.glob("*.py")}
        found |= {init.parent.name for init in root.glob("*/__init__.py")}
    return found


def _remove_modules() -> dict[str, ModuleType]:
    """Remove the modules of the package cnnbench from `sys.modules`, and return them by name."""
    names = [name for name in sys.modules if name == OURS or name.startswith(f"{OURS}.")]
    return {name: sys.modules.pop(name) for name in names}
