"""Define the messages between coordinator and workers: plain values, pickled through a socket pair."""

from __future__ import annotations

from dataclasses import dataclass

from cnnbench.jobs import Job
from cnnbench.record import Environment, Outcome, RecordedWarning, Status
from cnnbench.spec import Shape
from cnnbench.timing.loop import Sample, SampleShape

# Start of the error text of a training that was told to stop and has saved its progress.
STOPPED = "Stopped "


@dataclass(frozen=True, kw_only=True, slots=True)
class Stop:
    """To a worker that trains: stop after the current step, and save the progress."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Question:
    """To a worker, instead of a job: a question about this machine or about models; one message answers it."""

    models: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Known:
    """From a worker: what a model from outside turned out to be, or the error for the user if its name gave one.

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
    """To a worker: make the first call and warm up; `shape` is that of the samples if an earlier round found it."""

    shape: SampleShape | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Try:
    """To a worker, instead of `Warm`: make one call and end, to see whether it fits."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Tried:
    """From a worker: the call went well."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Ready:
    """From a worker: it is warmed up and idle; times are in seconds.

    `phases` are the quantities that a sample times apart. `reading_s` is what an empty timed region reads.
    `output_shape` is the shape of the scores, () for a loss.
    """

    first_call_s: float
    warmup_s: float
    iteration_s: float
    shape: SampleShape
    phases: tuple[str, ...] = ()
    reading_s: float | None = None
    warnings: tuple[RecordedWarning, ...] = ()
    notes: tuple[str, ...] = ()
    output_shape: tuple[int, ...] = ()


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

    `lasting`: the line should stay in sight, such as that of an epoch.
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
        """None: a worker that fails sends a `Failure` instead."""
        return None


@dataclass(frozen=True, kw_only=True, slots=True)
class Failure:
    """From a worker, or in place of one that died: why there is no result, and the exit code of a command for it."""

    status: Status
    error: str
    exit_code: int = 1


Request = Job | Question | Warm | Try | Take | Stop
Reply = Built | Tried | Ready | Taken | News | Done | Failure | Answer
