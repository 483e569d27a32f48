"""Work with single workers: have a host, ask it what the machine is, get one answer, make a record of it."""

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
from cnnbench.machine import threads_of
from cnnbench.models import MODELS
from cnnbench.models.outside import FILE_INPUT_SHAPE
from cnnbench.record import Environment, Outcome, Record
from cnnbench.spec import Case, CnnbenchError, MissingError, Request, Shape, UsageError
from cnnbench.workers.client import Host, Worker, start_host
from cnnbench.workers.failures import with_option
from cnnbench.workers.messages import STOPPED, Answer, Done, Failure, Job, Known, News, Question, Stop

# Share of the free memory that one worker may take: alone it fails before the kernel must choose a victim. When several
# are hungry at once the kernel chooses, and takes a worker first.
MEMORY_SHARE = 0.8

# Longest wait for a training to stop and keep how far it is: one step, and writing its file. Our choice.
STOP_S = 60.0

# Longest wait for what the machine is; the first question initialises CUDA.
_ASK_S = 120.0


class HasOutcome(Protocol):
    """Something that holds an outcome, and why it must not be used, if so."""

    @property
    def outcome(self) -> Outcome:
        """The outcome."""

    @property
    def failure(self) -> Failure | None:
        """Why the outcome must not be used; what was seen until then is kept."""


@contextmanager
def hosting(request: Request, python: str | None = None) -> Iterator[Host]:
    """Have a host for workers of the interpreter `python` (None: this one); it ends with all its workers."""
    variants = (request.reference or "", *(v for section in request.sections for v in section.variants))
    compiles = any("compile" in v or v == "all" for v in variants)
    host = start_host(threads=threads_of(request), compiles=compiles, python=python)
    try:
        yield host
    finally:
        host.close()


@contextmanager
def scratch_folder() -> Iterator[str]:
    """Have a folder for caches of compilers, which goes when the run ends."""
    with tempfile.TemporaryDirectory(prefix="cnnbench-") as folder:
        yield folder


def ask(host: Host, names: Sequence[str]) -> tuple[Environment, Mapping[str, Shape]]:
    """Return the environment of workers, and the input shapes of the models in `names` that are not built in.

    Raises:
        CnnbenchError: a model cannot be named so; the message is the worker's, for the user.
    """
    environment = environment_of(host)
    return environment, {name: shape_of(find(host, name)) for name in names if name not in MODELS}


def environment_of(host: Host) -> Environment:
    """Return the environment of workers.

    Raises:
        CnnbenchError: a worker cannot tell.
    """
    reply = _answer(host, ())
    if isinstance(reply, Failure):
        raise CnnbenchError(f"A worker cannot tell what this machine is: {reply.error}")
    return reply.environment


def find(host: Host, name: str, timeout_s: float = _ASK_S) -> Known:
    """Return what a worker finds the model `name` to be, or why it finds none.

    One whose file ends or hangs the process counts as found, with the default input and the failure.
    """
    reply = _answer(host, (name,), timeout_s)
    if isinstance(reply, Failure):
        return Known(model=name, input_shape=FILE_INPUT_SHAPE, failure=with_option(reply, timeout_s))
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
    """Return the input shape of a model that was asked for.

    Raises:
        CnnbenchError: there is no such model.
    """
    if known.error is not None:
        raise (MissingError if known.exit_code == MissingError.exit_code else UsageError)(known.error)
    return known.input_shape or FILE_INPUT_SHAPE


def do_job(
    host: Host, job: Job, timeout_s: float, on_message: Callable[[News], None] = lambda _: None
) -> Done | Failure:
    """Return what a worker of its own gives for `job`; wait for each of its messages `timeout_s` at most."""
    worker = host.start()
    try:
        worker.send(job)
        return reply_of(worker, timeout_s, on_message)
    finally:
        worker.close()


def reply_of(worker: Worker, timeout_s: float, on_message: Callable[[News], None] = lambda _: None) -> Done | Failure:
    """Return what `worker` gives for its job; `on_message` gets its news, each waited for `timeout_s` at most."""
    while isinstance(reply := worker.receive(timeout_s), News):
        on_message(reply)
    assert isinstance(reply, Done | Failure)
    return reply


def train_case(host: Host, job: Job, on_message: Callable[[News], None]) -> Done | Failure:
    """Return what the training that `job` describes gave; `on_message` gets its news, epoch by epoch.

    An interruption is passed on to a training that has a checkpoint, which then keeps how far it is; one that several
    processes make together has kept its last epoch.

    Raises:
        CnnbenchError: it was interrupted, and could not keep how far it was.
    """
    worker = host.start()
    try:
        worker.send(job)
        return reply_of(worker, max(job.case.budget.timeout_s, job.limit_s or 0.0), on_message)
    except KeyboardInterrupt:
        if job.checkpoint is not None and machine.rank_and_world_size()[1] == 1:
            worker.send(Stop())
            last = reply_of(worker, STOP_S)
            # one that does not answer in time is validating: its last epoch was kept before that
            if isinstance(last, Failure) and last.status != "timeout" and not last.error.startswith(STOPPED):
                said = f"Interrupted, and how far the training was could not be kept: {last.error}"
                raise CnnbenchError(said) from None
        raise
    finally:
        worker.close()


def memory_limit() -> int:
    """Return the bytes of private memory that a worker started now may take."""
    return int(MEMORY_SHARE * machine.free_memory_bytes())


def limit_of(case: Case) -> int | None:
    """Return the bytes of private memory that the worker of `case` may take; CUDA reserves more than it uses."""
    return memory_limit() if case.device == "cpu" else None


def as_record(
    case: Case, environment: Environment, got: HasOutcome | Failure, *, started: float, number: int = 0
) -> Record:
    """Return the record of what `case` gave in round `number`; `started` is seconds since 1970, and it ends now."""
    wrong = None if isinstance(got, Failure) else _no_number(got.outcome)
    outcome = Outcome() if isinstance(got, Failure) or wrong else got.outcome
    failure = got if isinstance(got, Failure) else wrong or got.failure

    return Record(
        case=case,
        environment=environment,
        round=number,
        started=datetime.fromtimestamp(started, UTC).isoformat(timespec="microseconds"),
        duration_s=round(time.time() - started, 3),
        status=failure.status if failure else "ok",
        measurements=outcome.measurements,
        warnings=outcome.warnings,
        layers=outcome.layers,
        notes=outcome.notes,
        error=failure.error if failure else None,
    )


def _no_number(outcome: Outcome) -> Failure | None:
    """Return the failure of an outcome that holds NaN or infinity, which no record can hold, or None."""
    wrong = [m.quantity for m in outcome.measurements if not all(map(math.isfinite, m.samples))]
    return Failure(status="invalid", error=f"{wrong[0]} is not a number") if wrong else None


def check_environment(records: Iterable[Record], environment: Environment, threads: int) -> None:
    """Refuse to go on with a run that another environment began: its records could not be compared.

    Raises:
        UsageError: names the first field that differs.
    """
    for record in records:
        if record.case.variant.threads != threads:
            raise UsageError(
                f"This run began with {record.case.variant.threads} threads a cell, now it is {threads}. "
                "Give the same --threads, or a new folder with --output."
            )

        for field in dataclasses.fields(environment):
            then, now = (getattr(e, field.name) for e in (record.environment, environment))
            if then != now:
                raise UsageError(
                    f"This run began in another environment: {field.name} was {then!r} and is {now!r}. "
                    "Give a new folder with --output."
                )
