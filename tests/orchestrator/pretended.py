"""Workers that only pretend, and a clock that they move: a group can be measured without a process or a second."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import cast

from cnnbench.orchestrator.group import Limits, Seen, measure_group
from cnnbench.orchestrator.host import Host
from cnnbench.orchestrator.messages import Built, Failure, Job, Ready, Reply, Request, Take, Taken, Warm
from cnnbench.orchestrator.planning import Group
from cnnbench.record import Caution
from cnnbench.runners.sampling import Sample, SampleShape
from cnnbench.spec import Case
from tests.made import AMP, LAST, case

READY = Ready(first_call_s=0.5, warmup_s=0.25, iteration_s=1.0, shape=SampleShape(rewarm=1, readings=2, group=3))
BOOM = Failure(status="failed", error="ValueError: boom (net.py:3)")
SILENT = Failure(status="timeout", error="no answer within 10 s")


def sample(latency_s: float, *phases_s: float) -> Sample:
    return Sample(
        latency_s=latency_s,
        sample_s=2 * latency_s,
        rewarm_s=0.125,
        tail_s=0.0,
        iterations_s=(latency_s, latency_s + 1),
        phases_s=phases_s,
    )


@dataclass
class Script:
    """What a pretended worker answers: to its job, to warming up, to each sample from the first on (then the last)."""

    built: Reply = field(default_factory=Built)
    ready: Reply = READY
    latencies: Sequence[float | Failure] = (1.0,)
    take_s: float = 0.5
    warm_s: float = 0.0


@dataclass
class Time:
    now: float = 1000.0


class PretendedWorker:
    def __init__(self, script: Script, time: Time, log: list[str]) -> None:
        self.script, self.time, self.log = script, time, log
        self.requests: list[Request] = []
        self.waits: list[float] = []
        self.closed = 0

    def send(self, request: Request) -> None:
        self.requests.append(request)

    def receive(self, timeout_s: float) -> Reply:
        self.waits.append(timeout_s)
        request = self.requests[-1]
        if isinstance(request, Job):
            self.log.append(f"build {request.case.variant.name}")
            return self.script.built
        if isinstance(request, Warm):
            self.log.append(f"warm {self.name}")
            self.time.now += self.script.warm_s
            return self.script.ready
        assert isinstance(request, Take)
        self.log.append(self.name)
        self.time.now += self.script.take_s
        at = sum(isinstance(r, Take) for r in self.requests) - 1
        given = self.script.latencies[min(at, len(self.script.latencies) - 1)]
        return given if isinstance(given, Failure) else Taken(sample=sample(given))

    def close(self) -> None:
        self.closed += 1

    @property
    def name(self) -> str:
        job = self.requests[0]
        assert isinstance(job, Job)
        return job.case.variant.name


class Stage:
    """Pretended workers for eager, channels_last and amp, as many as there are scripts, and a clock that they move."""

    def __init__(self, *scripts: Script, device: str = "cpu") -> None:
        self.time, self.log, self.told = Time(), list[str](), list[str]()
        self.workers = [PretendedWorker(script, self.time, self.log) for script in scripts]
        variants = (case("net").variant, LAST, AMP)[: len(scripts)]
        self.cases = [case("net", v, device="cuda" if device == "cuda" else "cpu") for v in variants]

    def measure(
        self,
        *,
        sampling_s: float = 60.0,
        deadline_s: float = 600.0,
        launch: int = 0,
        emulated: Mapping[Case, str] | None = None,
        tell: Callable[[str], None] | None = None,
    ) -> tuple[Seen, ...]:
        free = iter(self.workers)
        limits = Limits(
            sampling_s=sampling_s,
            deadline=self.time.now + deadline_s,
            scratch="/scratch",
            memory_bytes=123,
            warm_cap_s=4.0,
            emulated=emulated or {},
        )
        host = cast("Host", SimpleNamespace(start=lambda: next(free)))
        group = Group(cases=tuple(self.cases))
        return measure_group(host, group, limits, launch=launch, tell=tell or self.told.append)

    @property
    def taken(self) -> list[str]:
        return [line for line in self.log if " " not in line]


Use = Callable[[Stage], Stage]


def blocks(seen: Seen) -> tuple[int, ...]:
    return next(m.blocks for m in seen.outcome.measurements if m.quantity == "latency_s")


def wide(by: str) -> Caution:
    """Return the caution of a cell that is not precise enough."""
    return Caution(
        code="precision_not_reached",
        fact=f"the interval is wider than asked for when the budget is spent ({by})",
        advice="Give it a larger --budget.",
    )


def pretended_time(stage: Stage) -> SimpleNamespace:
    """Return what stands in for the module `time` while `stage` is measured."""
    return SimpleNamespace(monotonic=lambda: stage.time.now)
