"""The table of runners: every task has one, so has every role that is not the cell itself, and each is there."""

from __future__ import annotations

import dataclasses
import inspect
import subprocess
import sys
from typing import get_args

import pytest

from cnnbench.spec import Role, Task
from cnnbench.task_runners import RUNNERS, runner_for
from tests.factories import case

PARAMETERS = {
    "sampled": ["spec", "case", "prepared"],
    "whole": ["assignment"],
    "fixed": ["case"],
    "machine": ["case", "clock"],
}


def test_every_task_and_role_has_a_runner_but_for_those_of_cells() -> None:
    assert set(RUNNERS) == {*get_args(Task), *get_args(Role)} - {"timed", "aa_control", "lineup"}


def test_twins_run_their_task_and_other_roles_their_own_runner() -> None:
    cells = [dataclasses.replace(case("net", task="train"), role=role) for role in get_args(Role)]
    names = [
        "train",
        "train",
        "control_workload",
        "train",
        "memory",
        "numerics",
        "ceilings",
        "predict",
        "look",
        "layers",
    ]
    assert [runner_for(cell) for cell in cells] == [RUNNERS[name] for name in names]  # type: ignore[index]


@pytest.mark.parametrize("name", list(RUNNERS))
def test_a_runner_is_there_and_takes_what_its_kind_takes(name: Task | Role) -> None:
    runner = RUNNERS[name]
    function = runner.load()
    assert (function.__module__, function.__name__) == (runner.module, runner.function)
    assert list(inspect.signature(function).parameters) == PARAMETERS[runner.kind]


def test_the_table_is_read_only() -> None:
    with pytest.raises(TypeError):
        RUNNERS["infer"] = RUNNERS["train"]  # type: ignore[index]


def test_knowing_the_runners_imports_none_of_them() -> None:
    heavy = "m == 'torch' or m.startswith(('cnnbench.timing.', 'cnnbench.inspection.', 'cnnbench.training.'))"
    code = f"import cnnbench.task_runners, sys; print([m for m in sys.modules if {heavy}])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
