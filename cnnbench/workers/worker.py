"""Run a worker: a process that holds one case, from its first operation to its last, and tells the coordinator."""

from __future__ import annotations

import hashlib
import os
import random
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import replace
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING

from cnnbench import models
from cnnbench.clock import Clock, clock_for
from cnnbench.jobs import Assignment, Job
from cnnbench.models.backbone_head import replace_head
from cnnbench.models.lazy_layers import initialise_lazy
from cnnbench.models.other_tree import AbsentError
from cnnbench.models.weights import load_weights
from cnnbench.record import Outcome
from cnnbench.spec import Case, CnnbenchError, InvalidError, ModelSpec
from cnnbench.task_runners import runner_for
from cnnbench.timing.affinity import keep_to_cores, pin, start_threads, use_one_thread
from cnnbench.timing.disturbance import watch_for
from cnnbench.timing.heap import keep_freed_memory, limit_memory, randomise_heap, release_memory_limit
from cnnbench.timing.loop import is_unsynchronised, reading_cost_s, shape_sample, take_sample
from cnnbench.timing.random_weights import use_quick_weights
from cnnbench.timing.thread_idle import wait_until_idle
from cnnbench.timing.warmup import warm_up
from cnnbench.variants import Prepared, prepare
from cnnbench.workers.failures import describe
from cnnbench.workers.messages import Answer, Built, Done, Known, News, Question, Ready, Take, Taken, Tried, Try, Warm

if TYPE_CHECKING:
    from torch import nn

    from cnnbench.timing.loop import Work


CHANGES_INPUTS = (
    "the model changes its input in place, so each pass gets a copy, which is made outside the timed region"
)


def work(connection: Connection) -> None:
    """Serve one job or question over `connection`; turn every exception into a `Failure`."""
    try:
        _serve(connection)
    except BaseException as error:  # whatever a user's model raises is a result, EOFError too
        release_memory_limit()
        with suppress(OSError):  # the coordinator may have gone
            connection.send(describe(error))


def _serve(connection: Connection) -> None:
    request = connection.recv()
    if isinstance(request, Question):
        connection.send(_answer(request))
        return

    assert isinstance(request, Job)
    limit_memory(request.memory_limit_bytes)
    _fix(request)
    asked, runner = request.case, runner_for(request.case)

    match runner.kind:
        case "sampled":
            keep_to_cores(asked.variant.threads)
            held = randomise_heap(random.SystemRandom())  # no seed: the system places memory at random, too
            _serve_samples(connection, request)
            del held  # only now: the blocks must stay where they are while the model is there
        case "fixed":
            keep_to_cores(asked.variant.threads)
            with use_one_thread():
                timed_work = runner.load()(asked)
            connection.send(Built())
            _sample(connection, request, timed_work)
        case "whole":
            connection.send(Done(outcome=_run_whole(connection, request)))
        case "machine":
            connection.send(Done(outcome=runner.load()(asked, clock_for(asked.device))))


def _fix(job: Job) -> None:
    """Set threads, caches, malloc and seed before the first operation, and check that torch uses these threads."""
    import torch

    cache = f"{job.scratch}/{_cache_name(job.case)}"
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = f"{cache}-inductor"
    os.environ["TRITON_CACHE_DIR"] = f"{cache}-triton"
    threads = job.case.variant.threads
    torch.set_num_threads(threads)
    if torch.get_num_threads() != threads:
        raise CnnbenchError(f"torch was asked for {threads} threads, but runs {torch.get_num_threads()}.")
    # Where memory is measured, freed memory must go back to the system.
    if job.case.role != "memory" and not job.case.variant.default_malloc:
        keep_freed_memory()
    seeded = torch.default_generator if job.case.device == "cpu" else torch.random  # other devices' take 5 ms
    seeded.manual_seed(job.case.seed)
    if job.deterministic:
        os.environ["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"  # without it cuBLAS refuses to be deterministic
        torch.use_deterministic_algorithms(mode=True)


def _cache_name(case: Case) -> str:
    """Return the name of a cell's compile cache: cold for the cell and its A/A control, warm for what comes after them.

    The memory and numerical-error jobs of a cell, and its later rounds, find what its first round compiled.
    """
    role = case.role if case.role == "aa_control" else "timed"
    return hashlib.sha256(repr(replace(case.identity(), role=role)).encode()).hexdigest()[:16]


def _answer(question: Question) -> Answer:
    from cnnbench.inspection.environment import probe

    return Answer(environment=probe(), models=tuple(_look_up_model(name) for name in question.models))


def _look_up_model(name: str) -> Known:
    try:
        return Known(model=name, input_shape=models.find_model(name).input_shape)
    except CnnbenchError as error:
        absent = isinstance(error, AbsentError)
        return Known(model=name, error=str(error), exit_code=error.exit_code, absent=absent)


def _run_whole(connection: Connection, job: Job) -> Outcome:
    """Return the outcome of a job that is one piece of work."""
    case = job.case
    spec = models.find_model(case.model, case.input_shape)
    notes: list[str] = []

    outcome: Outcome = runner_for(case).load()(
        Assignment(
            job=job,
            spec=spec,
            build=lambda: (_build_quickly if _needs_only_cost(case) else build)(spec, case, notes),
            clock=clock_for(case.device),
            on_message=lambda text, done, lasting=False: connection.send(News(text=text, done=done, lasting=lasting)),
            stop=connection.poll,  # the coordinator sends nothing but Stop to a worker that trains
        )
    )
    # A model may be built twice, and its notes are the same.
    return replace(outcome, notes=(*outcome.notes, *dict.fromkeys(notes)))


def build(spec: ModelSpec, case: Case, notes: list[str]) -> nn.Module:
    """Return the case's model with the weights asked for, and add what is to be said about these to `notes`.

    A model that takes features is put on the one that computes them.
    """
    made = spec.printed_build if case.recipe == "as-published" and spec.printed_build is not None else spec.build
    model = made()
    if case.task == "accuracy" and spec.features_of is not None:
        model = replace_head(models.find_model(spec.features_of).build(), model)
    initialise_lazy(model, spec.input_shape)
    notes += load_weights(model, spec, case.weights)
    return model


def _build_quickly(spec: ModelSpec, case: Case, notes: list[str]) -> nn.Module:
    """Return the model for a job that needs no particular weights, because it learns and recognises nothing."""
    with use_quick_weights() if case.weights == "none" else nullcontext():
        return build(spec, case, notes)


def _needs_only_cost(case: Case) -> bool:
    return case.task == "complexity" or case.role in ("memory", "layers", "numerics")


def _serve_samples(connection: Connection, job: Job) -> None:
    case = job.case
    spec = models.find_model(case.model, case.input_shape)
    notes: list[str] = []
    with use_one_thread():
        prepared = prepare(_build_quickly(spec, case, notes), case.variant, case.device)
        timed_work = runner_for(case).load()(spec, case, prepared)  # and its inputs: nothing is built beside samples
    connection.send(Built(notes=(*notes, *_notes(case, prepared))))
    with _mode(case, prepared):
        _sample(connection, job, timed_work)


def _sample(connection: Connection, job: Job, timed_work: Work) -> None:
    """Warm up when told to, then give a sample whenever one is asked for."""
    from cnnbench.timing.latency_job import check_first, check_later

    clock, case = clock_for(job.case.device), job.case
    request = connection.recv()
    # One call shows whether the case fits into memory.
    if isinstance(request, Try):
        check_first(timed_work.first())
        clock.synchronize()
        connection.send(Tried())
        return

    assert isinstance(request, Warm)
    others = start_threads() if case.device == "cpu" else ()
    ready = make_ready(timed_work, clock, request, cap_s=job.warm_cap_s, place=lambda: pin(others))
    watch = watch_for(case.device, case.variant.threads)
    wait_until_idle()
    connection.send(ready)

    # Each answer waits until this process is idle, because the next worker's sample then begins.
    while True:
        assert isinstance(connection.recv(), Take)
        with _compile_guard(case):
            sample = take_sample(timed_work, ready.shape, clock, watch)
        if clock.asynchronous and is_unsynchronised(sample):
            raise InvalidError(
                f"the clock did not wait for the device, still busy {sample.tail_s * 1e3:.1f} ms after the last reading"
            )
        check_later(timed_work, ready.output_shape)
        wait_until_idle()
        connection.send(Taken(sample=sample))


def _compile_guard(case: Case) -> AbstractContextManager[object]:
    """Return the context to take a sample in; it refuses one that holds compile time or other code than the rest."""
    if not case.variant.compile_mode or case.role == "control_workload":
        return nullcontext()
    from cnnbench.inspection.compile_stats import forbid_recompiles

    return forbid_recompiles()


@contextmanager
def _mode(case: Case, prepared: Prepared) -> Iterator[None]:
    """Run passes in inference: without gradients, and with the variant's context entered once for all of them.

    Under `inference_mode` autocast would cast weights in every pass. Training steps enter the context themselves.
    """
    import torch

    if case.task != "infer":
        yield
        return
    with torch.no_grad(), prepared.context():
        yield


def make_ready(
    timed_work: Work,
    clock: Clock,
    request: Warm,
    *,
    cap_s: float,
    place: Callable[[], None] = lambda: None,
) -> Ready:
    """Make the first call (timed apart: it compiles) and warm up; return what the samples will look like.

    A shape from an earlier round is kept, so that all samples of a cell are alike. `place` puts the threads on their
    cores after the first call has started them. A device that works asynchronously settles in its first round alone.
    """
    # Inside: the first call and the wait for the device. Outside: building, loading weights, making inputs.
    from cnnbench.timing.latency_job import check_first

    start = clock.now_ns()
    first = timed_work.first()
    clock.synchronize()
    first_call_s = (clock.now_ns() - start) * 1e-9
    output_shape = check_first(first)
    place()

    # The first call held compiling, so the second one is the first estimate of an iteration.
    start = clock.now_ns()
    timed_work.repeat(1)
    clock.synchronize()
    second_call_s = (clock.now_ns() - start) * 1e-9
    del first
    settle = clock.asynchronous and request.shape is None
    warm = warm_up(timed_work, clock, first_s=second_call_s, cap_s=cap_s, settle=settle)
    reading_s = reading_cost_s(clock)
    own = shape_sample(warm.iteration_s, reading_s=reading_s, asynchronous=clock.asynchronous)
    return Ready(
        first_call_s=first_call_s,
        warmup_s=second_call_s + warm.spent_s,
        iteration_s=warm.iteration_s,
        shape=request.shape or own,
        phases=timed_work.phases,
        reading_s=reading_s,
        output_shape=output_shape,
        notes=(CHANGES_INPUTS,) if getattr(timed_work, "changes_inputs", False) else (),
    )


def _notes(case: Case, prepared: Prepared) -> tuple[str, ...]:
    convolutions = any(p.dim() > 3 for p in prepared.model.parameters())  # noqa: PLR2004  # out, in, height, width
    if case.variant.channels_last and not convolutions:
        return ("the model has no convolution, so channels_last has nothing to speed up",)
    return ()
