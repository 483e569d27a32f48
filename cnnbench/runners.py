"""The runners: what each task measures, by name; importing this imports none of them."""

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
    """Hears news, the share of the work that is done (0 to 1), and whether the news is worth keeping in sight."""

    def __call__(self, text: str, done: float, lasting: bool = ..., /) -> None:  # noqa: FBT001 - as it is sent on
        """Hear it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Assignment:
    """What a runner is given whose task is one piece of work.

    `build` returns the case's model with its weights. `on_message` is told news and the share that is done, and of an
    epoch's that it is worth keeping in sight. For training:
    what it changes in the recipe, `limit_s` (None: no limit), `checkpoint` (None: no file); with `part` the weights are
    tested on that part of the dataset and not trained. `data_dir` is looked through for the dataset first.
    `resume`: training in progress that lies beside the checkpoint is gone on with; `stop` says whether it is to stop.
    `shift`: weights are tested on images moved by up to so many pixels, too. `images` are files to predict the `top`
    classes of. `look`: what is to be seen of the model.
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
    """Where a runner is, and its kind.

    `sampled`: a function (spec, case, prepared model) -> `sampling.Work`, of which the orchestrator takes samples.
    `whole`: a function (assignment) -> `Outcome`. Two need no model: `fixed`, (case) -> `sampling.Work`, and
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
    """Return the runner that does `case`: that of its role if there is one, else that of its task."""
    return RUNNERS.get(case.role) or RUNNERS[case.task]
