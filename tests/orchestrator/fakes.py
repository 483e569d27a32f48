"""Workers that only pretend, and a clock that they move: a group can be measured without a process or a second."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import cast

from cnnbench.jobs import Job
from cnnbench.machine import Counters
from cnnbench.orchestrator.group import NO_OTHERS, GroupRounds
from cnnbench.orchestrator.plan import Group
from cnnbench.orchestrator.running_cell import CellResult
from cnnbench.orchestrator.start_round import WorkerLimits
from cnnbench.record import Record
from cnnbench.spec import Case
from cnnbench.timing.loop import Sample, SampleShape
from cnnbench.workers.client import Host
from cnnbench.workers.messages import Built, Failure, Ready, Reply, Request, Take, Taken, Warm
from cnnbench.workers.single_worker import make_record
from tests.factories import AMP, LAST, MACHINE, case

READY = Ready(first_call_s=0.5, warmup_s=0.125, iteration_s=0.03125, shape=SampleShape(rewarm=1, readings=3, group=1))
"""A block should take an eighth of a second a cell."""

BOOM = Failure(status="failed", error="ValueError: boom (net.py:3)")
SILENT = Failure(status="timeout", error="no answer within 10 s")
NOTHING_COUNTED = Counters(at_s=0.0)
"""What the counters of a machine say that has none."""


def sample(latency_s: float, *phases_s: float, **seen: float) -> Sample:
    """Return a sample with what counters have `seen`."""
    made = Sample(
        latency_s=latency_s,
        sample_s=2 * latency_s,
        rewarm_s=0.125,
        tail_s=0.0,
        iterations_s=(latency_s, latency_s + 1),
        phases_s=phases_s,
    )
    return replace(made, **seen)  # type: ignore[arg-type]  # fields of Sample, checked by its constructor


def stolen(latency_s: float = 1.0) -> Sample:
    """Return a sample during which half of the cores' time was stolen."""
    return sample(latency_s, steal_share=0.5)


@dataclass
class Script:
    """What a pretended worker answers: to its job, to warming up, to each sample from the first on (then the last)."""

    built: Reply = field(default_factory=Built)
    ready: Reply = READY
    latencies: Sequence[float | Sample | Failure] = (1.0,)
    take_s: float = 0.25
    warm_s: float = 0.25


Scripts = Script | Sequence[Script]
"""What the workers of a cell answer, one round after the other (then the last)."""


class PretendedWorker:
    """A worker that finds its script when it gets its job."""

    def __init__(self, stage: "Stage") -> None:
        self.stage = stage
        self.requests: list[Request] = []
        self.waits: list[float] = []
        self.closed = False

    def send(self, request: Request) -> None:
        assert not self.closed
        self.requests.append(request)
        if isinstance(request, Job):
            self.name = request.case.variant.name if request.case.role == "timed" else request.case.role
            self.script = self.stage.script_of(self)

    def receive(self, timeout_s: float) -> Reply:
        assert not self.closed
        self.waits.append(timeout_s)
        request = self.requests[-1]
        if isinstance(request, Job):
            self.stage.log.append(f"build {self.name}")
            return self.script.built
        if isinstance(request, Warm):
            self.stage.log.append(f"warm {self.name}")
            self.stage.now += self.script.warm_s
            return self.script.ready
        assert isinstance(request, Take)
        self.stage.log.append(self.name)
        self.stage.now += self.script.take_s
        at = sum(isinstance(r, Take) for r in self.requests) - 1
        given = self.script.latencies[min(at, len(self.script.latencies) - 1)]
        if isinstance(given, Failure):
            return given
        return Taken(sample=given if isinstance(given, Sample) else sample(given))

    def close(self) -> None:
        if not self.closed:
            self.stage.log.append(f"close {self.name}")
        self.closed = True

    @property
    def shape(self) -> SampleShape | None:
        """The shape that the worker was told to keep."""
        return next(r.shape for r in self.requests if isinstance(r, Warm))


class Stage:
    """Pretended workers for eager, channels_last and amp, as many as there are scripts, and a clock that they move.

    `aa_control` and `control_workload` are the group's, where they have a script. `counters` are the machine's before
    and after."""

    def __init__(
        self,
        *scripts: Scripts,
        device: str = "cpu",
        aa_control: Scripts | None = None,
        control_workload: Scripts | None = None,
    ) -> None:
        self.now, self.log, self.told = 1000.0, list[str](), list[str]()
        self.workers: list[PretendedWorker] = []
        self.counters = [NOTHING_COUNTED, NOTHING_COUNTED]
        variants = (case("net").variant, LAST, AMP)[: len(scripts)]
        self.cases = [case("net", v, device="cuda" if device == "cuda" else "cpu") for v in variants]
        self._scripts, self._aa_control, self._control_workload = scripts, aa_control, control_workload
        self.limits = WorkerLimits(scratch="/scratch", memory_bytes=123, warm_cap_s=4.0, emulated={})
        self.rounds_left = 9.0

    @property
    def group(self) -> Group:
        first = self.cases[0]
        return Group(
            cases=tuple(self.cases),
            aa_control=None if self._aa_control is None else replace(first, role="aa_control"),
            control_workload=None if self._control_workload is None else replace(first, role="control_workload"),
        )

    def script_of(self, worker: PretendedWorker) -> Script:
        """Return what `worker` answers, which is the last of its cell."""
        given = (*self._scripts, *(s for s in (self._aa_control, self._control_workload) if s is not None))
        scripts = given[self.group.members.index(_case_of(worker))]
        if isinstance(scripts, Script):
            return scripts
        return scripts[min(len(self.of(worker)), len(scripts)) - 1]

    def of(self, worker: PretendedWorker) -> list[PretendedWorker]:
        """Return the workers of the cell of `worker`, one for each round that it was in."""
        return [w for w in self.workers if w.requests and _case_of(w) == _case_of(worker)]

    def start(self) -> PretendedWorker:
        self.workers.append(PretendedWorker(self))
        return self.workers[-1]

    def rounds(self, *, target: float = 0.01, others: Mapping[str, Host] = NO_OTHERS) -> GroupRounds:
        """Return the group before its first round."""
        host = cast("Host", SimpleNamespace(start=self.start))
        return GroupRounds(host, self.group, self.limits, target=target, others=others)

    def measure(
        self,
        count: int = 1,
        *,
        deadline_s: float = 600.0,
        rounds: GroupRounds | None = None,
        emulated: Mapping[Case, str] | None = None,
        on_progress: Callable[[str], None] | None = None,
    ) -> list[tuple[CellResult, ...]]:
        """Measure `count` rounds, and return what came of the members in each."""
        self.limits = replace(self.limits, emulated=emulated or {})
        group, found = rounds or self.rounds(), []
        for _ in range(count):
            number = group.rounds
            seen = group.measure(
                deadline=self.now + deadline_s,
                rounds_left=self.rounds_left,
                on_progress=on_progress or self.told.append,
            )
            for one in seen:
                group.add(recorded(one, number))
            found.append(seen)
        return found

    @property
    def taken(self) -> list[str]:
        """The cells of the samples, in the order in which they were taken."""
        return [line for line in self.log if " " not in line]


def _case_of(worker: PretendedWorker) -> Case:
    job = worker.requests[0]
    assert isinstance(job, Job)
    return job.case


def recorded(seen: CellResult, number: int = 0) -> Record:
    """Return the record of what a round gave."""
    return make_record(seen.case, MACHINE, seen, started=0.0, number=number)


Use = Callable[[Stage], Stage]


def blocks(seen: CellResult) -> tuple[int, ...]:
    return next((m.blocks for m in seen.outcome.measurements if m.quantity == "latency_s"), ())
