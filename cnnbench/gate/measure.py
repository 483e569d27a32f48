"""Two sides of the same models, such as two revisions, measured side by side: each model one group of two cells."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from types import MappingProxyType

from cnnbench.machine import threads_of
from cnnbench.orchestrator.context import WHOLE_S
from cnnbench.orchestrator.events import Hooks, Progress
from cnnbench.orchestrator.group import GroupRounds
from cnnbench.orchestrator.plan import Group
from cnnbench.orchestrator.run import FIRST_ROUND_MOST, next_of, priors_of
from cnnbench.orchestrator.start_round import WorkerLimits
from cnnbench.record import Environment
from cnnbench.spec import Case, MissingError, Request, Variant
from cnnbench.variants import REFERENCE, native_variants, parse_variant, split_variants, support
from cnnbench.workers.calls import (
    HasOutcome,
    as_record,
    do_job,
    environment_of,
    find,
    hosting,
    limit_of,
    memory_limit,
    scratch_folder,
)
from cnnbench.workers.client import Host
from cnnbench.workers.messages import Failure, Job, Known

LATE = "the budget was spent before its turn; give a larger --budget"


@dataclass(frozen=True, kw_only=True, slots=True)
class SidePair:
    """One model on both sides: the names that build it."""

    base: str
    head: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Hosts:
    """Where the workers of each side come from; it is one host where both sides have the same environment."""

    base: Host
    head: Host


@dataclass(frozen=True, kw_only=True, slots=True)
class Sides:
    """What workers say of both sides: their environments, and what each model is, or why there is none, by name."""

    base: Environment
    head: Environment
    known: Mapping[str, Known]

    def lacking(self, name: str) -> bool:
        """Return whether there is no such model."""
        return self.known[name].error is not None


@contextmanager
def hosting_sides(request: Request, base_python: str | None) -> Iterator[Hosts]:
    """Have hosts for both sides; `base_python` is the interpreter of the base's own environment, if it has one."""
    with hosting(request) as head:
        if base_python is None:
            yield Hosts(base=head, head=head)
            return
        with hosting(request, base_python) as base:
            yield Hosts(base=base, head=head)


def look(hosts: Hosts, pairs: Sequence[SidePair]) -> Sides:
    """Return what the workers of both sides are and find."""
    head = environment_of(hosts.head)
    known = {}
    for pair in pairs:
        known[pair.base] = find(hosts.base, pair.base)
        known[pair.head] = find(hosts.head, pair.head)
    base = head if hosts.base is hosts.head else environment_of(hosts.base)
    return Sides(base=base, head=head, known=MappingProxyType(known))


def groups_of(request: Request, pairs: Sequence[SidePair], sides: Sides) -> tuple[Group, ...]:
    """Return a group for each pair that both sides have, under each variant and at each batch size of `request`.

    The base comes first. Both are measured at one input shape, that of `request` or of the head. There is no A/A
    control: that equal processes differ is what the rounds show, and nothing is called slower that is not so twice.

    Raises:
        MissingError: this machine cannot do a variant.
    """
    section = request.sections[0]
    found = []
    for pair in pairs:
        if sides.lacking(pair.base) or sides.lacking(pair.head):
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
                found.append(Group(cases=(replace(head, model=pair.base), head)))

    return tuple(found)


def _variants(request: Request, environment: Environment) -> tuple[Variant, ...]:
    threads, asked = threads_of(request), request.sections[0].variants
    names: list[str] = []
    for name in split_variants(asked)[0 if REFERENCE in asked else 1 :]:
        every = native_variants(device="cpu", threads=threads, environment=environment) if name == "all" else (name,)
        names += every
    found = tuple(dict.fromkeys(parse_variant(name, device="cpu", threads=threads) for name in names))
    for variant in found:
        possible = support(variant, device="cpu", environment=environment)
        if possible.status == "unsupported":
            raise MissingError(f"The variant {variant.name} cannot be had here: {possible.reason}.")
    return found


def once_more(group: Group, seed: int) -> Group:
    """Return `group` with another seed for weights, inputs and orders."""
    return replace(group, cases=tuple(replace(case, seed=seed) for case in group.cases))


@dataclass(frozen=True, kw_only=True, slots=True)
class Deadline:
    """When a measurement of groups began (monotonic), the seconds that it may take, and the half-width that ends it."""

    begin: float
    total_s: float
    target: float


def measure_sides(hosts: Hosts, sides: Sides, groups: Sequence[Group], times: Deadline, hooks: Hooks) -> None:
    """Measure `groups` round by round, and hand over the record of each case at the end of each round.

    A group that is precise leaves the rounds, and its time goes to the others.
    """
    _Measuring(hosts, sides, times, hooks).all(groups)


class _Measuring:
    """Groups of two sides while they are measured."""

    def __init__(self, hosts: Hosts, sides: Sides, times: Deadline, hooks: Hooks) -> None:
        self._hosts = hosts
        self._sides = sides
        self._times = times
        self._hooks = hooks
        self._deadline = times.begin + times.total_s

    def all(self, groups: Sequence[Group]) -> None:
        """Measure all groups once, then those that are not precise again, while there is time."""
        with scratch_folder() as scratch:
            running = [self._prepared(group, scratch) for group in groups]
            latest = self._times.begin + FIRST_ROUND_MOST * self._times.total_s
            for group in running:
                if time.monotonic() > max(latest, self._deadline):
                    late = Failure(status="not started", error=LATE)
                    for case in group.give_up(late):
                        self._on_record(group, case, late, time.time())
                    continue
                self._round(group, 0.0)
                self._check_scores(group, scratch)

            while fitting := self._fitting(running):
                left_s = self._deadline - time.monotonic()
                chosen = next_of(fitting)
                assert chosen is not None
                self._round(chosen, left_s / sum(one.last_s for one in fitting))

    def _prepared(self, group: Group, scratch: str) -> GroupRounds:
        limits = WorkerLimits(scratch=scratch, memory_bytes=memory_limit(), emulated=_emulated(group, self._sides.head))
        others = {group.cases[0].model: self._hosts.base}
        return GroupRounds(self._hosts.head, group, limits, target=self._times.target, others=others)

    def _fitting(self, running: Sequence[GroupRounds]) -> list[GroupRounds]:
        """Return the groups that are not precise and that have time for one more round."""
        prior = priors_of(running)
        left_s = self._deadline - time.monotonic()
        return [one for one in running if one.last_s <= left_s and not one.finished(prior["cpu"])]

    def _round(self, group: GroupRounds, rounds_left: float) -> None:
        number, started = group.rounds, time.time()
        case = group.group.cases[1]
        self._on_progress(f"round {number + 1}: {case.model} {case.variant.name} batch {case.batch_size}")
        for seen in group.measure(deadline=self._deadline, rounds_left=rounds_left, on_progress=self._on_progress):
            self._deadline += seen.lost_s
            self._on_record(group, seen.case, seen, started, number)

    def _on_progress(self, text: str) -> None:
        now = time.monotonic()
        left_s = max(0.0, self._deadline - now)
        self._hooks.on_progress(Progress(text=text, elapsed_s=now - self._times.begin, remaining_s=left_s))

    def _on_record(  # whose, of what, with which result, since when, in which round
        self, group: GroupRounds, case: Case, got: HasOutcome | Failure, started: float, number: int = 0
    ) -> None:
        """Hand over the record of what `case` gave."""
        record = as_record(case, self._environment_of(group, case), got, started=started, number=number)
        self._deadline += sum(record.samples("compile_s"))  # compiling is apart from the budget
        group.add(record)
        self._hooks.on_record(record)

    def _check_scores(self, group: GroupRounds, scratch: str) -> None:
        """Measure the numerical error of both cells, if their variant has one."""
        for case in group.group.cases:
            if case.variant.name == REFERENCE:
                continue
            check = replace(case, role="numerics")
            host = self._hosts.base if _of_base(group, case) else self._hosts.head
            job = Job(case=check, scratch=scratch, memory_limit_bytes=limit_of(check))
            started = time.time()
            got = do_job(host, job, min(WHOLE_S, check.budget.timeout_s))
            self._hooks.on_record(as_record(check, self._environment_of(group, case), got, started=started))

    def _environment_of(self, group: GroupRounds, case: Case) -> Environment:
        return self._sides.base if _of_base(group, case) else self._sides.head


def _of_base(group: GroupRounds, case: Case) -> bool:
    return case.model == group.group.cases[0].model


def _emulated(group: Group, environment: Environment) -> Mapping[Case, str]:
    """Return why the cells run, but not natively."""
    judged = {case: support(case.variant, device=case.device, environment=environment) for case in group.cases}
    return {case: found.reason for case, found in judged.items() if found.status == "emulated"}
