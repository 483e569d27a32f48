"""Table of runners: the function that measures each task, imported only when it is loaded."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, Protocol

from cnnbench.clock import Clock
from cnnbench.spec import AS_THE_RECIPE, Case, ModelSpec, Role, Task, Training
from cnnbench.visuals import VisualRequest

if TYPE_CHECKING:
    from torch import nn


class OnMessage(Protocol):
    """Callback for news: its text, the share of the work that is done (0 to 1), and whether it should stay visible."""

    def __call__(self, text: str, done: float, lasting: bool = ..., /) -> None:  # noqa: FBT001 - as it is sent on
        """Receive the news."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Assignment:
    """Input of a runner whose task is one piece of work.

    `build` returns the case's model with its weights. `on_message` gets news and the share that is done; news of an
    epoch should stay visible. `training` holds changes to the recipe, `limit_s` is the time limit in seconds (None: no
    limit), and `checkpoint` the file for the weights (None: no file). With `part` the weights are tested on that part
    of the dataset and not trained. `data_dir` is searched for the dataset first. `resume`: continue a training whose
    state lies beside the checkpoint. `stop` returns whether the training should stop. `shift`: test the weights on
    images moved by up to this many pixels as well. `images` are files of which the `top` classes are predicted. `look`:
    what to show of the model.
    """

    spec: ModelSpec
    case: Case
    build: Callable[[], nn.Module]
    clock: Clock
    on_message: OnMessage
    training: Training = AS_THE_RECIPE
    limit_s: float | None = None
    checkpoint: str | None = None
    part: Literal["train", "val", "test"] | None = None
    data_dir: str | None = None
    resume: bool = False
    stop: Callable[[], bool] = lambda: False
    shift: int = 0
    images: tuple[str, ...] = ()
    top: int = 1
    look: VisualRequest | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Runner:
    """Kind, module and function of a runner.

    `sampled`: a function (spec, case, prepared model) -> `sampling.Work`, of which the orchestrator takes samples.
    `whole`: a function (assignment) -> `Outcome`. Two kinds need no model: `fixed`, (case) -> `sampling.Work`, and
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
        "infer": Runner(kind="sampled", module="cnnbench.timing.job", function="inference"),
        "train": Runner(kind="sampled", module="cnnbench.timing.job", function="training"),
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
