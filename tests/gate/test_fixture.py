"""A check from Python: what may be given, and what is measured; the measurement only pretends."""

import importlib
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from cnnbench.gate.fixture import Settings, check, shape_of
from cnnbench.models.saved_model import label_of
from cnnbench.spec import UsageError
from tests.gate.fakes import Pretended
from tests.repositories import commit, git, repository

SHAPE = (2, 3, 8, 8)


def make() -> nn.Module:
    return nn.Flatten()


def make_old() -> nn.Module:
    return nn.Flatten()


@pytest.fixture
def pretended(monkeypatch: pytest.MonkeyPatch) -> Pretended:
    return Pretended(factors={"head": (1.0 + 1e-12, 1.0)}).use(monkeypatch)


def test_a_function_against_another(pretended: Pretended) -> None:
    report = check(make, SHAPE, make_old, Settings())
    assert [(cell.model, cell.verdict) for cell in report.cells] == [("make", "pass")]
    assert report.sentence == "PASS: nothing is more than 5 % slower in the model make than in the baseline make_old."
    ((times, (group,)),) = pretended.measured
    case = group.cases[1]
    assert (case.batch_size, case.input_shape, case.variant.name) == (2, (3, 8, 8), "eager")
    assert (times.total_s, times.target) == (30.0, 0.0125)
    assert [Path(c.model.removeprefix("saved:")).name for c in group.cases] == ["base", "head"]
    assert not Path(case.model.removeprefix("saved:")).exists()


def test_networks_and_lambdas_do_as_well(pretended: Pretended) -> None:
    report = check(nn.Linear(8, 2), torch.zeros(4, 8), lambda: nn.Linear(8, 2), Settings(variants=["eager", "amp"]))
    assert [(cell.model, cell.variant, cell.batch_size) for cell in report.cells] == [
        ("Linear", "eager", 4),
        ("Linear", "amp", 4),
    ]
    assert pretended.measured[0][1][0].cases[0].input_shape == (8,)


def test_settings_are_read_as_on_the_command_line(pretended: Pretended) -> None:
    pretended.factors = {"head": (1.1, 1.0 + 1e-12)}
    report = check(make, SHAPE, make_old, Settings(budget="1m", threshold="8%", inconclusive="fail"))
    assert (report.question.threshold, report.failed) == (0.08, True)
    assert [times.total_s for times, _ in pretended.measured] == [60.0, 60.0]
    check(make, SHAPE, make_old, Settings(budget=12.5, threshold=0.2))
    assert pretended.measured[-1][0].total_s == 12.5


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (Settings(budget="soon"), "'soon' is not a time above zero. Write it like 20ms, 90s, 8m30s or 1h."),
        (Settings(threshold="5x"), "'5x' is not a share. Write it like 3% or 0.03."),
        (Settings(inconclusive="maybe"), "An inconclusive check cannot 'maybe'. Use pass or fail."),
        (Settings(variants="eagr"), "Unknown variant 'eagr'. Did you mean eager? "),
    ],
)
def test_settings_that_cannot_be_read(pretended: Pretended, settings: Settings, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        check(make, SHAPE, make_old, settings)
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    ("example", "expected"),
    [
        ((2, 3, 8, 9), (2, (3, 8, 9))),
        ([3, 8, 9], (1, (3, 8, 9))),
        (torch.Size([5, 1, 2, 2]), (5, (1, 2, 2))),
        (torch.zeros(5, 1, 2, 2), (5, (1, 2, 2))),
        (torch.zeros(5, 7, dtype=torch.bfloat16), (5, (7,))),
    ],
)
def test_the_shape_of_an_example(example: object, expected: tuple[int, tuple[int, ...]]) -> None:
    assert shape_of(example) == expected


@pytest.mark.parametrize(
    ("example", "message"),
    [
        ((3, 8), "The example (3, 8) is not a shape. Write (batch, channels, height, width)."),
        ((1, 3, 8, 0), "The example (1, 3, 8, 0) is not a shape. Write (batch, channels, height, width)."),
        (
            "lenet",
            "The example is a str. Give a batch of images as a tensor, or its shape.",
        ),
        (
            torch.zeros(1, 3, dtype=torch.int64),
            "The example is a tensor of torch.int64 with the shape (1, 3). Give a batch of images: "
            "floating-point numbers, with the batch as the first dimension.",
        ),
        (
            torch.zeros(3),
            "The example is a tensor of torch.float32 with the shape (3,). Give a batch of images: "
            "floating-point numbers, with the batch as the first dimension.",
        ),
    ],
)
def test_what_is_no_example(example: object, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        shape_of(example)
    assert str(caught.value) == message


def test_tests_that_run_at_once_are_refused(monkeypatch: pytest.MonkeyPatch, pretended: Pretended) -> None:
    monkeypatch.setenv("PYTEST_XDIST_WORKER_COUNT", "2")
    with pytest.raises(UsageError) as caught:
        check(make, SHAPE, make_old, Settings())
    assert str(caught.value) == (
        "pytest-xdist runs 2 tests at once here, and other tests disturb a measurement. Run these tests on their own "
        "with -n 0."
    )
    monkeypatch.setenv("PYTEST_XDIST_WORKER_COUNT", "1")
    check(make, SHAPE, make_old, Settings())


Load = Callable[[Path], object]


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> Load:
    """Return what imports the file nets.py of a folder and returns its function make."""

    def loading(folder: Path) -> object:
        monkeypatch.syspath_prepend(folder)
        monkeypatch.delitem(sys.modules, "nets_of_check", raising=False)
        return importlib.import_module("nets_of_check").make

    return loading


NET = "from torch import nn\n\ndef make():\n    return nn.Flatten()\n"


def test_a_function_against_a_revision(tmp_path: Path, pretended: Pretended, load: Load) -> None:
    top = repository(tmp_path / "repo", tests__nets_of_check=NET)
    sha = git(top, "rev-parse", "HEAD")[:8]
    commit(top, tests__other="")
    pretended.factors = {"make": (1.0 + 1e-12, 1.0)}
    report = check(load(top / "tests"), SHAPE, "main~1", Settings())
    assert report.sentence == f"PASS: nothing is more than 5 % slower in the working tree than in main~1 ({sha})."
    assert [cell.model for cell in report.cells] == ["tests/nets_of_check.py:make"]
    (pair,) = pretended.asked
    assert pair.head == f"tree:{top}::tests/nets_of_check.py:make"
    assert len(git(top, "worktree", "list").splitlines()) == 1


def test_requirements_count_for_a_revision(tmp_path: Path, pretended: Pretended, load: Load) -> None:
    top = repository(tmp_path / "repo", nets_of_check=NET)
    (top / "requirements.txt").write_text("torch\n")
    made = load(top)
    with pytest.raises(UsageError, match=r"requirements\.txt differs between main"):
        check(made, SHAPE, "main", Settings())
    report = check(made, SHAPE, "main", Settings(same_environment=True))
    assert "in this environment anyway" in report.notes[0]


@pytest.mark.parametrize("model", [lambda: nn.Linear(2, 2), nn.Flatten()])
def test_what_another_revision_cannot_have(model: object, pretended: Pretended) -> None:
    with pytest.raises(UsageError) as caught:
        check(model, SHAPE, "main", Settings())
    assert str(caught.value) == (
        f"{label_of(model)} cannot be found in another revision. Give a function or class at the top level of a "
        "module that makes the model, or give a callable as the baseline."
    )


def test_a_function_of_an_installed_package_is_in_no_revision(tmp_path: Path, pretended: Pretended, load: Load) -> None:
    top = repository(tmp_path / "repo")
    installed = top / ".venv" / "lib" / "site-packages"
    installed.mkdir(parents=True)
    (installed / "nets_of_check.py").write_text(NET)
    with pytest.raises(UsageError) as caught:
        check(load(installed), SHAPE, "main", Settings())
    assert str(caught.value) == (
        f"make is part of an installed package, {installed / 'nets_of_check.py'}, so no revision of the repository "
        "contains it. Install the package in editable mode: pip install -e ."
    )
