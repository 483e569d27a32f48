"""Measure what must be the same every time: counts, compilation and short trainings; nothing is timed."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from cnnbench import machine
from cnnbench.jobs import Job
from cnnbench.orchestrator.estimates import COMPILE_S, COMPLEXITY_S, START_S
from cnnbench.orchestrator.events import Progress
from cnnbench.orchestrator.plan import make_plan
from cnnbench.record import Environment, Record
from cnnbench.spec import AS_THE_RECIPE, Budget, Case, Request, Section, Shape, Training
from cnnbench.workers.client import Host
from cnnbench.workers.messages import Failure
from cnnbench.workers.single_worker import ask, limit_of, make_record, open_host, reply_of

# Threads of every worker here. The order in which several threads add up numbers depends on how many they are, and the
# result of a training depends on that order.
ONE_THREAD = 1

# Longest wait in seconds for a model's counts, its compilation, or an epoch; the largest models take minutes.
ANSWER_S = 600.0

# Expected seconds of a short training of a small model; 2 to 6 were measured on two cores. For the ETA only.
TRAINING_S = 4.0


@dataclass(frozen=True, kw_only=True, slots=True)
class CheckOptions:
    """One model to check: at which input (None: its own), compiled or not, and trained for how many epochs (0: none).

    `dataset` and `seed` are those of the training.
    """

    model: str
    input_shape: Shape | None = None
    compiled: bool = False
    dataset: str | None = None
    epochs: int = 0
    seed: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class _Piece:
    """Work of one worker: its job, and its expected seconds."""

    job: Job
    expected_s: float


def examine(asked: Sequence[CheckOptions], on_progress: Callable[[Progress], None]) -> Iterator[Record]:
    """Yield the records of each model: one of its counts, and one of compiling and one of training it if asked for.

    The counts of torch.compile have the role `numerics`. If the machine cannot compile, that record is `unsupported`
    and says why. As many workers run at once as there are cores, the longest pieces first.

    Raises:
        CnnbenchError: there is no model with such a name.
    """
    begin = time.monotonic()
    with open_host(_request(*asked)) as host, tempfile.TemporaryDirectory(prefix="cnnbench-") as scratch:
        on_progress(Progress(text="starting workers (importing torch)", elapsed_s=0.0, remaining_s=START_S))
        environment, shapes = ask(host, [one.model for one in asked])
        pieces: list[_Piece] = []

        # What the machine cannot do is known from the plan, without a worker.
        for one in asked:
            planned, refused = _plan_pieces(one, environment, shapes, scratch)
            pieces += planned
            yield from refused

        # A short piece at the end keeps few cores waiting, so the longest go first.
        pieces.sort(key=lambda piece: -piece.expected_s)
        width = machine.usable_cores()
        for start in range(0, len(pieces), width):
            some = pieces[start : start + width]
            # Seconds that are left if the pieces spread evenly over the cores.
            left_s = sum(piece.expected_s for piece in pieces[start:]) / width
            text = ", ".join(_label(piece.job.case) for piece in some)
            on_progress(Progress(text=text, elapsed_s=time.monotonic() - begin, remaining_s=left_s))
            yield from _do_at_once(host, [piece.job for piece in some], environment)


def _request(*asked: CheckOptions) -> Request:
    compiled, plain = Section(models=(), variants=("compile",)), Section(models=(), variants=("eager",))

    # The input and the training are those of the first model: a plan is only made for one model at a time.
    sections = tuple(replace(compiled if one.compiled else plain, models=(one.model,)) for one in asked)
    return Request(
        title="expect",
        sections=sections,
        accuracy=asked[0].dataset if asked[0].epochs else None,
        input_shape=asked[0].input_shape,
        threads=ONE_THREAD,
        seed=asked[0].seed,
        budget=Budget(total_s=ANSWER_S, timeout_s=ANSWER_S),
    )


def _plan_pieces(
    one: CheckOptions, environment: Environment, shapes: Mapping[str, Shape], scratch: str
) -> tuple[list[_Piece], list[Record]]:
    """Return the pieces of work for a model, and records of what the machine cannot do."""
    plan = make_plan(_request(one), environment, shapes)
    pieces = [_piece(case, scratch, COMPLEXITY_S) for case in plan.complexity]
    pieces += [_piece(case, scratch, COMPILE_S) for case in plan.numerics]
    training = Training(epochs=one.epochs)
    pieces += [_piece(case, scratch, TRAINING_S, training) for case in plan.accuracy if one.epochs]

    # Only compiling can be refused here, so the record has the role of the counts of torch.compile.
    refused = [
        make_record(
            replace(gone.case, role="numerics"),
            environment,
            Failure(status="unsupported", error=gone.reason),
            started=time.monotonic(),
        )
        for gone in plan.refused
    ]
    return pieces, refused


def _piece(case: Case, scratch: str, expected_s: float, training: Training = AS_THE_RECIPE) -> _Piece:
    job = Job(case=case, scratch=scratch, memory_limit_bytes=limit_of(case), training=training)
    return _Piece(job=job, expected_s=expected_s)


def _do_at_once(host: Host, jobs: Sequence[Job], environment: Environment) -> Iterator[Record]:
    """Do `jobs` side by side and yield their records."""
    started, workers = time.monotonic(), [host.start() for _ in jobs]
    try:
        for worker, job in zip(workers, jobs, strict=True):
            worker.send(job)

        # In the order of the jobs; a worker that is done early keeps its answer.
        for worker, job in zip(workers, jobs, strict=True):
            reply = reply_of(worker, job.case.budget.timeout_s)
            yield make_record(job.case, environment, reply, started=started)
    finally:
        for worker in workers:
            worker.close()


def _label(case: Case) -> str:
    doing = {"complexity": "counting", "accuracy": "training"}.get(case.task, "compiling")
    return f"{doing} {case.model}"
