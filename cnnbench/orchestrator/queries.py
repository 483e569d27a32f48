"""Ask one worker a question outside a run: counts of a model, predictions, or the largest batch that fits."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

from cnnbench.image_types import ImageGrid, VisualRequest
from cnnbench.jobs import Job
from cnnbench.orchestrator.events import Hooks
from cnnbench.orchestrator.plan import make_plan
from cnnbench.orchestrator.run import BenchmarkRun
from cnnbench.record import Outcome, Record
from cnnbench.spec import Budget, Case, CnnbenchError, Device, MissingError, Request, Section, UsageError
from cnnbench.workers.client import Host
from cnnbench.workers.messages import Built, Done, Failure, News, Tried, Try
from cnnbench.workers.single_worker import ask, do_job, limit_of, open_host

# Budget of work that is one answer of one worker.
ONE_ANSWER = Budget(total_s=300.0, timeout_s=120.0)

# Longest wait in seconds for predictions, or for images of a model; the weights may be downloaded first.
PREDICTION_S = 3600.0


def count_model(model: str, input_size: tuple[int, ...] | None) -> Record:
    """Return the complexity record of `model` at `input_size`, (height, width) or (channels, height, width)."""
    return count_models([(model, input_size)])[0]


def count_models(asked: Sequence[tuple[str, tuple[int, ...] | None]]) -> list[Record]:
    """Return the complexity records of models, each at the (height, width) beside it (None: its own)."""
    kept: list[Record] = []
    with open_host(_count_request(asked[0][0])) as host:
        for name, input_size in asked:
            BenchmarkRun(
                _count_request(name), Hooks(on_record=kept.append, on_progress=lambda _: None, completed={}), (name,)
            ).count(host, input_size)
    return kept


def _count_request(model: str) -> Request:
    return Request(title="describe", sections=(Section(models=(model,), variants=("eager",)),), budget=ONE_ANSWER)


def predict_classes(  # which model, with which weights, where, of what
    model: str, weights: str, device: Device, images: tuple[str, ...], *, top: int, dataset: str | None
) -> Outcome:
    """Return the predicted classes of the files `images`.

    Raises:
        CnnbenchError: there are none; the message and the exit code are the worker's.
    """
    request = replace(_count_request(model), device=device, weights=weights)
    with _open_job(request) as (host, job):
        case = replace(job.case, role="predict", dataset=dataset)
        reply = do_job(host, replace(job, case=case, images=images, top=top), PREDICTION_S)
    return _outcome_of(reply)


def look_into(request: Request, look: VisualRequest, on_message: Callable[[News], None]) -> tuple[ImageGrid, ...]:
    """Return the images that `look` asks for, of the one model of `request`.

    `request` gives the weights, the dataset (`accuracy`, or None) and the recipe with which the model is built.

    Raises:
        CnnbenchError: there are no images; the message and the exit code are the worker's.
    """
    with _open_job(request) as (host, job):
        case = replace(job.case, role="look", dataset=request.accuracy, recipe=request.recipe)
        reply = do_job(host, replace(job, case=case, look=look, data_dir=request.data_dir), PREDICTION_S, on_message)

    return _outcome_of(reply).sheets


def _outcome_of(reply: Done | Failure) -> Outcome:
    # The worker's error has crossed a process, so its class is found again by its exit code.
    if isinstance(reply, Failure):
        kinds = {kind.exit_code: kind for kind in (CnnbenchError, UsageError, MissingError)}
        raise kinds[reply.exit_code](reply.error)
    return reply.outcome


@contextmanager
def _open_job(request: Request) -> Iterator[tuple[Host, Job]]:
    """Yield a host, and a job for the first case of `request`."""
    with open_host(request) as host, tempfile.TemporaryDirectory(prefix="cnnbench-") as scratch:
        environment, shapes = ask(host, request.sections[0].models)
        case = make_plan(request, environment, shapes).groups[0].cases[0]
        yield host, Job(case=case, scratch=scratch, memory_limit_bytes=limit_of(case))


@dataclass(frozen=True, kw_only=True, slots=True)
class Largest:
    """The largest batch that fits, the smallest one that failed (None: no trial failed), and why it failed."""

    batch_size: int
    failed_at: int | None
    reason: str | None


def largest_batch(
    model: str, device: Device, *, limit: int, seconds: float, on_progress: Callable[[str], None]
) -> Largest:
    """Return the largest inference batch of `model` that fits, by doubling up to `limit` and then halving the gap.

    Each trial is one forward pass in a worker of its own, under the memory limit of measured cells. No new trial starts
    `seconds` after the first one; the time to start the host does not count. `limit` is at least 1.
    """
    request = Request(
        title="doctor", sections=(Section(models=(model,), variants=("eager",)),), device=device, budget=ONE_ANSWER
    )

    # `good` always fits and `bad` never does; the search ends when no batch size lies between them.
    good, bad, reason = 0, None, None
    with open_host(request) as host, tempfile.TemporaryDirectory(prefix="cnnbench-") as scratch:
        environment, shapes = ask(host, (model,))
        case = make_plan(request, environment, shapes).groups[0].cases[0]

        # The first trial is made in any case, so that there is always an answer.
        batch, until = 1, time.monotonic() + seconds
        while good < batch <= limit and (batch == 1 or time.monotonic() < until):
            on_progress(f"{model}: batch {batch}")
            failure = _try(host, replace(case, batch_size=batch), scratch)
            if failure is None:
                good = batch
            else:
                bad, reason = batch, failure.error
            # Double until a trial fails, then halve the gap.
            batch = min(limit, 2 * good) if bad is None else (good + bad) // 2

    return Largest(batch_size=good, failed_at=bad, reason=reason)


def _try(host: Host, case: Case, scratch: str) -> Failure | None:
    worker = host.start()
    try:
        worker.send(Job(case=case, scratch=scratch, memory_limit_bytes=limit_of(case)))
        reply = worker.receive(case.budget.timeout_s)

        # Building may fail already, for lack of memory; then there is nothing to try.
        if isinstance(reply, Built):
            worker.send(Try())
            reply = worker.receive(case.budget.timeout_s)
    finally:
        worker.close()
    assert isinstance(reply, Tried | Failure)
    return reply if isinstance(reply, Failure) else None
