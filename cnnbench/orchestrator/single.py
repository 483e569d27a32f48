"""Work with single workers: have a host, ask it what the machine is, get one answer, make a record of it."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Protocol

from cnnbench import machine
from cnnbench.models import MODELS
from cnnbench.orchestrator.host import Host, start_host
from cnnbench.orchestrator.messages import Answer, Done, Failure, Job, News, Question
from cnnbench.orchestrator.planning import threads_of
from cnnbench.record import Environment, Outcome, Record
from cnnbench.spec import Case, CnnbenchError, MissingError, Request, Shape, UsageError

MEMORY_SHARE = 0.8
"""Share of the free memory that one worker may take: it fails alone before the kernel must choose a victim."""

_ASK_S = 120.0
"""Longest wait for what the machine is; the first question initialises CUDA. Our choice."""


class Given(Protocol):
    """Something that holds an outcome."""

    @property
    def outcome(self) -> Outcome:
        """The outcome."""


@contextmanager
def hosting(request: Request) -> Iterator[Host]:
    """Have a host for workers; it is ended with all its workers whatever happens."""
    compiles = any("compile" in v or v == "all" for s in request.sections for v in s.variants)
    host = start_host(threads=threads_of(request), compiles=compiles)
    try:
        yield host
    finally:
        host.close()


def ask(host: Host, names: Sequence[str]) -> tuple[Environment, Mapping[str, Shape]]:
    """Return the environment of workers, and the input shapes of the models in `names` that are not built in.

    Raises:
        CnnbenchError: a model cannot be named so; the message is the worker's, for the user.
    """
    worker = host.start()
    worker.send(Question(models=tuple(n for n in names if n not in MODELS)))
    reply = worker.receive(_ASK_S)
    worker.close()
    if not isinstance(reply, Answer):
        assert isinstance(reply, Failure)
        raise CnnbenchError(f"A worker cannot tell what this machine is: {reply.error}")
    for known in reply.models:
        if known.error is not None:
            raise (MissingError if known.exit_code == MissingError.exit_code else UsageError)(known.error)
    return reply.environment, {k.model: k.input_shape for k in reply.models if k.input_shape}


def train_case(host: Host, job: Job, hear: Callable[[News], None]) -> Done | Failure:
    """Return what the training that `job` describes gave; `hear` gets its news, epoch by epoch."""
    worker = host.start()
    try:
        worker.send(job)
        while isinstance(reply := worker.receive(max(job.case.budget.timeout_s, job.limit_s or 0.0)), News):
            hear(reply)
    finally:
        worker.close()
    assert isinstance(reply, Done | Failure)
    return reply


def memory_limit() -> int:
    """Return the bytes of private memory that a worker started now may take."""
    return int(MEMORY_SHARE * machine.free_memory_bytes())


def as_record(case: Case, environment: Environment, got: Given | Failure, *, launch: int, started: float) -> Record:
    """Return the record of what `case` gave; `started` is seconds since 1970, and it ends now."""
    failure = got if isinstance(got, Failure) else _no_number(got.outcome)
    outcome = Outcome() if isinstance(got, Failure) or failure else got.outcome
    return Record(
        case=case,
        environment=environment,
        launch=launch,
        started=datetime.fromtimestamp(started, UTC).isoformat(timespec="seconds"),
        duration_s=round(time.time() - started, 3),
        status=failure.status if failure else "ok",
        measurements=outcome.measurements,
        cautions=outcome.cautions,
        layers=outcome.layers,
        notes=outcome.notes,
        error=failure.error if failure else None,
    )


def _no_number(outcome: Outcome) -> Failure | None:
    """Return the failure of an outcome that holds NaN or infinity, which no record can hold, or None."""
    wrong = [m.quantity for m in outcome.measurements if not all(map(math.isfinite, m.samples))]
    return Failure(status="invalid", error=f"{wrong[0]} is not a number") if wrong else None
