"""A machine on which nothing takes time but what a test says, and what a run did on it."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest

from cnnbench import machine
from cnnbench.jobs import Job
from cnnbench.orchestrator.events import Hooks, Progress
from cnnbench.orchestrator.group import GroupRounds
from cnnbench.orchestrator.run import BenchmarkRun
from cnnbench.orchestrator.running_cell import CellResult
from cnnbench.record import Environment, Measurement, Outcome, Record
from cnnbench.spec import Budget, Case, Request, Section
from cnnbench.timing.loop import SampleShape
from cnnbench.workers.messages import Done, Failure, Known
from tests.factories import MACHINE

COUNTED = Outcome(measurements=(Measurement(quantity="macs", samples=(1.0,)),))
BOOM = Failure(status="failed", error="ValueError: boom (net.py:3)")
SILENT = Failure(status="timeout", error="no answer within 10 s (--timeout)")
SHAPE = SampleShape(rewarm=1, readings=3, group=1)


@dataclass
class World:
    """Every round of a group takes `round_s` seconds, a training `train_s`, any other piece `piece_s`.

    `failing` are the roles and tasks whose pieces fail; `hanging` are models that hang where they are timed, which
    takes ten seconds. `log` is what was done, in order; `kept` what was recorded.
    """

    round_s: float = 10.0
    piece_s: float = 0.0
    train_s: float = 0.0
    now: float = 1000.0
    environment: Environment = MACHINE
    failing: tuple[str, ...] = ()
    hanging: tuple[str, ...] = ()
    log: list[str] = field(default_factory=list)
    told: list[str] = field(default_factory=list)
    jobs: list[Job] = field(default_factory=list)
    waits: list[float] = field(default_factory=list)
    at_work: list[int] = field(default_factory=list)
    open: int = 0
    trained: list[str] = field(default_factory=list)
    limits_s: list[float | None] = field(default_factory=list)
    images_s: list[float | None] = field(default_factory=list)
    kept: list[Record] = field(default_factory=list)

    def stand_in(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Stand in for what takes processes and time."""
        monkeypatch.setattr(machine, "usable_cores", lambda: 2)
        time = SimpleNamespace(monotonic=lambda: self.now, time=lambda: self.now)
        here: dict[str, dict[str, object]] = {
            "orchestrator.run": {
                "open_host": self.hosting,
                "environment_of": lambda _: self.environment,
                "find": lambda _, name, __: Known(model=name, input_shape=(3, 8, 8)),
                "memory_limit": lambda: 123,
                "time": time,
            },
            "workers.single_worker": {"time": time},
            "orchestrator.schedule": {"time": time},
            "orchestrator.side_jobs": {
                "train_case": self.train_case,
                "find_ceilings": lambda *_, **__: None,
                "measured_ceilings": self.measured_ceilings,
                "limit_of": lambda _: 123,
                "time": time,
            },
        }
        for module, names in here.items():
            for name, stand_in in names.items():
                monkeypatch.setattr(f"cnnbench.{module}.{name}", stand_in)
        monkeypatch.setattr(GroupRounds, "measure", lambda group, **_: self.measure(group))

    @contextmanager
    def hosting(self, _: Request) -> Iterator["World"]:
        yield self

    @property
    def rounds(self) -> list[str]:
        """The groups whose rounds were measured, in order."""
        return [line.removeprefix("round ") for line in self.log if line.startswith("round")]

    @property
    def timed(self) -> list[Record]:
        """The records of cells."""
        return [record for record in self.kept if record.case.role == "timed" and record.case.task != "complexity"]

    def start(self) -> "Piece":
        self.open += 1
        self.at_work.append(self.open)
        return Piece(self)

    def measure(self, rounds: GroupRounds) -> tuple[CellResult, ...]:
        first = rounds.group.cases[0]
        self.log.append(f"round {first.model if first.role == 'timed' else first.role} {first.task}")
        members = [case for case in rounds.group.members if not _out(rounds, case)]
        hangs = first.role == "timed" and first.model in self.hanging
        self.now += 10.0 if hangs else self.round_s
        rounds.last_s = self.round_s
        rounds.spent_s += self.round_s
        rounds.rounds += 1
        if hangs:
            return tuple(
                CellResult(case=c, failure=SILENT, outcome=Outcome(), lost_s=10.0 * (c == first)) for c in members
            )
        return tuple(CellResult(case=case, failure=None, outcome=latencies(case, rounds.rounds)) for case in members)

    def measured_ceilings(self, *_: object, **__: object) -> SimpleNamespace:
        self.log.append("ceilings")
        return SimpleNamespace(reply=Done(outcome=COUNTED))

    def train_case(self, _: object, job: Job, __: object) -> Failure:
        self.trained.append(job.case.model)
        self.log.append(f"train {job.case.model}")
        self.limits_s.append(job.limit_s)
        self.images_s.append(job.image_s)
        self.now += self.train_s
        return Failure(status="unsupported", error="too long")

    def on_progress(self, progress: Progress) -> None:
        self.told.append(progress.text)

    def run(self, request: Request, completed: Sequence[Record] = (), spent_s: float = 0.0) -> None:
        hooks = Hooks(on_record=self.kept.append, on_progress=self.on_progress, completed=by_identity(completed))
        BenchmarkRun(request, hooks, request.sections[0].models, spent_s=spent_s).run()


def _out(rounds: GroupRounds, case: Case) -> bool:
    return any(member.case == case and member.out is not None for member in rounds._members)


def latencies(case: Case, number: int) -> Outcome:
    """Return three blocks of a cell that take a second or more, which depends on the round `number`."""
    value = 1.0 + (0.01 * (7 * number % 11) if case.role in ("timed", "lineup") else 0.0)
    return Outcome(
        measurements=(
            Measurement(quantity="latency_s", samples=(value,) * 3, iterations_per_sample=3, blocks=(0, 1, 2)),
        ),
    )


class Piece:
    """A worker that does one piece of work."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.closed = False

    def send(self, job: Job) -> None:
        self.job = job
        self.world.jobs.append(job)

    def receive(self, timeout_s: float) -> Done | Failure:
        case = self.job.case
        kind = case.task if case.role == "timed" else case.role
        self.world.log.append(f"{kind} {case.model} {case.variant.name}")
        self.world.waits.append(timeout_s)
        self.world.now += self.world.piece_s
        return BOOM if kind in self.world.failing else Done(outcome=COUNTED)

    def close(self) -> None:
        self.world.open -= not self.closed
        self.closed = True


def asked(*models: str, total_s: float = 90.0, timeout_s: float = 60.0, **more: Any) -> Request:
    section = {name: more.pop(name) for name in ("variants", "tasks", "batch_sizes") if name in more}
    return Request(
        title="t",
        sections=(Section(models=models, **{"variants": ("eager", "channels_last"), **section}),),
        budget=Budget(total_s=total_s, timeout_s=timeout_s),
        **more,
    )


def by_identity(records: Sequence[Record]) -> Mapping[tuple[Case, int], Record]:
    return {(record.case.identity(), record.round): record for record in records}
