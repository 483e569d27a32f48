"""Measure the two sides of each model, such as two revisions, as groups of two cells."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from types import MappingProxyType

from cnnbench.jobs import Job
from cnnbench.machine import threads_of
from cnnbench.orchestrator.context import WHOLE_S
from cnnbench.orchestrator.events import Hooks
from cnnbench.orchestrator.group import GroupRounds
from cnnbench.orchestrator.plan import Group
from cnnbench.orchestrator.schedule import Schedule, Turn, unfinished_groups
from cnnbench.orchestrator.start_round import WorkerLimits
from cnnbench.record import Environment
from cnnbench.spec import Case, MissingError, Request, Variant
from cnnbench.variants import REFERENCE, native_variants, parse_variant, split_variants, support
from cnnbench.workers.client import Host
from cnnbench.workers.messages import Failure, Known
from cnnbench.workers.single_worker import (
    HasOutcome,
    do_job,
    environment_of,
    find,
    limit_of,
    make_record,
    memory_limit,
    open_host,
    scratch_folder,
)

LATE = "the budget was spent before its turn; give a larger --budget"


@dataclass(frozen=True, kw_only=True, slots=True)
class SidePair:
    """The names from which workers build one model on each side."""

    base: str
    head: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Hosts:
    """The hosts that start the workers of each side; they are the same host if the sides share an environment."""

    base: Host
    head: Host


@dataclass(frozen=True, kw_only=True, slots=True)
class Sides:
    """The environment of each side, and the models of both sides by name, as workers found them.

    A model that was not found holds the error that says why.
    """

    base: Environment
    head: Environment
    known: Mapping[str, Known]

    def is_lacking(self, name: str) -> bool:
        """Return whether the model `name` was not found."""
        return self.known[name].error is not None


@contextmanager
def hosting_sides(request: Request, base_python: str | None) -> Iterator[Hosts]:
    """Yield hosts for both sides; `base_python` is the interpreter of BASE's own environment, if it has one."""
    with open_host(request) as head:
        if base_python is None:
            yield Hosts(base=head, head=head)
            return
        with open_host(request, base_python) as base:
            yield Hosts(base=base, head=head)


def look(hosts: Hosts, pairs: Sequence[SidePair]) -> Sides:
    """Return the environments of both sides, and the models of `pairs` as their workers find them."""
    head = environment_of(hosts.head)
    known = {}
    for pair in pairs:
        known[pair.base] = find(hosts.base, pair.base)
        known[pair.head] = find(hosts.head, pair.head)
    base = head if hosts.base is hosts.head else environment_of(hosts.base)
    return Sides(base=base, head=head, known=MappingProxyType(known))


def groups_of(request: Request, pairs: Sequence[SidePair], sides: Sides) -> tuple[Group, ...]:
    """Return a group for each pair that both sides have, for each variant and batch size of `request`.

    BASE comes first. Both cells have one input shape, that of `request` or of HEAD. There is no A/A control: rounds
    show how much equal processes differ, and a cell fails only if it is slower in two measurements.

    Raises:
        MissingError: this machine cannot run a variant.
    """
    section = request.sections[0]
    found = []

    for pair in pairs:
        # A model that one side lacks has nothing to be compared with; the session reports it without measuring.
        if sides.is_lacking(pair.base) or sides.is_lacking(pair.head):
            continue
        for variant in _variants(request, sides.head):
            for batch_size in section.batch_sizes:
                head = Case(
                    model=pair.head,
                    variant=variant,
                    task="infer",
                    device="cpu",
                    batch_size=batch_size,
                    input_shape=request.input_shape or sides.known[pair.head].input_shape or (),
                    seed=request.seed,
                    budget=request.budget,
                )
                # The cells of a group differ in the model alone: equal seeds give both the same input.
                found.append(Group(cases=(replace(head, model=pair.base), head)))

    return tuple(found)


def _variants(request: Request, environment: Environment) -> tuple[Variant, ...]:
    threads, asked = threads_of(request), request.sections[0].variants
    names: list[str] = []

    # `split_variants` always puts the reference first, as a run needs it; a gate measures it only on request.
    for name in split_variants(asked)[0 if REFERENCE in asked else 1 :]:
        every = native_variants(device="cpu", threads=threads, environment=environment) if name == "all" else (name,)
        names += every

    # A variant of `all` may have been named as well; each is measured once.
    found = tuple(dict.fromkeys(parse_variant(name, device="cpu", threads=threads) for name in names))
    for variant in found:
        possible = support(variant, device="cpu", environment=environment)
        if possible.status == "unsupported":
            raise MissingError(f"The variant {variant.name} is not available here: {possible.reason}.")
    return found


def reseed_group(group: Group, seed: int) -> Group:
    """Return `group` with another seed for weights, inputs and the orders of cells."""
    return replace(group, cases=tuple(replace(case, seed=seed) for case in group.cases))


@dataclass(frozen=True, kw_only=True, slots=True)
class Deadline:
    """The time for a measurement of groups: its start (monotonic) and the seconds that it may take.

    `target` is the half-width of the interval, relative, at which a group is precise.
    """

    begin: float
    total_s: float
    target: float


def measure_sides(hosts: Hosts, sides: Sides, groups: Sequence[Group], times: Deadline, hooks: Hooks) -> None:
    """Measure `groups` round by round, and pass the record of each case to the hooks at the end of each round.

    A group that is precise has no more rounds, and its time goes to the others.
    """
    _Measuring(hosts, sides, times, hooks).all(groups)


class _Measuring:
    """The measurement of some groups, with its hosts and its deadline."""

    def __init__(self, hosts: Hosts, sides: Sides, times: Deadline, hooks: Hooks) -> None:
        self._hosts = hosts
        self._sides = sides
        self._times = times
        self._hooks = hooks
        self._schedule = Schedule(begin=times.begin, total_s=times.total_s)

    def all(self, groups: Sequence[Group]) -> None:
        """Measure each group once, then measure groups that are not precise again while there is time."""
        with scratch_folder() as scratch:
            running = [self._prepare_group(group, scratch) for group in groups]

            # Groups whose turn comes too late get records that say why they have no times.
            for group in running:
                if self._schedule.is_too_late(group):
                    late = Failure(status="not started", error=LATE)
                    for case in group.give_up(late):
                        self._on_record(group, case, late, time.monotonic())
                    continue
                self._round(Turn(group=group, end=self._schedule.deadline, rounds_left=0.0))
                self._check_scores(group, scratch)

            while (turn := self._schedule.next_turn(unfinished_groups(running))) is not None:
                self._round(turn)

    def _prepare_group(self, group: Group, scratch: str) -> GroupRounds:
        limits = WorkerLimits(
            scratch=scratch, memory_bytes=memory_limit(), emulated=_emulation_reasons(group, self._sides.head)
        )
        others = {group.cases[0].model: self._hosts.base}
        return GroupRounds(self._hosts.head, group, limits, target=self._times.target, others=others)

    def _round(self, turn: Turn) -> None:
        group, number, started = turn.group, turn.group.rounds, time.monotonic()
        # Progress names the model of HEAD, which is the second case.
        case = group.group.cases[1]
        self._on_progress(f"round {number + 1}: {case.model} {case.variant.name} batch {case.batch_size}")
        for seen in group.measure(deadline=turn.end, rounds_left=turn.rounds_left, on_progress=self._on_progress):
            # Time lost to failed cells is added to the budget.
            self._schedule.deadline += seen.lost_s
            self._on_record(group, seen.case, seen, started, number)

    def _on_progress(self, text: str) -> None:
        self._hooks.on_progress(self._schedule.progress(text))

    def _on_record(  # the group, its case, the result, the start, and the number of the round
        self, group: GroupRounds, case: Case, got: HasOutcome | Failure, started: float, number: int = 0
    ) -> None:
        """Pass the record of `case` to the group and to the hooks."""
        record = make_record(case, self._environment_of(group, case), got, started=started, number=number)
        self._schedule.deadline += sum(record.samples("compile_s"))  # the budget does not include compiling
        group.add(record)
        self._hooks.on_record(record)

    def _check_scores(self, group: GroupRounds, scratch: str) -> None:
        """Measure the numerical error of both cells; the reference variant has none."""
        for case in group.group.cases:
            if case.variant.name == REFERENCE:
                continue

            # A worker of its own computes the error, on the side of the cell, when the timed workers have ended.
            check = replace(case, role="numerics")
            host = self._hosts.base if _is_base(group, case) else self._hosts.head
            job = Job(case=check, scratch=scratch, memory_limit_bytes=limit_of(check))
            started = time.monotonic()
            got = do_job(host, job, min(WHOLE_S, check.budget.timeout_s))
            self._hooks.on_record(make_record(check, self._environment_of(group, case), got, started=started))

    def _environment_of(self, group: GroupRounds, case: Case) -> Environment:
        return self._sides.base if _is_base(group, case) else self._sides.head


def _is_base(group: GroupRounds, case: Case) -> bool:
    return case.model == group.group.cases[0].model


def _emulation_reasons(group: Group, environment: Environment) -> Mapping[Case, str]:
    """Return the cells that the machine can only emulate, with the reason."""
    judged = {case: support(case.variant, device=case.device, environment=environment) for case in group.cases}
    return {case: found.reason for case, found in judged.items() if found.status == "emulated"}
