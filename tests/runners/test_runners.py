"""The table of runners: every task has one, and each is there."""

from __future__ import annotations

import inspect
import subprocess
import sys
from typing import get_args

import pytest

from cnnbench.runners import RUNNERS
from cnnbench.spec import Task

PARAMETERS = {"sampled": ["spec", "case", "prepared"], "whole": ["assignment"]}


def test_every_task_has_a_runner_and_every_runner_a_task() -> None:
    assert set(RUNNERS) == set(get_args(Task))


@pytest.mark.parametrize("task", get_args(Task))
def test_a_runner_is_there_and_takes_what_its_kind_takes(task: Task) -> None:
    runner = RUNNERS[task]
    function = runner.load()
    assert (function.__module__, function.__name__) == (runner.module, runner.function)
    assert list(inspect.signature(function).parameters) == PARAMETERS[runner.kind]


def test_the_table_is_read_only() -> None:
    with pytest.raises(TypeError):
        RUNNERS["infer"] = RUNNERS["train"]  # type: ignore[index]


def test_knowing_the_runners_imports_none_of_them() -> None:
    heavy = "m == 'torch' or m.startswith('cnnbench.runners.')"
    code = f"import cnnbench.runners, sys; print([m for m in sys.modules if {heavy}])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
