"""Call a single worker from the coordinator: get one answer, do one job, make a record of it."""

from __future__ import annotations

import dataclasses
import math
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Protocol

from cnnbench import machine
from cnnbench.jobs import Job
from cnnbench.machine import threads_of
from cnnbench.models import MODELS
from cnnbench.models.user_file import FILE_INPUT_SHAPE
from cnnbench.record import Environment, Outcome, Record
from cnnbench.spec import Case, CnnbenchError, MissingError, Request, Shape, UsageError
from cnnbench.workers.client import Host, Worker, start_host
from cnnbench.workers.failures import mention_option
from cnnbench.workers.messages import STOPPED, Answer, Done, Failure, Known, News, Question, Stop

# Share of the free memory that one worker may take. A single hungry worker then fails before the kernel must choose a
# victim. If several are hungry at once, the kernel chooses, and takes a worker first.
MEMORY_SHARE = 0.8

# Longest wait for a training to stop and save its progress: one step, and writing its file.
STOP_S = 60.0

# Longest wait for an answer about the machine or a model; the first question initialises CUDA.
_ASK_S = 120.0


class HasOutcome(Protocol):
    """Something that holds an outcome, and the reason if it must not be used."""

    @property
    def outcome(self) -> Outcome:
        """Return the outcome."""

    @property
    def failure(self) -> Failure | None:
        """Why the outcome must not be used, None if it may; what was seen until then is kept."""


@contextmanager
def open_host(request: Request, python: str | None = None) -> Iterator[Host]:
    """Yield a host for workers of the interpreter `python` (None: this one), and end it with all its workers."""
    # "all" stands for every variant, so compiled ones are among them.
    variants = (request.reference or "", *(v for section in request.sections for v in section.variants))
    compiles = any("compile" in v or v == "all" for v in variants)
    host = start_host(threads=threads_of(request), compiles=compiles, python=python)
    try:
        yield host
    finally:
        host.close()


@contextmanager
def scratch_folder() -> Iterator[str]:
    """Yield a folder for the caches of compilers, and remove it when the run ends."""
    with tempfile.TemporaryDirectory(prefix="cnnbench-") as folder:
        yield folder


def ask(host: Host, names: Sequence[str]) -> tuple[Environment, Mapping[str, Shape]]:
    """Return the environment of workers, and the input shapes of the models in `names` that are not built in.

    Raises:
        CnnbenchError: a name belongs to no model; the message is the worker's, for the user.
    """
    environment = environment_of(host)
    return environment, {name: shape_of(find(host, name)) for name in names if name not in MODELS}


def environment_of(host: Host) -> Environment:
    """Return the environment of workers.

    Raises:
        CnnbenchError: the worker gives no answer.
    """
    reply = _answer(host, ())
    if isinstance(reply, Failure):
        raise CnnbenchError(f"A worker cannot describe this machine: {reply.error}")
    return reply.environment


def find(host: Host, name: str, timeout_s: float = _ASK_S) -> Known:
    """Return what a worker finds the model `name` to be, or why it finds none.

    A model whose file ends or hangs the process counts as found, with the default input and the failure.
    """
    reply = _answer(host, (name,), timeout_s)
    if isinstance(reply, Failure):
        return Known(model=name, input_shape=FILE_INPUT_SHAPE, failure=mention_option(reply, timeout_s))
    return next(known for known in reply.models if known.model == name)


def _answer(host: Host, models: tuple[str, ...], timeout_s: float = _ASK_S) -> Answer | Failure:
    worker = host.start()
    try:
        worker.send(Question(models=models))
        reply = worker.receive(timeout_s)
    finally:
        worker.close()
    assert isinstance(reply, Answer | Failure)
    return reply


def shape_of(known: Known) -> Shape:
    """Return the input shape of a model that a worker was asked about.

    Raises:
        CnnbenchError: there is no such model.
    """
    if known.error is not None:
        raise (MissingError if known.exit_code == MissingError.exit_code else UsageError)(known.error)
    return known.input_shape or FILE_INPUT_SHAPE


def do_job(
    host: Host, job: Job, timeout_s: float, on_message: Callable[[News], None] = lambda _: None
) -> Done | Failure:
    """Return what a new worker gives for `job`; wait at most `timeout_s` for each of its messages."""
    worker = host.start()
    try:
        worker.send(job)
        return reply_of(worker, timeout_s, on_message)
    finally:
        worker.close()


def reply_of(worker: Worker, timeout_s: float, on_message: Callable[[News], None] = lambda _: None) -> Done | Failure:
    """Return what `worker` gives for its job; wait at most `timeout_s` for a message, and pass news to `on_message`."""
    while isinstance(reply := worker.receive(timeout_s), News):
        on_message(reply)
    assert isinstance(reply, Done | Failure)
    return reply


def train_case(host: Host, job: Job, on_message: Callable[[News], None]) -> Done | Failure:
    """Return what the training in `job` gave; `on_message` gets its news, epoch by epoch.

    An interruption is passed on to a training that has a checkpoint, which then saves its progress. A training that
    several processes do together is not told, because it has saved its last epoch.

    Raises:
        CnnbenchError: the training was interrupted and could not save its progress.
    """
    worker = host.start()
    try:
        # One message may take as long as the whole training is allowed.
        worker.send(job)
        return reply_of(worker, max(job.case.budget.timeout_s, job.limit_s or 0.0), on_message)

    except KeyboardInterrupt:
        # The interruption is the coordinator's; the worker trains on until it is told to stop.
        if job.checkpoint is not None and machine.rank_and_world_size()[1] == 1:
            worker.send(Stop())
            last = reply_of(worker, STOP_S)
            # A worker that does not answer in time is validating. It saved its last epoch before that.
            if isinstance(last, Failure) and last.status != "timeout" and not last.error.startswith(STOPPED):
                said = f"Interrupted, and the training in progress could not be saved: {last.error}"
                raise CnnbenchError(said) from None
        raise

    finally:
        worker.close()


def memory_limit() -> int:
    """Return how many bytes of private memory a worker that starts now may take."""
    return int(MEMORY_SHARE * machine.free_memory_bytes())


def limit_of(case: Case) -> int | None:
    """Return how many bytes of private memory the worker of `case` may take.

    None is no limit: CUDA reserves more than it uses.
    """
    return memory_limit() if case.device == "cpu" else None


def make_record(
    case: Case, environment: Environment, got: HasOutcome | Failure, *, started: float, number: int = 0
) -> Record:
    """Return the record of what `case` gave in round `number`, from `started` (monotonic seconds) to now."""
    # The clock of the day may be set meanwhile, so only the end is read from it.
    duration_s = time.monotonic() - started

    # An outcome with NaN or infinity is dropped; one that comes with a failure is what was seen until then.
    wrong = None if isinstance(got, Failure) else _nan_failure(got.outcome)
    outcome = Outcome() if isinstance(got, Failure) or wrong else got.outcome
    failure = got if isinstance(got, Failure) else wrong or got.failure

    return Record(
        case=case,
        environment=environment,
        round=number,
        started=datetime.fromtimestamp(time.time() - duration_s, UTC).isoformat(timespec="microseconds"),
        duration_s=round(duration_s, 3),
        status=failure.status if failure else "ok",
        measurements=outcome.measurements,
        warnings=outcome.warnings,
        layers=outcome.layers,
        notes=outcome.notes,
        error=failure.error if failure else None,
    )


def _nan_failure(outcome: Outcome) -> Failure | None:
    """Return a failure if the outcome holds NaN or infinity, which no record can hold, otherwise None."""
    wrong = [m.quantity for m in outcome.measurements if not all(map(math.isfinite, m.samples))]
    return Failure(status="invalid", error=f"{wrong[0]} is not a number") if wrong else None


def check_environment(records: Iterable[Record], environment: Environment, threads: int) -> None:
    """Check that a run began in this environment: records of another one could not be compared.

    Raises:
        UsageError: a field differs; the message names the first one.
    """
    for record in records:
        # Threads belong to the variant of a case, so the environment does not hold them.
        if record.case.variant.threads != threads:
            raise UsageError(
                f"This run began with {record.case.variant.threads} threads per cell, but now it has {threads}. "
                "Use the same --threads, or a new folder with --output."
            )

        for field in dataclasses.fields(environment):
            then, now = (getattr(e, field.name) for e in (record.environment, environment))
            if then != now:
                raise UsageError(
                    f"This run began in another environment: {field.name} was {then!r} and is {now!r}. "
                    "Give a new folder with --output."
                )
