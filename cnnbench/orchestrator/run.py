"""A whole run: ask the machine, plan, measure launch by launch within the budget, hand over every record at once."""

from __future__ import annotations

import math
import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from cnnbench import machine
from cnnbench.orchestrator.blocks import Tell
from cnnbench.orchestrator.ceilings import cache_file, ceilings_case, find_ceilings, measured_ceilings
from cnnbench.orchestrator.cell import Seen
from cnnbench.orchestrator.expected import ACCURACY_SHARE, START_S, expected_s, group_s, share_s, work_of
from cnnbench.orchestrator.group import Limits, measure_group
from cnnbench.orchestrator.hooks import Hooks, Progress, Spent
from cnnbench.orchestrator.host import Host
from cnnbench.orchestrator.messages import Done, Failure, Job, News
from cnnbench.orchestrator.pieces import Launch, conditions_of, left_of, patience_s, resized
from cnnbench.orchestrator.planning import Group, Plan, make_plan, threads_of
from cnnbench.orchestrator.single import as_record, ask, check_environment, hosting, limit_of, memory_limit, train_case
from cnnbench.runners.warming import WARM_CAP_S
from cnnbench.spec import Case, Request

GRACE = 0.25
"""Share of the budget that a run may exceed it by before groups are no longer begun: what a group takes before its
first sample is known roughly only, and a row is worth more than punctuality. Our choice."""

CHECK_SHARE = 0.2
"""Share of the budget after which no more errors and memories are measured: timing comes first. Our choice."""

LAYERS_SHARE = 0.1
LAYERS_FROM_S = 60.0
"""Share of the budget after which no more networks have their layers timed, and the budget from which any have: in
shorter runs samples come first. Our choice."""

CEILINGS_S = 2.0
CEILINGS_FROM_S = 30.0
CEILINGS_ANEW_S = 120.0
"""Seconds that measuring the machine's ceilings may take; the budget from which a run may spend them, and the one from
which it does so even where they are known: a slow moment may have hidden how high they are. Our choice."""

WARM_SHARE = 0.4
"""Highest share of its time that a group may spend on warming up, a second a cell apart. Our choice: where nothing
settles, more samples say more than a longer warm-up."""


def plan_only(request: Request, names: Sequence[str]) -> tuple[Plan, float]:
    """Return what a run would do and the seconds it is expected to take, without measuring."""
    with hosting(request) as host:
        environment, shapes = ask(host, names)
    plan = make_plan(request, environment, shapes)
    return plan, min(expected_s(plan), request.budget.total_s)


class Runner:
    """One run in progress: its host, plan, deadline and hooks."""

    def __init__(self, request: Request, hooks: Hooks, names: Sequence[str]) -> None:
        """Prepare a run of `request`, whose sections name the models `names`; `run` does it."""
        self._request = request
        self._hooks = hooks
        self._names = names
        self._begin = time.monotonic()
        self._deadline = self._begin + request.budget.total_s
        self._passes_s = 0.0
        self._compile_s = 0.0
        self._ahead_s = request.budget.total_s

    def spent(self) -> Spent:
        """Return where the time went until now."""
        return Spent(wall_s=time.monotonic() - self._begin, passes_s=self._passes_s, compile_s=self._compile_s)

    def run(self) -> None:
        """Measure everything that is not measured already."""
        scratch = tempfile.mkdtemp(prefix="cnnbench-")
        try:
            for launch in range(self._request.budget.launches):
                with hosting(self._request) as host:
                    self._launch(host, launch, scratch)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)

    def count(self, host: Host, input_size: tuple[int, int] | None) -> None:
        """Count the models only, at (height, width) `input_size` if that is given."""
        environment, shapes = ask(host, self._names)
        plan = make_plan(self._request, environment, shapes)
        if input_size is not None:
            plan = replace(plan, complexity=tuple(resized(case, input_size) for case in plan.complexity))
        with tempfile.TemporaryDirectory(prefix="cnnbench-") as scratch:
            self._count(Launch(host=host, plan=plan, environment=environment, launch=0, scratch=scratch))

    def _launch(self, host: Host, launch: int, scratch: str) -> None:
        self._tell(f"launch {launch + 1}: starting workers (importing torch)")
        environment, shapes = ask(host, self._names)
        check_environment(self._hooks.already.values(), environment, threads_of(self._request))
        request = replace(self._request, seed=self._request.seed + launch)
        plan = make_plan(request, environment, shapes)
        task = Launch(host=host, plan=plan, environment=environment, launch=launch, scratch=scratch)
        if launch == 0:
            self._refuse(task)
            self._count(task)
            self._check(task)
            self._time_layers(task)
            self._find_ceilings(task)
            self._train(task)  # before the groups, which get what it leaves of its share
        self._measure(task)

    def _tell(self, text: str) -> None:
        now = time.monotonic()
        remaining = max(0.0, min(self._ahead_s, self._deadline - now))
        self._hooks.tell(Progress(text=text, elapsed_s=now - self._begin, remaining_s=remaining))

    def _done(self, case: Case) -> bool:
        record = self._hooks.already.get(case.identity())
        return record is not None and record.status in _SETTLED[case.task == "accuracy"]

    def _group_done(self, group: Group) -> bool:
        """Return whether all of `group` is done, and was measured together: only then it can be paired and believed."""
        wanted = [case for case in group.members if case.role != "canary"]
        if not all(self._done(case) for case in wanted):
            return False
        return len({self._hooks.already[case.identity()].started for case in wanted}) == 1

    def _refuse(self, task: Launch) -> None:
        for refused in task.plan.refused:
            if not self._done(refused.case):
                self._keep(task, refused.case, time.time(), Failure(status="unsupported", error=refused.reason))

    def _count(self, task: Launch) -> None:
        """Count parameters and MACs of all models."""
        self._side_by_side(task, task.plan.complexity, "counting parameters and MACs", width=machine.usable_cores())

    def _check(self, task: Launch) -> None:
        """Measure numerical errors and peak memories of what is not compiled, until their share of time is spent."""
        cases = [c for c in (*task.plan.numerics, *task.plan.memory) if not c.variant.compile_mode]
        stop = time.monotonic() + CHECK_SHARE * self._request.budget.total_s
        # pools of threads that share cores wait for each other: errors of two small networks took 2.3 s, in turn 0.5 s
        width = max(1, machine.usable_cores() // threads_of(self._request))
        self._side_by_side(task, cases, "numerical error and memory", width=width, stop=stop)

    def _time_layers(self, task: Launch) -> None:
        """Time the layers of what is timed as it is written, one network after the other, within a share of time."""
        if self._request.budget.total_s < LAYERS_FROM_S:
            return
        stop = time.monotonic() + LAYERS_SHARE * self._request.budget.total_s
        self._side_by_side(task, task.plan.layers, "time by layer", stop=stop)

    def _find_ceilings(self, task: Launch) -> None:
        """Find what the machine can do at most; a run that is too short for measuring it takes what is known."""
        for device in dict.fromkeys(case.device for group in task.plan.groups for case in group.cases):
            case = ceilings_case(device, threads_of(self._request), seconds=CEILINGS_S, seed=self._request.seed)
            known = find_ceilings(task.environment, device, case.variant.threads, file=cache_file())
            total_s = self._request.budget.total_s
            if self._done(case) or (known is None and total_s < CEILINGS_FROM_S):
                continue
            started = time.time()
            self._tell("what the machine can do at most (kept for later runs)")
            found = measured_ceilings(
                task.host, case, task.environment, scratch=task.scratch, anew=total_s >= CEILINGS_ANEW_S
            )
            self._keep(task, case, started, found.reply)

    def _check_compiled(self, task: Launch, group: Group, *, without: tuple[str, ...] = ()) -> None:
        """The same for the compiled cells of a group that was measured, one by one: their caches are warm now."""
        own = {conditions_of(case) for case in group.cases if case.variant.compile_mode}
        for case in (*task.plan.numerics, *task.plan.memory):
            if conditions_of(case) in own and case.task == group.cases[0].task:
                self._side_by_side(task, [case], _COMPILED, stop=self._deadline, without=without)

    def _side_by_side(
        self,
        task: Launch,
        cases: Sequence[Case],
        what: str,
        *,
        width: int = 1,
        stop: float = math.inf,
        without: tuple[str, ...] = (),
    ) -> None:
        """Do `cases` that are one piece of work each, `width` of them at once where nothing is timed.

        None is begun after `stop` (monotonic); the quantities `without` are not kept.
        """
        cases = [case for case in cases if not self._done(case)]
        for start in range(0, len(cases), width):
            started, some = time.time(), cases[start : start + width]
            if time.monotonic() > stop:
                late = Failure(
                    status="timeout", error="the share of the budget for what is measured beside the cells was spent"
                )
                for case in cases[start:]:
                    self._keep(task, case, started, late)
                return
            self._tell(f"{what}: {', '.join(dict.fromkeys(c.model for c in some))}")
            workers = [task.host.start() for _ in some]
            for worker, case in zip(workers, some, strict=True):
                worker.send(Job(case=case, scratch=task.scratch, memory_limit_bytes=limit_of(case)))
            failed = False
            for worker, case in zip(workers, some, strict=True):
                reply = worker.receive(patience_s(task, case))
                worker.close()
                assert isinstance(reply, Done | Failure)
                failed = failed or isinstance(reply, Failure)
                self._keep(task, case, started, reply if isinstance(reply, Failure) else left_of(reply, without))
            if failed:
                self._deadline += time.time() - started

    def _measure(self, task: Launch) -> None:
        groups = [g for g in task.plan.groups if not self._group_done(g)]
        if task.launch == 0:
            for group in (g for g in task.plan.groups if g not in groups):  # an earlier part of the run may lack these
                self._check_compiled(task, group, without=("compile_warm_s",))  # whose caches are gone
        launches_left = self._request.budget.launches - task.launch
        starts_s = START_S * (launches_left - 1)  # of the later launches' fork servers
        end = time.monotonic() + (self._deadline - starts_s - time.monotonic()) / launches_left
        later_s = (launches_left - 1) * sum(group_s(g) for g in task.plan.groups)
        for at, group in enumerate(groups):
            if time.monotonic() > self._deadline + GRACE * self._request.budget.total_s:
                self._skip(task, group)
                continue
            sampling = share_s(group, groups[at:], end - time.monotonic())
            self._ahead_s = later_s + sum(group_s(g) for g in groups[at:])
            started = time.time()
            limits = Limits(
                sampling_s=sampling,
                deadline=self._deadline,
                scratch=task.scratch,
                memory_bytes=memory_limit(),
                warm_cap_s=min(WARM_CAP_S, max(1.0, WARM_SHARE * sampling / len(group.members))),
                emulated=task.plan.emulated,
                live=self._hooks.live,
            )
            tell: Tell = self._tell
            for seen in measure_group(task.host, group, limits, launch=task.launch, tell=tell):
                self._deadline += seen.lost_s
                end += seen.lost_s
                self._keep(task, seen.case, started, seen)
            if task.launch == 0:
                self._check_compiled(task, group)

    def _skip(self, task: Launch, group: Group) -> None:
        error = "the budget was spent before its turn; a larger --budget, or the same command with --output of this run"
        for case in group.cases:
            if not self._done(case):
                self._keep(task, case, time.time(), Failure(status="timeout", error=error))

    def _train(self, task: Launch) -> None:
        """Train and test the models, cheapest first, each if it fits half of what is left of their share then."""
        cases = sorted((case for case in task.plan.accuracy if not self._done(case)), key=work_of)
        end = min(self._deadline, time.monotonic() + ACCURACY_SHARE * self._request.budget.total_s)
        for at, case in enumerate(cases):
            left = max(0.0, end - time.monotonic())
            started = time.time()
            self._tell(f"training {case.model} on {case.dataset}")
            reply = train_case(
                task.host,
                Job(
                    case=case,
                    scratch=task.scratch,
                    memory_limit_bytes=limit_of(case),
                    limit_s=left if at == len(cases) - 1 else left / 2,
                    data_dir=self._request.data_dir,
                ),
                self._hear(case),
            )
            self._keep(task, case, started, reply)

    def _hear(self, case: Case) -> Callable[[News], None]:
        return lambda news: self._tell(f"training {case.model} on {case.dataset}: {news.text}")

    def _keep(self, task: Launch, case: Case, started: float, got: Done | Failure | Seen) -> None:
        record = as_record(case, task.environment, got, launch=task.launch, started=started)
        self._passes_s += sum(record.samples("passes_s")) + sum(record.samples("epoch_s"))
        self._compile_s += sum(record.samples("compile_s"))
        self._hooks.keep(record)


_COMPILED = "error and memory of what was compiled"
_SETTLED = {False: ("ok", "unsupported"), True: ("ok",)}
"""A case that ended so is not measured again when its run is resumed; one that failed is. Of accuracies (True) only
`ok` is final, because a training that did not fit a budget may fit the next."""
