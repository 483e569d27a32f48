"""Two sides of the same networks, such as two revisions, measured side by side: each network one group of two cells."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from types import MappingProxyType

from cnnbench.orchestrator.expected import share_s
from cnnbench.orchestrator.group import Limits, measure_group
from cnnbench.orchestrator.hooks import Hooks, Progress
from cnnbench.orchestrator.host import Host
from cnnbench.orchestrator.messages import Failure, Job, Known
from cnnbench.orchestrator.pieces import WHOLE_S
from cnnbench.orchestrator.planning import Group, threads_of
from cnnbench.orchestrator.run import GRACE, WARM_SHARE
from cnnbench.orchestrator.single import Given, as_record, do_job, environment_of, find, hosting, limit_of, memory_limit
from cnnbench.record import Environment, Record
from cnnbench.runners.warming import WARM_CAP_S
from cnnbench.spec import Case, MissingError, Request, Variant
from cnnbench.variants import REFERENCE, native_variants, parse_variant, split_variants, support

LATE = "the budget was spent before its turn; give a larger --budget"


@dataclass(frozen=True, kw_only=True, slots=True)
class Pair:
    """One network on both sides: the names that build it."""

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


def look(hosts: Hosts, pairs: Sequence[Pair]) -> Sides:
    """Return what the workers of both sides are and find."""
    head = environment_of(hosts.head)
    known = {}
    for pair in pairs:
        known[pair.base] = find(hosts.base, pair.base)
        known[pair.head] = find(hosts.head, pair.head)
    base = head if hosts.base is hosts.head else environment_of(hosts.base)
    return Sides(base=base, head=head, known=MappingProxyType(known))


def groups_of(request: Request, pairs: Sequence[Pair], sides: Sides) -> tuple[Group, ...]:
    """Return a group for each pair that both sides have, under each variant and at each batch size of `request`.

    The base comes first. Both are measured at one input shape, that of `request` or of the head. There is no twin: that
    equal processes differ is what the sets of workers show, and nothing is called slower that is not so twice.

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
class Times:
    """When a measurement of groups began (monotonic), the seconds that it may take, and which one it is."""

    begin: float
    total_s: float
    launch: int
    ratio_within: float


def measure_sides(hosts: Hosts, sides: Sides, groups: Sequence[Group], times: Times, hooks: Hooks) -> None:
    """Measure `groups` one after the other, and hand over the record of each case as soon as its group has ended.

    Each gets its share of the time that is left; one that is precise ends early and leaves the rest to the others.
    """
    deadline = times.begin + times.total_s

    def tell(text: str) -> None:
        now = time.monotonic()
        hooks.tell(Progress(text=text, elapsed_s=now - times.begin, remaining_s=max(0.0, deadline - now)))

    with tempfile.TemporaryDirectory(prefix="cnnbench-") as scratch:
        for at, group in enumerate(groups):
            now = time.monotonic()
            work = _Work(
                hosts=hosts,
                sides=sides,
                group=group,
                launch=times.launch,
                scratch=scratch,
                started=time.time(),
                keep_record=hooks.keep,
            )
            if now > deadline + GRACE * times.total_s:
                for case in group.cases:
                    work.keep(case, Failure(status="timeout", error=LATE))
                continue
            sampling_s = share_s(group, groups[at:], deadline - now)
            limits = Limits(
                sampling_s=sampling_s,
                deadline=deadline,
                scratch=scratch,
                memory_bytes=memory_limit(),
                warm_cap_s=min(WARM_CAP_S, max(1.0, WARM_SHARE * sampling_s / len(group.cases))),
                emulated=_emulated(group, sides.head),
                ratio_within=times.ratio_within,
            )
            others = {group.cases[0].model: hosts.base}
            for seen in measure_group(hosts.head, group, limits, launch=times.launch, tell=tell, others=others):
                deadline += seen.lost_s
                work.keep(seen.case, seen)
            work.check_scores()


@dataclass(frozen=True, kw_only=True, slots=True)
class _Work:
    """One group while it is measured."""

    hosts: Hosts
    sides: Sides
    group: Group
    launch: int
    scratch: str
    started: float
    keep_record: Callable[[Record], None]

    def keep(self, case: Case, got: Given | Failure) -> None:
        """Hand over the record of what `case` gave."""
        environment = self.sides.base if self._of_base(case) else self.sides.head
        self.keep_record(as_record(case, environment, got, launch=self.launch, started=self.started))

    def check_scores(self) -> None:
        """Measure the numerical error of both cells, if their variant has one; after them, so that caches are warm."""
        for case in self.group.cases:
            if case.variant.name == REFERENCE:
                continue
            check = replace(case, role="numerics")
            host = self.hosts.base if self._of_base(case) else self.hosts.head
            job = Job(case=check, scratch=self.scratch, memory_limit_bytes=limit_of(check))
            self.keep(check, do_job(host, job, min(WHOLE_S, check.budget.timeout_s)))

    def _of_base(self, case: Case) -> bool:
        return case.model == self.group.cases[0].model


def _emulated(group: Group, environment: Environment) -> Mapping[Case, str]:
    """Return why the cells run, but not natively."""
    judged = {case: support(case.variant, device=case.device, environment=environment) for case in group.cases}
    return {case: found.reason for case, found in judged.items() if found.status == "emulated"}
