"""A whole run with a pretended host: what is measured again, how the budget is shared, what is refused."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any

import pytest

from cnnbench import machine
from cnnbench.orchestrator import run
from cnnbench.orchestrator.group import Limits, Seen
from cnnbench.orchestrator.messages import Failure, Job
from cnnbench.orchestrator.planning import Group
from cnnbench.orchestrator.run import Hooks, Runner
from cnnbench.record import Environment, Measurement, Outcome, Record
from cnnbench.spec import Budget, Case, Request, Section, Shape, UsageError
from tests.made import MACHINE

COUNTED = Outcome(measurements=(Measurement(quantity="macs", samples=(1.0,)),))


@dataclass
class World:
    """A machine on which every group takes `group_s` seconds (or all it is given), and what was done on it."""

    group_s: float | None = None
    fixed_s: float = 0.0
    now: float = 1000.0
    environment: Environment = MACHINE
    sampling_s: list[float] = field(default_factory=list)
    measured: list[str] = field(default_factory=list)
    trained: list[str] = field(default_factory=list)
    kept: list[Record] = field(default_factory=list)

    def measure_group(self, _: object, group: Group, limits: Limits, **__: object) -> tuple[Seen, ...]:
        self.sampling_s.append(limits.sampling_s)
        self.measured += [case.label() for case in group.cases]
        self.now += self.fixed_s + (limits.sampling_s if self.group_s is None else self.group_s)
        return tuple(Seen(case=case, failure=None, outcome=COUNTED) for case in group.cases)

    def train_case(self, _: object, job: Job, __: object) -> Failure:
        self.trained.append(job.case.model)
        return Failure(status="unsupported", error="too long")

    def run(self, request: Request, already: Mapping[Case, Record] | None = None) -> None:
        hooks = Hooks(keep=self.kept.append, tell=lambda _: None, already=already or {})
        Runner(request, hooks, request.sections[0].models).run()


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    made = World()

    @contextmanager
    def hosting(_: Request) -> Iterator[None]:
        yield None

    def ask(_: object, __: object) -> tuple[Environment, dict[str, Shape]]:
        return made.environment, {}

    def no_counting(self: Any, task: Any) -> None:
        del self, task

    monkeypatch.setattr(run, "hosting", hosting)
    monkeypatch.setattr(run, "ask", ask)
    monkeypatch.setattr(run, "measure_group", made.measure_group)
    monkeypatch.setattr(run, "train_case", made.train_case)
    monkeypatch.setattr(run, "time", SimpleNamespace(monotonic=lambda: made.now, time=lambda: made.now))
    monkeypatch.setattr(Runner, "_count", no_counting)
    return made


def asked(*models: str, launches: int = 1, total_s: float = 90.0, **more: Any) -> Request:
    return Request(
        title="t",
        sections=(Section(models=models, variants=("eager", "channels_last")),),
        budget=Budget(total_s=total_s, timeout_s=60.0, launches=launches),
        **more,
    )


def by_identity(records: list[Record]) -> dict[Case, Record]:
    return {record.case.identity(): record for record in records}


def test_every_launch_gets_an_equal_part_of_the_budget(world: World) -> None:
    world.fixed_s = 3.0  # two cells, 1.5 s each
    world.run(asked("mlp", "lenet", "perceptron", launches=3))
    parts = [sum(world.sampling_s[at : at + 3]) for at in (0, 3, 6)]
    # Of 90 s the starts of two later launches are set aside, 3 x 3 s in each are spent before samples; the pretended
    # starts take nothing, so their time goes to the launches that follow.
    warming_up = 2 * 17 * (79_400 + 649_120 + 7_840) / 60e9
    expected = [80 / 3 - 9, 80 / 3 + 5 / 2 - 9, 80 / 3 + 5 / 2 + 5 - 9]
    assert parts == pytest.approx([part - warming_up for part in expected], abs=0.001)


def test_groups_that_end_early_leave_their_time_to_the_later_ones(world: World) -> None:
    world.group_s = 1.0
    world.run(asked("mlp", "lenet", "perceptron"))
    assert [round(s, 3) for s in world.sampling_s] == [27.0, 41.5, 85.0]


def test_what_is_done_is_not_measured_again(world: World) -> None:
    request = asked("mlp", "lenet")
    world.run(request)
    first, world.kept = world.kept, []
    world.run(request, by_identity(first))
    assert world.kept == []
    world.run(request, by_identity(first[:-1]))
    assert [record.case.label() for record in world.kept] == [
        "lenet eager cpu infer batch 1",
        "lenet channels_last cpu infer batch 1",
    ]


def test_cells_that_were_not_measured_together_are_measured_again(world: World) -> None:
    request = asked("mlp")
    world.run(request)
    apart = [world.kept[0], replace(world.kept[1], started="2026-01-01T00:00:00.000+00:00")]
    world.measured.clear()
    world.run(request, by_identity(apart))
    assert world.measured == ["mlp eager cpu infer batch 1", "mlp channels_last cpu infer batch 1"]


def test_groups_are_skipped_a_quarter_beyond_the_budget_and_good_records_stay(world: World) -> None:
    request = asked("mlp", "lenet")
    world.run(request)
    failed = replace(world.kept[3], status="failed", measurements=(), error="boom")
    world.kept, world.group_s = [], 113.0
    world.run(request, by_identity([failed, world_record(failed, request)]))
    assert [(record.case.label(), record.status) for record in world.kept] == [
        ("mlp eager cpu infer batch 1", "ok"),
        ("mlp channels_last cpu infer batch 1", "ok"),
        ("lenet channels_last cpu infer batch 1", "timeout"),
    ]
    assert world.kept[-1].error == (
        "the budget was spent before its turn; a larger --budget, or the same command with --output of this run"
    )


def world_record(like: Record, request: Request) -> Record:
    """Return a good record of lenet's eager cell."""
    del request
    eager = replace(like.case, variant=replace(like.case.variant, name="eager", channels_last=False))
    return replace(like, case=eager, status="ok", error=None, measurements=COUNTED.measurements)


def test_a_training_that_did_not_fit_is_tried_again(world: World) -> None:
    request = asked("mlp", accuracy="digits")
    world.run(request)
    assert [record.status for record in world.kept] == ["ok", "ok", "unsupported"]
    world.run(request, by_identity(world.kept))
    assert world.trained == ["mlp", "mlp"]


def test_another_environment_is_refused(world: World) -> None:
    request = asked("mlp")
    world.run(request)
    world.environment = replace(MACHINE, torch="2.12.0")
    with pytest.raises(UsageError) as caught:
        world.run(request, by_identity(world.kept))
    assert str(caught.value) == (
        "This run began in another environment: torch was '2.11.0' and is '2.12.0'. Give a new folder with --output."
    )


def test_other_threads_are_refused(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "default_threads", lambda: 4)
    world.run(asked("mlp", threads=2))
    with pytest.raises(UsageError) as caught:
        world.run(asked("mlp", threads=3), by_identity(world.kept))
    assert str(caught.value) == (
        "This run began with 2 threads a cell, now it is 3. Give the same --threads, or a new folder with --output."
    )
