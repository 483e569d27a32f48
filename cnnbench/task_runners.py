"""Table of runners: the function that measures each task, imported only when it is loaded."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal

from cnnbench.spec import Case, Role, Task


@dataclass(frozen=True, kw_only=True, slots=True)
class Runner:
    """Kind, module and function of a runner.

    `sampled`: a function (spec, case, prepared model) -> `timing.loop.Work`, of which the orchestrator takes samples.
    `whole`: a function (assignment) -> `Outcome`. Two kinds need no model: `fixed`, (case) -> `timing.loop.Work`, and
    `machine`, (case, clock) -> `Outcome`.
    """

    kind: Literal["sampled", "whole", "fixed", "machine"]
    module: str
    function: str

    def load(self) -> Callable[..., Any]:
        """Import the runner and return its function."""
        found: Callable[..., Any] = getattr(importlib.import_module(self.module), self.function)
        return found


# Every runner by its task, or by the role of a case that is not the cell itself; read-only.
RUNNERS: Mapping[Task | Role, Runner] = MappingProxyType(
    {
        "infer": Runner(kind="sampled", module="cnnbench.timing.latency_job", function="inference"),
        "train": Runner(kind="sampled", module="cnnbench.timing.latency_job", function="training"),
        "complexity": Runner(kind="whole", module="cnnbench.inspection.complexity", function="run"),
        "accuracy": Runner(kind="whole", module="cnnbench.training.job", function="run"),
        "control_workload": Runner(
            kind="fixed", module="cnnbench.timing.control_workload", function="control_workload"
        ),
        "memory": Runner(kind="whole", module="cnnbench.inspection.memory", function="run"),
        "numerics": Runner(kind="whole", module="cnnbench.inspection.numerics", function="run"),
        "predict": Runner(kind="whole", module="cnnbench.inspection.predict", function="run"),
        "look": Runner(kind="whole", module="cnnbench.inspection.visualise", function="run"),
        "layers": Runner(kind="whole", module="cnnbench.inspection.layer_timing", function="run"),
        "ceilings": Runner(kind="machine", module="cnnbench.inspection.ceilings", function="run"),
    }
)


def runner_for(case: Case) -> Runner:
    """Return the runner of `case`: that of its role if there is one, else that of its task."""
    return RUNNERS.get(case.role) or RUNNERS[case.task]
