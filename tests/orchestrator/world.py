"""A machine on which nothing takes time but what a test says, and what a run did on it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

from cnnbench.orchestrator.cell import Seen
from cnnbench.orchestrator.group import Limits
from cnnbench.orchestrator.hooks import Hooks, Progress
from cnnbench.orchestrator.messages import Done, Failure, Job
from cnnbench.orchestrator.planning import Group
from cnnbench.orchestrator.run import Runner
from cnnbench.record import Environment, Measurement, Outcome, Record
from cnnbench.spec import Budget, Case, Request, Section
from tests.made import MACHINE

COUNTED = Outcome(measurements=(Measurement(quantity="macs", samples=(1.0,)),))
BOOM = Failure(status="failed", error="ValueError: boom (net.py:3)")


@dataclass
class World:
    """Every group takes `group_s` seconds (or all it is given), a training `train_s`, any other piece `piece_s`.

    `failing` are the roles and tasks whose pieces fail. `log` is what was done, in order; `kept` what was recorded.
    """

    group_s: float | None = None
    fixed_s: float = 0.0
    piece_s: float = 0.0
    train_s: float = 0.0
    now: float = 1000.0
    environment: Environment = MACHINE
    failing: tuple[str, ...] = ()
    log: list[str] = field(default_factory=list)
    told: list[str] = field(default_factory=list)
    sampling_s: list[float] = field(default_factory=list)
    jobs: list[Job] = field(default_factory=list)
    waits: list[float] = field(default_factory=list)
    at_work: list[int] = field(default_factory=list)
    open: int = 0
    trained: list[str] = field(default_factory=list)
    limits_s: list[float | None] = field(default_factory=list)
    kept: list[Record] = field(default_factory=list)

    @property
    def timed(self) -> list[Record]:
        """The records of cells."""
        return [record for record in self.kept if record.case.role == "timed" and record.case.task != "complexity"]

    def start(self) -> "Piece":
        self.open += 1
        self.at_work.append(self.open)
        return Piece(self)

    def measure_group(self, _: object, group: Group, limits: Limits, **__: object) -> tuple[Seen, ...]:
        self.sampling_s.append(limits.sampling_s)
        self.log.append(f"group {group.cases[0].model} {group.cases[0].task}")
        self.now += self.fixed_s + (limits.sampling_s if self.group_s is None else self.group_s)
        return tuple(Seen(case=case, failure=None, outcome=COUNTED) for case in group.members)

    def measured_ceilings(self, *_: object, **__: object) -> SimpleNamespace:
        self.log.append("ceilings")
        return SimpleNamespace(reply=Done(outcome=COUNTED))

    def train_case(self, _: object, job: Job, __: object) -> Failure:
        self.trained.append(job.case.model)
        self.log.append(f"train {job.case.model}")
        self.limits_s.append(job.limit_s)
        self.now += self.train_s
        return Failure(status="unsupported", error="too long")

    def tell(self, progress: Progress) -> None:
        self.told.append(progress.text)

    def run(self, request: Request, already: Mapping[Case, Record] | None = None) -> None:
        hooks = Hooks(keep=self.kept.append, tell=self.tell, already=already or {})
        Runner(request, hooks, request.sections[0].models).run()


class Piece:
    """A worker that does one piece of work."""

    def __init__(self, world: World) -> None:
        self.world = world

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
        self.world.open -= 1


def asked(*models: str, launches: int = 1, total_s: float = 90.0, timeout_s: float = 60.0, **more: Any) -> Request:
    section = {name: more.pop(name) for name in ("variants", "tasks", "batch_sizes") if name in more}
    return Request(
        title="t",
        sections=(Section(models=models, **{"variants": ("eager", "channels_last"), **section}),),
        budget=Budget(total_s=total_s, timeout_s=timeout_s, launches=launches),
        **more,
    )


def by_identity(records: list[Record]) -> dict[Case, Record]:
    return {record.case.identity(): record for record in records}
