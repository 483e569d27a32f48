"""The rules of docs/architecture.md that a program can check, with the level table read from that page."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
MOST_MODULE_LINES = 300
MOST_FUNCTION_LINES = 60
BOTH_ARMS = 7
"""The level from which a module may import from both arms."""

TOP_LEVEL = 9


@dataclass(frozen=True)
class Place:
    """Where a module stands: its level, and its arm: M (measuring), R (reporting) or none."""

    level: int
    arm: str

    def may_import(self, other: Place) -> bool:
        met = self.arm == other.arm or not other.arm or self.level >= BOTH_ARMS
        return other.level <= self.level and met


UNLISTED = {"_version": Place(0, ""), "__main__": Place(TOP_LEVEL, ""), "": Place(TOP_LEVEL, "")}
"""Left out of the table: the version's number, and the two ways in; the package root is the empty name."""


@cache
def table() -> dict[str, Place]:
    found = dict(UNLISTED)
    for line in (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8").splitlines():
        if row := re.match(r"\| (\d)([MR]?) \| ([^|]+) \|", line):
            for name in re.findall(r"`([^`]+)`", row[3]):
                found[name.rstrip("/")] = Place(int(row[1]), row[2])
    return found


@cache
def modules() -> dict[str, Path]:
    """Return the file of every module by its dotted name, packages by the name of their folder."""
    found = {}
    for path in sorted((ROOT / "cnnbench").rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def nodes(node: ast.AST) -> Iterator[ast.AST]:
    """Yield every node below, but for what only a type checker reads."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and ast.unparse(child.test).endswith("TYPE_CHECKING"):
            for other in child.orelse:
                yield other
                yield from nodes(other)
            continue
        yield child
        yield from nodes(child)


def imported(source: ast.Module, known: frozenset[str]) -> set[str]:
    """Return the modules of the package that a module imports, lazily or not; `cnnbench` where it wants a root name."""
    found = set()
    for node in nodes(source):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, ast.unparse(node)
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                found.add(inner if inner in known else node.module or "")
    return {name for name in found if name.split(".")[0] == "cnnbench"}


@cache
def edges() -> dict[str, set[str]]:
    known = frozenset(modules())
    return {name: imported(tree(path), known) for name, path in modules().items()}


def place(module: str) -> Place:
    return table()[module.removeprefix("cnnbench").removeprefix(".").split(".")[0]]


def test_import_reading_sees_lazy_ones_and_skips_type_checking() -> None:
    source = ast.parse(
        "import torch\n"
        "from cnnbench import data, compare\n"
        "if TYPE_CHECKING:\n    from cnnbench.store import load\nelse:\n    import cnnbench.plans\n"
        "def lazily():\n    from cnnbench.spec import Case\n"
    )
    known = frozenset({"cnnbench", "cnnbench.data", "cnnbench.spec", "cnnbench.store", "cnnbench.plans"})
    assert imported(source, known) == {"cnnbench.data", "cnnbench", "cnnbench.plans", "cnnbench.spec"}


@pytest.mark.parametrize(
    ("module", "other", "allowed"),
    [
        ("cnnbench.record", "cnnbench.spec", True),
        ("cnnbench.spec", "cnnbench.record", False),
        ("cnnbench.training.step", "cnnbench.variants", True),
        ("cnnbench.variants", "cnnbench.training.step", False),
        ("cnnbench.orchestrator.run", "cnnbench.store", False),
        ("cnnbench.analysis.row", "cnnbench.clock", False),
        ("cnnbench.report.csv", "cnnbench.quantities", True),
        ("cnnbench.cli.main", "cnnbench.store", True),
        ("cnnbench.api", "cnnbench.orchestrator.run", True),
    ],
)
def test_levels_are_read_from_the_page(module: str, other: str, *, allowed: bool) -> None:
    assert place(module).may_import(place(other)) is allowed


def test_table_names_every_module_and_nothing_else() -> None:
    there = {name.removeprefix("cnnbench").removeprefix(".").split(".")[0] for name in modules()}
    assert there == set(table())


def test_imports_go_down_and_the_two_arms_stay_apart() -> None:
    wrong = {
        f"{name} -> {to}" for name, found in edges().items() for to in found if not place(name).may_import(place(to))
    }
    assert wrong == set()


def test_nothing_inside_imports_the_root() -> None:
    assert {name for name, found in edges().items() if "cnnbench" in found} == set()


def test_no_modules_import_each_other_in_a_circle() -> None:
    try:
        order = list(TopologicalSorter({name: found - {name} for name, found in edges().items()}).static_order())
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))
    assert set(order) == set(modules())


def test_every_module_says_its_job() -> None:
    assert [name for name, path in modules().items() if not ast.get_docstring(tree(path))] == []


def test_no_module_is_too_long() -> None:
    lines = {name: len(path.read_text(encoding="utf-8").splitlines()) for name, path in modules().items()}
    assert {name: n for name, n in lines.items() if n > MOST_MODULE_LINES} == {}


def test_no_function_is_too_long() -> None:
    lines = {
        f"{name}.{node.name}": (node.end_lineno or 0) - node.lineno + 1
        for name, path in modules().items()
        for node in ast.walk(tree(path))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    assert len(lines) > len(modules())
    assert {name: n for name, n in lines.items() if n > MOST_FUNCTION_LINES} == {}


def loaded(code: str, heavy: tuple[str, ...]) -> list[str]:
    """Return which of `heavy` a fresh interpreter has imported after `code`."""
    asked = f"{code}\nimport sys\nsys.stderr.write(' '.join(m for m in {heavy} if m in sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", asked], capture_output=True, text=True, check=True, timeout=60, cwd=ROOT
    )
    return done.stderr.split()


def test_what_is_imported_is_seen() -> None:
    assert loaded("import json", ("torch", "json")) == ["json"]


@pytest.mark.parametrize(
    "code",
    [
        "import cnnbench",
        "from cnnbench.cli.main import exit_code\nassert exit_code(['--help']) == 0",
        "from cnnbench.cli.main import exit_code\nassert exit_code(['list', 'models']) == 0",
    ],
    ids=["root", "help", "list models"],
)
def test_first_words_cost_no_heavy_library(code: str) -> None:
    assert loaded(code, ("torch", "pandas", "scipy", "rich")) == []


@pytest.mark.parametrize(
    "code",
    ["import cnnbench.report, cnnbench.analysis, cnnbench.store", "import cnnbench.orchestrator.run"],
    ids=["reporting arm", "coordinator"],
)
def test_neither_reporting_nor_coordinating_imports_torch(code: str) -> None:
    assert loaded(code, ("torch",)) == []
