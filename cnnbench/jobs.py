"""Define the job of a worker, and the assignment that its runner gets."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

from cnnbench.clock import Clock
from cnnbench.image_types import VisualRequest
from cnnbench.spec import AS_THE_RECIPE, Case, ModelSpec, Training

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """The first message to a worker: what to do in its process, and under which limits.

    `scratch`: a folder for compile caches. `memory_limit_bytes`: the most private memory (None: no limit).
    `warm_cap_s` ends a warm-up that does not settle. `data_dir`: a folder to search for datasets.

    For training: `training` is what it changes in the recipe, `limit_s` its time limit (None: no limit),
    `image_s` the seconds of one image's forward pass if the model was timed, and `checkpoint` its file (None: no file).
    `resume`: continue the training in progress that lies beside the checkpoint. `deterministic`: use algorithms that
    give the same bits again. With `part` the weights are tested on that part of the dataset and not trained. With
    `shift` they are tested on images moved by up to that many pixels, too.

    `images`: files to predict the `top` classes of. `look`: what to show of the model.
    """

    case: Case
    scratch: str
    memory_limit_bytes: int | None = None
    training: Training = AS_THE_RECIPE
    limit_s: float | None = None
    image_s: float | None = None
    checkpoint: str | None = None
    part: Literal["train", "val", "test"] | None = None
    data_dir: str | None = None
    resume: bool = False
    deterministic: bool = False
    shift: int = 0
    images: tuple[str, ...] = ()
    top: int = 1
    look: VisualRequest | None = None
    warm_cap_s: float = 30.0


class OnMessage(Protocol):
    """Callback for news: its text, the share of the work that is done (0 to 1), and whether it should stay visible."""

    def __call__(self, text: str, done: float, lasting: bool = ..., /) -> None:  # noqa: FBT001 - as it is sent on
        """Receive the news."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Assignment:
    """Input of a runner whose task is one piece of work: the job, and what the worker adds to it.

    `build` returns the case's model with its weights. `on_message` gets news and the share that is done; news of an
    epoch should stay visible. `stop` returns whether the training should stop.
    """

    job: Job
    spec: ModelSpec
    build: Callable[[], nn.Module]
    clock: Clock
    on_message: OnMessage
    stop: Callable[[], bool] = lambda: False

    @property
    def case(self) -> Case:
        """Return the case of the job."""
        return self.job.case
