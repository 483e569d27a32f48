"""Run what is not timed between rounds: counts, errors, memory, layers, ceilings, trainings."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from cnnbench import machine
from cnnbench.jobs import Job
from cnnbench.machine import threads_of
from cnnbench.orchestrator.blocks import OnProgress
from cnnbench.orchestrator.ceilings_cache import cache_file, ceilings_case, find_ceilings, measured_ceilings
from cnnbench.orchestrator.context import RunContext, conditions_of, drop_quantities, timeout_of
from cnnbench.orchestrator.estimates import COMPILED_EXTRA_S, COMPLEXITY_S, TRAINING_SHARE, extra_s, work_of
from cnnbench.spec import Case, Device
from cnnbench.workers.messages import Done, Failure, News
from cnnbench.workers.single_worker import limit_of, train_case

# Counts and errors may take the first share, of the time until now; memory, layers and ceilings the second, of the
# budget. Trainings have a share of their own. Counts and errors are always measured in the end: a table without
# parameters, or with a verdict on a variant that may compute something else, is of little use.
NEEDED_SHARE = 0.2
OPTIONAL_SHARE = 0.1

# Budget in seconds from which layers are timed; in shorter runs rounds come first.
LAYERS_FROM_S = 120.0

# Seconds that measuring the machine's ceilings may take, and the budget in seconds from which a run may spend them.
# From the last budget on they are measured even if they are known: a slow moment may have hidden how high they are.
CEILINGS_S = 2.0
CEILINGS_FROM_S = 30.0
CEILINGS_ANEW_S = 120.0

NO_TIME = "no time was left for it; give a larger --budget"

Kind = Literal["counts", "error", "memory", "layers", "ceilings", "training"]

_NEEDED: tuple[Kind, ...] = ("counts", "error", "training")

# Expected seconds up to which an error is measured right after the first round, even if its share does not allow it.
CHEAP_S = 2.0

_TEXT: dict[Kind, str] = {
    "counts": "counting parameters and MACs",
    "error": "numerical error",
    "memory": "peak memory",
    "layers": "time by layer",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Piece:
    """A piece of work: one case, or several that run side by side, and its expected seconds.

    `without` are quantities that are left out of the result.
    """

    kind: Kind
    cases: tuple[Case, ...]
    expected_s: float = 0.0
    without: tuple[str, ...] = ()

    @property
    def needed(self) -> bool:
        """Return whether a row cannot be trusted without it, so that it is done however little time there is."""
        return self.kind in _NEEDED


# Callback for a result: the case, when it was begun (monotonic seconds), and what came of it.
OnResult = Callable[[Case, float, Done | Failure], None]


@dataclass(frozen=True, kw_only=True, slots=True)
class RunHooks:
    """What a run tells its jobs and hears from them.

    `done`: a case has its result. `broken`: a case failed when it was timed, so nothing else is asked of it. `image_s`
    returns the seconds of one image's forward pass, None if the case's model was not timed.
    """

    done: Callable[[Case], bool]
    broken: Callable[[Case], bool]
    image_s: Callable[[Case], float | None]
    on_record: OnResult
    on_progress: OnProgress


class Beside:
    """The pieces of work of a run that are not done yet, cheapest first; `lost_s` are the seconds of failed ones."""

    def __init__(self, context: RunContext, hooks: RunHooks) -> None:
        """Queue what the plan asks for; cases that are done or broken are left out when their turn comes."""
        self.lost_s = 0.0
        self._spent_s = {True: 0.0, False: 0.0}  # on needed pieces, and on the others
        self._context = context
        self._hooks = hooks
        self._trained_s = 0.0
        self._queue = self._plan_pieces()

    def _plan_pieces(self) -> list[Piece]:
        plan, cores = self._context.plan, machine.usable_cores()
        # Thread pools that share cores wait for each other: two errors at once took 2.3 s, one after the other 0.5 s.
        width = max(1, cores // threads_of(plan.request))

        # Compiled cells are left to `add_compiled`, which has warm caches.
        plain = [c for c in plan.numerics if not c.variant.compile_mode]
        memory = [c for c in plan.memory if not c.variant.compile_mode]
        total_s = plan.request.budget.total_s
        pieces = [
            *_split_pieces("error", sorted(plain, key=work_of), width),
            *_split_pieces("memory", sorted(memory, key=work_of), width),
            *(_split_pieces("layers", sorted(plan.layers, key=work_of), 1) if total_s >= LAYERS_FROM_S else ()),
        ]
        pieces.sort(key=lambda piece: piece.expected_s)  # an expensive piece must not take the time of many cheap ones
        devices: dict[Device, None] = dict.fromkeys(case.device for group in plan.groups for case in group.cases)

        # Known ceilings take no time, so they are reported in short runs as well.
        for device in devices:
            case = ceilings_case(device, threads_of(plan.request), seconds=CEILINGS_S, seed=plan.request.seed)
            known = find_ceilings(self._context.environment, device, case.variant.threads, file=cache_file())
            if known is not None or total_s >= CEILINGS_FROM_S:
                pieces.append(Piece(kind="ceilings", cases=(case,), expected_s=CEILINGS_S))

        # The first table needs the counts; trainings get the time that is left.
        pieces = [*_split_pieces("counts", plan.complexity, cores), *pieces]
        return pieces + _split_pieces("training", sorted(plan.accuracy, key=work_of), 1)

    def add_compiled(self, own: Sequence[Case], *, resumed: bool = False) -> None:
        """Queue error and memory of the compiled cells among `own`, whose caches are warm now.

        `resumed`: the caches of the earlier part are gone, so the time with warm caches is not kept.
        """
        wanted = {conditions_of(case) for case in own if case.variant.compile_mode}
        without = ("compile_warm_s",) if resumed else ()

        # The task must match as well: compiling a training does not warm the caches of inference.
        plan, task = self._context.plan, own[0].task
        kinds: tuple[tuple[Kind, tuple[Case, ...]], ...] = (("error", plan.numerics), ("memory", plan.memory))
        self._queue += [
            Piece(kind=kind, cases=(case,), expected_s=COMPILED_EXTRA_S, without=without)
            for kind, cases in kinds
            for case in cases
            if conditions_of(case) in wanted and case.task == task
        ]

    def expected_s(self, *, needed_only: bool) -> float:
        """Return the expected seconds of the pieces that are left and fit.

        Trainings count as 0, because they take what is left when their turn comes.
        """
        return sum(piece.expected_s for piece in self._fitting_pieces(needed_only=needed_only))

    def _fitting_pieces(self, *, needed_only: bool = False) -> list[Piece]:
        """Return the pieces that fit their share of the budget, or only those that rows need to be trusted."""
        left_s = OPTIONAL_SHARE * self._context.plan.request.budget.total_s - self._spent_s[False]
        fitting = []
        for piece in self._queue:
            if piece.needed:
                fitting.append(piece)
            elif not needed_only and piece.expected_s <= left_s:
                fitting.append(piece)
                left_s -= piece.expected_s
        return fitting

    def do_urgent(self, until: float) -> None:
        """Do what the first table lacks, but begin nothing after `until` (monotonic seconds)."""
        for piece in [p for p in self._queue if p.kind == "counts" or (p.kind == "error" and p.expected_s <= CHEAP_S)]:
            if time.monotonic() >= until:
                return
            self._queue.remove(piece)
            self._do(piece)

    def some(self, elapsed_s: float, *, needed_only: bool) -> None:
        """Do pieces as long as they have taken less than their share of the run's `elapsed_s` seconds."""
        needed = NEEDED_SHARE + (TRAINING_SHARE if self._context.plan.accuracy else 0.0)
        share = {True: needed, False: OPTIONAL_SHARE}

        # Asked again after each piece, because its real time differs from the expected one.
        def due_pieces() -> list[Piece]:
            fitting = self._fitting_pieces(needed_only=needed_only)
            return [p for p in fitting if self._spent_s[p.needed] < share[p.needed] * elapsed_s]

        while pieces := due_pieces():
            self._queue.remove(pieces[0])
            self._do(pieces[0])

    def do_rest(self, until: float) -> None:
        """Do what is left and fits, but begin nothing after `until` (monotonic seconds); record what is not started."""
        while time.monotonic() < until and (fitting := self._fitting_pieces()):
            self._queue.remove(fitting[0])
            self._do(fitting[0])
        for piece in self._queue:
            for case in self._open_cases(piece):
                self._hooks.on_record(case, time.monotonic(), Failure(status="not started", error=NO_TIME))

    def _open_cases(self, piece: Piece) -> list[Case]:
        # Asked anew before each piece: a model may fail while others wait in the queue.
        return [case for case in piece.cases if not self._hooks.done(case) and not self._hooks.broken(case)]

    def _do(self, piece: Piece) -> None:
        cases = self._open_cases(piece)
        if not cases:
            return

        # What a piece really took counts against its share, not what it was expected to take.
        begin = time.monotonic()
        if piece.kind == "training":
            self._train(cases[0])
        elif piece.kind == "ceilings":
            self._find_ceilings(cases[0])
        else:
            self._do_side_by_side(piece, cases)

        self._spent_s[piece.needed] += time.monotonic() - begin

    def _do_side_by_side(self, piece: Piece, cases: Sequence[Case]) -> None:
        """Do `cases` at once, each in a worker of its own."""
        started = time.monotonic()
        self._hooks.on_progress(f"{_TEXT[piece.kind]}: {', '.join(dict.fromkeys(c.model for c in cases))}")
        workers = [self._context.host.start() for _ in cases]
        failed = False
        try:
            for worker, case in zip(workers, cases, strict=True):
                job = Job(case=case, scratch=self._context.scratch, memory_limit_bytes=limit_of(case))
                worker.send(job)

            # All workers run at once, so waiting for each in turn takes as long as the slowest of them.
            for worker, case in zip(workers, cases, strict=True):
                reply = worker.receive(timeout_of(self._context, case))
                worker.close()
                assert isinstance(reply, Done | Failure)
                failed = failed or isinstance(reply, Failure)
                self._hooks.on_record(
                    case, started, drop_quantities(reply, piece.without) if isinstance(reply, Done) else reply
                )
        finally:
            for worker in workers:
                worker.close()

        # The caller adds lost time to the deadline, so that a failure does not cost the rounds anything.
        if failed:
            self.lost_s += time.monotonic() - started

    def _find_ceilings(self, case: Case) -> None:
        """Find the machine's ceilings; a run that is too short to measure them takes those that are known."""
        started, context = time.monotonic(), self._context
        self._hooks.on_progress("measuring the machine's ceilings (kept for later runs)")
        anew = context.plan.request.budget.total_s >= CEILINGS_ANEW_S
        found = measured_ceilings(context.host, case, context.environment, scratch=context.scratch, anew=anew)
        self._hooks.on_record(case, started, found.reply)

    def _train(self, case: Case) -> None:
        """Train and test a model in half of what is left of the trainings' share, or in all of it if it is the last."""
        request = self._context.plan.request
        left_s = max(0.0, TRAINING_SHARE * request.budget.total_s - self._trained_s)

        # The cheapest models come first; half of the rest leaves time for those that follow.
        last = not any(piece.kind == "training" for piece in self._queue)
        what = f"training {case.model} on {case.dataset}"
        job = Job(
            case=case,
            scratch=self._context.scratch,
            memory_limit_bytes=limit_of(case),
            limit_s=left_s if last else left_s / 2,
            image_s=self._hooks.image_s(case),
            data_dir=request.data_dir,
        )

        def on_message(news: News) -> None:
            self._hooks.on_progress(f"{what}: {news.text}")

        self._hooks.on_progress(what)
        started = time.monotonic()
        reply = train_case(self._context.host, job, on_message)
        self._trained_s += time.monotonic() - started
        self._hooks.on_record(case, started, reply)


def _split_pieces(kind: Kind, cases: Sequence[Case], width: int) -> list[Piece]:
    """Return pieces of `width` cases each, with their expected seconds; the slowest case of a piece decides."""
    found = []
    for at in range(0, len(cases), width):
        some = tuple(cases[at : at + width])
        each_s = {"training": 0.0, "counts": COMPLEXITY_S}.get(kind, max(map(extra_s, some)))
        found.append(Piece(kind=kind, cases=some, expected_s=each_s))
    return found
