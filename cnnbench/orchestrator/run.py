"""A whole run: ask the machine, plan, measure round by round within the budget, and hand over each record at once."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace

from cnnbench import stats
from cnnbench.machine import threads_of
from cnnbench.models import MODELS
from cnnbench.orchestrator.context import RunContext, conditions_of, resize_case
from cnnbench.orchestrator.estimates import expected_s
from cnnbench.orchestrator.events import Hooks, TimeSpent
from cnnbench.orchestrator.group import GroupRounds
from cnnbench.orchestrator.plan import Plan, make_plan
from cnnbench.orchestrator.schedule import Schedule, Turn, target_of, unfinished_groups
from cnnbench.orchestrator.side_jobs import Beside, RunHooks
from cnnbench.orchestrator.start_round import WorkerLimits
from cnnbench.record import Environment, Record
from cnnbench.spec import Case, Device, Request, Shape
from cnnbench.variants import REFERENCE
from cnnbench.workers.client import Host
from cnnbench.workers.messages import Done, Failure
from cnnbench.workers.single_worker import (
    HasOutcome,
    ask,
    check_environment,
    environment_of,
    find,
    make_record,
    memory_limit,
    open_host,
    scratch_folder,
    shape_of,
)

LATE = "the budget was spent before its turn; use a larger --budget, or repeat the command with this run as --output"


def plan_only(request: Request, names: Sequence[str]) -> tuple[Plan, float]:
    """Return the plan of a run and its expected seconds, without measuring."""
    with open_host(request) as host:
        environment, shapes = ask(host, names)
    plan = make_plan(request, environment, shapes)
    return plan, min(expected_s(plan), request.budget.total_s)


class BenchmarkRun:
    """One run in progress: its host, plan, deadline and hooks."""

    def __init__(self, request: Request, hooks: Hooks, names: Sequence[str], *, spent_s: float = 0.0) -> None:
        """Prepare a run of `request`, whose sections name the models `names`; `run` does it.

        `spent_s` are the seconds of its budget that earlier parts of the run took.
        """
        self._request = request
        self._hooks = hooks
        self._names = names
        self._schedule = Schedule(begin=time.monotonic(), total_s=request.budget.total_s, spent_s=spent_s)
        self._passes_s = 0.0
        self._compile_s = 0.0
        self._image_s: dict[tuple[str, Device], float] = {}  # the fastest seen of the plain model, by image

        # What was seen to hang or to fail is asked for nothing else: by model, and by conditions of a cell.
        self._hung: dict[str, Failure] = {}
        self._failed: set[tuple[object, ...]] = set()
        self._timed = any(_is_timed(record) for record in hooks.completed.values())

    def time_spent(self) -> TimeSpent:
        """Return where the time went until now."""
        wall_s = time.monotonic() - self._schedule.begin
        return TimeSpent(wall_s=wall_s, passes_s=self._passes_s, compile_s=self._compile_s)

    def run(self) -> None:
        """Measure round by round until everything is precise or the budget is spent."""
        self._on_progress("starting workers (importing torch)")
        with open_host(self._request) as host, scratch_folder() as scratch:
            environment = environment_of(host)
            shapes = self._find_models(host)

            # Records of an earlier part can only be compared in the same environment, with the same threads.
            records = self._hooks.completed.values()
            check_environment(records, environment, threads_of(self._request))
            plan = make_plan(self._request, environment, shapes)
            context = RunContext(host=host, plan=plan, environment=environment, scratch=scratch)
            self._refuse(context)

            limits = WorkerLimits(scratch=scratch, memory_bytes=memory_limit(), emulated=plan.emulated)
            groups = [
                GroupRounds(host, group, limits, target=target_of(group.cases[0].device)) for group in plan.groups
            ]
            for group in groups:
                group.resume(records)
            # Files of outside models that hung while they were looked for.
            for model in tuple(self._hung):
                self._give_up(context, groups, model)
            self._measure_rounds(context, groups)

    def count(self, host: Host, input_size: tuple[int, ...] | None) -> None:
        """Count the models only, at (height, width) or (channels, height, width) `input_size` if that is given."""
        environment, shapes = ask(host, self._names)
        plan = make_plan(self._request, environment, shapes)
        if input_size is not None:
            plan = replace(plan, complexity=tuple(resize_case(case, input_size) for case in plan.complexity))
        with scratch_folder() as scratch:
            self._make_beside(RunContext(host=host, plan=plan, environment=environment, scratch=scratch)).do_urgent(
                math.inf
            )

    def _find_models(self, host: Host) -> Mapping[str, Shape]:
        """Return the input shapes of outside models; a model whose file hangs or dies is not asked for again."""
        shapes = {}
        for name in self._names:
            if name in MODELS:
                continue
            known = find(host, name, self._request.budget.timeout_s)
            shapes[name] = shape_of(known)
            if known.failure is not None:
                self._hung[name] = known.failure
                # The wait for a file that hangs is added back to the budget.
                self._schedule.deadline += self._request.budget.timeout_s if known.failure.status == "timeout" else 0.0
        return shapes

    def _on_progress(self, text: str) -> None:
        self._hooks.on_progress(self._schedule.progress(text))

    def _make_beside(self, context: RunContext) -> Beside:
        def on_record(case: Case, started: float, got: Done | Failure) -> None:
            self._on_record(context.environment, case, started, got)

        hooks = RunHooks(
            done=self._is_done,
            broken=self._is_broken,
            image_s=lambda case: self._image_s.get((case.model, case.device)),
            on_record=on_record,
            on_progress=self._on_progress,
        )
        return Beside(context, hooks)

    def _is_done(self, case: Case) -> bool:
        record = self._hooks.completed.get((case.identity(), 0))
        return record is not None and record.status in _SETTLED[case.task == "accuracy"]

    def _is_broken(self, case: Case) -> bool:
        """Return whether the model hung, or failed in these conditions when it was timed, so that it is left out.

        Ceilings are broken if no model was timed: there is nothing to compare with them.
        """
        if case.role == "ceilings":
            return not self._timed
        return case.model in self._hung or conditions_of(case) in self._failed

    def _refuse(self, context: RunContext) -> None:
        for refused in context.plan.refused:
            if not self._is_done(refused.case):
                failure = Failure(status="unsupported", error=refused.reason)
                self._on_record(context.environment, refused.case, time.monotonic(), failure)

    def _measure_rounds(self, context: RunContext, groups: Sequence[GroupRounds]) -> None:
        """Measure all groups once, then again while there is time, with the jobs in between."""
        beside = self._make_beside(context)
        self._measure_first_round(context, groups)
        beside.do_urgent(self._schedule.deadline)
        for group in groups:
            if group.rounds > 1:  # of an earlier part of the run
                beside.add_compiled(group.group.cases, resumed=True)

        # Until each group has the rounds for a verdict, only jobs that rows need may take time from them.
        while active := unfinished_groups(groups):
            no_verdict = any(group.fewest_rounds < stats.FEWEST_ROUNDS for group in active)
            beside.some(time.monotonic() - self._schedule.begin, needed_only=no_verdict)
            self._schedule.deadline += beside.lost_s
            beside.lost_s = 0.0
            # A round must leave the time that the jobs still need.
            turn = self._schedule.next_turn(active, reserve_s=beside.expected_s(needed_only=no_verdict))
            if turn is None:
                break
            self._measure(context, turn)
            if turn.group.rounds == 2:  # noqa: PLR2004  # compiled cells join in the second one
                beside.add_compiled(turn.group.group.cases)
        beside.do_rest(self._schedule.deadline)
        for group in groups:
            self._record_late(context, group.never_begun_cases)

    def _measure_first_round(self, context: RunContext, groups: Sequence[GroupRounds]) -> None:
        for group in groups:
            if not group.has_missing:
                continue
            if self._schedule.is_too_late(group):
                self._record_late(context, group.give_up(Failure(status="not started", error=LATE)))
                continue

            self._measure(context, Turn(group=group, end=self._schedule.deadline, rounds_left=0.0))
            for model in tuple(self._hung):
                self._give_up(context, groups, model)

    def _record_late(self, context: RunContext, cases: Sequence[Case]) -> None:
        for case in cases:
            self._on_record(context.environment, case, time.monotonic(), Failure(status="not started", error=LATE))

    def _measure(self, context: RunContext, turn: Turn) -> None:
        group, started = turn.group, time.monotonic()
        case = group.group.cases[0]
        name = "the models in turns" if case.role == "lineup" else case.model
        self._on_progress(f"round {group.rounds + 1}: {name}, {case.task} batch {case.batch_size}")
        for seen in group.measure(deadline=turn.end, rounds_left=turn.rounds_left, on_progress=self._on_progress):
            self._schedule.deadline += seen.lost_s
            if seen.failure is not None and seen.case.role == "timed":
                self._note(seen.case, seen.failure)
            self._on_record(context.environment, seen.case, started, seen, group)

    def _note(self, case: Case, failure: Failure) -> None:
        """Remember a failed cell, so that no job fails as it did; if `eager` hangs, the whole model is given up."""
        self._failed.add(conditions_of(case))
        if failure.status == "timeout" and case.variant.name == REFERENCE:
            self._hung.setdefault(case.model, failure)

    def _give_up(self, context: RunContext, groups: Sequence[GroupRounds], model: str) -> None:
        """Drop all cells of a model that hangs: they would hang too, each for as long."""
        failure = self._hung[model]
        for group in groups:
            for case in group.give_up(failure, model):
                self._on_record(context.environment, case, time.monotonic(), failure)

    def _on_record(
        self,
        environment: Environment,
        case: Case,
        started: float,
        got: HasOutcome | Failure,
        group: GroupRounds | None = None,
    ) -> None:
        """Make the record of `case` and hand it over; that of a cell belongs to the last round of its `group`."""
        number = 0 if group is None else group.rounds - 1
        record = make_record(case, environment, got, started=started, number=number)
        self._passes_s += sum(record.samples("passes_s")) + sum(record.samples("epoch_s"))

        latencies = record.samples("latency_s")
        if latencies and case.role == "timed" and case.task == "infer" and case.variant.name == REFERENCE:
            key, image_s = (case.model, case.device), min(latencies) / case.batch_size
            self._image_s[key] = min(image_s, self._image_s.get(key, math.inf))

        compile_s = sum(record.samples("compile_s"))
        self._compile_s += compile_s
        self._timed = self._timed or _is_timed(record)
        if group is not None:
            group.add(record)
            self._schedule.deadline += compile_s  # compiling is apart from the budget
        self._hooks.on_record(record)


def _is_timed(record: Record) -> bool:
    return record.status == "ok" and record.case.role == "timed"


# Statuses after which a resumed run does not measure a case again; a failed case is measured again. For accuracies
# (True) only `ok` is final, because a training that did not fit one budget may fit the next.
_SETTLED = {False: ("ok", "unsupported"), True: ("ok",)}
