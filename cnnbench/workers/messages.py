"""What coordinator and workers say to each other: plain values that travel pickled through a socket pair."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from cnnbench.record import Environment, Outcome, RecordedWarning, Status
from cnnbench.spec import AS_THE_RECIPE, Case, Shape, Training
from cnnbench.timing.loop import Sample, SampleShape
from cnnbench.visuals import VisualRequest


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """To a worker, first: what to do in this process, and under which limits.

    `scratch`: a folder for compile caches. `memory_limit_bytes` of private memory (None: no limit). `training`,
    `limit_s` and `checkpoint` are for training: what it changes in the recipe, None for no limit, None for no file;
    `resume`: training in progress that lies beside the checkpoint is gone on with; `deterministic`: with algorithms
    that give the same bits again. With `part` the weights are tested on that part of the dataset and not trained, with
    `shift` on images moved by up to so many pixels, too. `data_dir` is looked through for datasets. `images`: files
    to predict the `top` classes of. `look`: what is to be seen of the model. `warm_cap_s` ends a warm-up that does
    not settle.
    """

    case: Case
    scratch: str
    memory_limit_bytes: int | None = None
    training: Training = AS_THE_RECIPE
    limit_s: float | None = None
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


# How the failure begins of a training that stopped because it was told to, and has kept how far it was.
STOPPED = "Stopped "


@dataclass(frozen=True, kw_only=True, slots=True)
class Stop:
    """To a worker that trains: stop after the step that you make, and keep how far you are."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Question:
    """To a worker, instead of a job: a question about this machine or about models, answered by one message."""

    models: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Known:
    """From a worker: what a model from outside turned out to be; or the error that naming it gave, for the user.

    `absent`: the error is that a tree does not have the model. `failure`: the worker that was asked died or hung.
    """

    model: str
    input_shape: Shape | None = None
    error: str | None = None
    exit_code: int = 0
    absent: bool = False
    failure: Failure | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """From a worker: the environment, and what is known of the models asked about."""

    environment: Environment
    models: tuple[Known, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Built:
    """From a worker: the model is in memory under its variant; nothing has been called yet."""

    warnings: tuple[RecordedWarning, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Warm:
    """To a worker: make the first call and warm up; `shape` of the samples, where an earlier round found it."""

    shape: SampleShape | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Try:
    """To a worker, instead of `Warm`: make one call and end, to see whether it fits."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Tried:
    """From a worker: the call went well."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Ready:
    """From a worker: warmed up and idle; times in seconds, `phases` are the quantities that a sample times apart.

    `reading_s` is what an empty timed region reads.
    """

    first_call_s: float
    warmup_s: float
    iteration_s: float
    shape: SampleShape
    phases: tuple[str, ...] = ()
    reading_s: float | None = None
    warnings: tuple[RecordedWarning, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Take:
    """To a worker: take one sample."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Taken:
    """From a worker: the sample."""

    sample: Sample


@dataclass(frozen=True, kw_only=True, slots=True)
class News:
    """From a worker that trains: a line for the user, and the share of its work that is done (0 to 1).

    `lasting`: the line is worth keeping in sight, as that of an epoch.
    """

    text: str
    done: float
    lasting: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Done:
    """From a worker whose job is one piece of work: what it gave."""

    outcome: Outcome

    @property
    def failure(self) -> None:
        """There is none: a worker that fails says so instead."""
        return None


@dataclass(frozen=True, kw_only=True, slots=True)
class Failure:
    """From a worker, or in place of one that died: why there is no result, and what a command ends with for it."""

    status: Status
    error: str
    exit_code: int = 1


Request = Job | Question | Warm | Try | Take | Stop
Reply = Built | Tried | Ready | Taken | News | Done | Failure | Answer
