"""Two sides: which groups there are, how time is shared, and what each record is of; workers only pretend."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import cast

import pytest

from cnnbench.gate import measure as sides
from cnnbench.gate.measure import (
    LATE,
    Deadline,
    Hosts,
    SidePair,
    Sides,
    groups_of,
    hosting_sides,
    look,
    measure_sides,
    reseed_group,
)
from cnnbench.jobs import Job
from cnnbench.orchestrator import schedule
from cnnbench.orchestrator.events import Hooks, Progress
from cnnbench.orchestrator.group import GroupRounds
from cnnbench.orchestrator.plan import Group
from cnnbench.orchestrator.running_cell import CellResult
from cnnbench.record import Environment, Measurement, Outcome, Record
from cnnbench.spec import Budget, Case, MissingError, Request, Section
from cnnbench.workers import single_worker
from cnnbench.workers.client import Host
from cnnbench.workers.messages import Done, Failure, Known
from tests.factories import MACHINE
from tests.orchestrator.plans import NATIVE, NO_COMPILER

OTHER = replace(MACHINE, torch="2.12.0")
BUDGET = Budget(total_s=100.0, timeout_s=120.0)
PAIR = SidePair(base="tree:/b::net", head="tree:/h::net")


def request(*variants: str, batch_sizes: tuple[int, ...] = (1,), **more: object) -> Request:
    section = Section(models=(), variants=variants or ("eager",), batch_sizes=batch_sizes)
    made = Request(title="gate", sections=(section,), threads=1, budget=BUDGET)
    return replace(made, **more)  # type: ignore[arg-type]  # fields of Request


def known(*names: str, environment: Environment = NATIVE, lacking: tuple[str, ...] = ()) -> Sides:
    found = {name: Known(model=name, input_shape=(3, 8, 8)) for name in names}
    found |= {name: Known(model=name, error="none") for name in lacking}
    return Sides(base=OTHER, head=environment, known=found)


BOTH = known(PAIR.base, PAIR.head)


def test_a_group_holds_the_base_first_and_nothing_beside() -> None:
    (group,) = groups_of(request(seed=4), [PAIR], BOTH)
    assert [case.model for case in group.members] == [PAIR.base, PAIR.head]
    head = group.cases[1]
    assert group.cases[0] == replace(head, model=PAIR.base)
    assert (head.variant.name, head.variant.threads, head.batch_size, head.input_shape, head.seed, head.role) == (
        "eager",
        1,
        1,
        (3, 8, 8),
        4,
        "timed",
    )
    assert reseed_group(group, 5) == replace(group, cases=tuple(replace(case, seed=5) for case in group.cases))


def test_each_requested_variant_and_batch_size_forms_group() -> None:
    found = groups_of(request("amp", "channels_last", batch_sizes=(1, 8), input_shape=(1, 4, 4)), [PAIR], BOTH)
    cells = [(g.cases[1].variant.name, g.cases[1].batch_size, g.cases[1].input_shape) for g in found]
    assert cells == [(v, b, (1, 4, 4)) for v in ("amp", "channels_last") for b in (1, 8)]
    every = groups_of(request("all"), [PAIR], known(PAIR.base, PAIR.head, environment=NO_COMPILER))
    assert [g.cases[1].variant.name for g in every] == ["eager", "channels_last", "amp", "bf16", "default_malloc"]


@pytest.mark.parametrize("lacking", [PAIR.base, PAIR.head])
def test_what_a_side_lacks_has_no_group(lacking: str) -> None:
    other = SidePair(base="b", head="h")
    found = known("b", "h", *{PAIR.base, PAIR.head} - {lacking}, lacking=(lacking,))
    assert [g.cases[0].model for g in groups_of(request(), [PAIR, other], found)] == ["b"]


def test_a_variant_that_cannot_be_had_is_refused() -> None:
    with pytest.raises(MissingError) as caught:
        groups_of(request("compile"), [PAIR], known(PAIR.base, PAIR.head, environment=NO_COMPILER))
    assert str(caught.value) == (
        "The variant compile is not available here: torch.compile needs a C++ compiler: install g++."
    )


@dataclass
class Machine:
    """A round takes `round_s`; `log` is which hosts it had, and what was measured."""

    round_s: float = 10.0
    now: float = 1000.0
    failing: str = ""
    log: list[str] = field(default_factory=list)
    deadlines: list[float] = field(default_factory=list)
    kept: list[Record] = field(default_factory=list)
    told: list[Progress] = field(default_factory=list)

    def host(self, name: str) -> Host:
        return cast("Host", SimpleNamespace(start=lambda: Checking(self, name), name=name))

    def round(self, group: GroupRounds, deadline: float) -> tuple[CellResult, ...]:
        cases = [case for case in group.group.cases if not _out(group, case)]
        names = [group._host_of(case).name for case in cases]  # type: ignore[union-attr]
        self.log.append(f"{cases[0].variant.name} {' '.join(names)}")
        self.deadlines.append(deadline)
        self.now += self.round_s
        group.last_s = self.round_s
        group.spent_s += self.round_s
        group.rounds += 1
        return tuple(
            CellResult(
                case=case,
                failure=Failure(status="failed", error="boom") if case.model == self.failing else None,
                outcome=_latencies(group.rounds * (case.model == PAIR.head)),
                lost_s=3.0 if case.model == self.failing else 0.0,
            )
            for case in cases
        )

    def measure(self, groups: tuple[Group, ...], *, total_s: float = 100.0) -> None:
        hosts = Hosts(base=self.host("base"), head=self.host("head"))
        times = Deadline(begin=self.now, total_s=total_s, target=0.0125)
        measure_sides(
            hosts, BOTH, groups, times, Hooks(on_record=self.kept.append, on_progress=self.told.append, completed={})
        )


def _out(group: GroupRounds, case: Case) -> bool:
    return any(member.case == case and member.out is not None for member in group._members)


def _latencies(number: int) -> Outcome:
    value = 1.0 + 0.01 * (7 * number % 11)
    return Outcome(
        measurements=(
            Measurement(quantity="latency_s", samples=(value,) * 3, iterations_per_sample=3, blocks=(0, 1, 2)),
        )
    )


class Checking:
    """A worker that measures a numerical error."""

    def __init__(self, machine: Machine, host: str) -> None:
        self.machine, self.host = machine, host

    def send(self, job: Job) -> None:
        self.machine.log.append(f"{job.case.role} {job.case.variant.name} {self.host}")

    def receive(self, timeout_s: float) -> Done:
        assert timeout_s == 60.0
        return Done(outcome=Outcome(measurements=(Measurement(quantity="max_relative_error", samples=(0.1,)),)))

    def close(self) -> None:
        self.machine.log.append("close")


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    made = Machine()
    monkeypatch.setattr(GroupRounds, "measure", lambda group, *, deadline, **_: made.round(group, deadline))
    monkeypatch.setattr(sides, "memory_limit", lambda: 123)
    monkeypatch.setattr(sides, "limit_of", lambda _: 123)
    time = SimpleNamespace(monotonic=lambda: made.now, time=lambda: made.now)
    for module in (sides, schedule, single_worker):
        monkeypatch.setattr(module, "time", time)
    return made


def cases(*roles: str) -> list[tuple[str, str]]:
    return [(role, model) for role in roles for model in (PAIR.base, PAIR.head)]


def test_each_side_has_its_host_and_its_environment(machine: Machine) -> None:
    machine.measure(groups_of(request(), [PAIR], BOTH), total_s=15.0)
    assert machine.log == ["eager base head"]
    assert [(r.case.role, r.case.model) for r in machine.kept] == cases("timed")
    assert [(r.environment, r.round, r.started) for r in machine.kept] == [
        (OTHER, 0, machine.kept[0].started),
        (NATIVE, 0, machine.kept[0].started),
    ]


def test_scores_of_variants_are_checked_after_the_first_round(machine: Machine) -> None:
    machine.measure(groups_of(request("amp"), [PAIR], BOTH), total_s=25.0)
    checks = ["numerics amp base", "close", "numerics amp head", "close"]
    assert machine.log == ["amp base head", *checks, "amp base head"]
    assert [(r.case.role, r.case.model) for r in machine.kept] == cases("timed", "numerics", "timed")


def test_groups_take_turns_until_the_budget_is_spent(machine: Machine) -> None:
    machine.measure(groups_of(request("eager", "channels_last"), [PAIR], BOTH), total_s=65.0)
    rounds = [line for line in machine.log if line.endswith("base head")]
    assert rounds == ["eager base head", "channels_last base head"] * 3
    assert machine.deadlines == [1065.0] * 6
    assert [(told.elapsed_s, told.remaining_s) for told in machine.told[:2]] == [(0.0, 65.0), (10.0, 55.0)]
    assert machine.told[2].text == f"round 2: {PAIR.head} eager batch 1"


def test_what_a_failure_took_is_given_back(machine: Machine) -> None:
    machine.failing = PAIR.head
    machine.measure(groups_of(request("eager", "channels_last"), [PAIR], BOTH), total_s=15.0)
    assert machine.deadlines == [1015.0, 1018.0]
    assert [record.status for record in machine.kept[:2]] == ["ok", "failed"]


def test_a_group_that_comes_too_late_is_not_begun(machine: Machine) -> None:
    machine.round_s = 160.0
    machine.measure(groups_of(request("eager", "channels_last"), [PAIR], BOTH))
    assert machine.log == ["eager base head"]
    assert [(r.status, r.error) for r in machine.kept[2:]] == [("not started", LATE)] * 2


def test_sides_share_host_unless_base_has_own_python(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[str | None] = []

    @contextmanager
    def hosting(_: Request, python: str | None = None) -> Iterator[object]:
        started.append(python)
        yield object()

    monkeypatch.setattr(sides, "open_host", hosting)
    with hosting_sides(request(), None) as hosts:
        assert hosts.base is hosts.head
    with hosting_sides(request(), "/other/python") as hosts:
        assert hosts.base is not hosts.head
    assert started == [None, None, "/other/python"]


def test_each_side_is_asked_for_its_models(monkeypatch: pytest.MonkeyPatch) -> None:
    environments = {"base": OTHER, "head": NATIVE}
    monkeypatch.setattr(sides, "environment_of", lambda host: environments[host.name])
    monkeypatch.setattr(sides, "find", lambda host, name: Known(model=name, error=host.name))
    base, head = (Machine().host(name) for name in ("base", "head"))
    found = look(Hosts(base=base, head=head), [PAIR])
    assert (found.base, found.head) == (OTHER, NATIVE)
    assert [(name, one.error) for name, one in found.known.items()] == [(PAIR.base, "base"), (PAIR.head, "head")]
    assert look(Hosts(base=head, head=head), []).base == NATIVE
