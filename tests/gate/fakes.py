"""Gates that only pretend to measure: HEAD takes as much longer as a test says, or breaks."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import pytest

from cnnbench.gate.measure import Deadline, SidePair, Sides
from cnnbench.orchestrator.events import Hooks, Progress
from cnnbench.orchestrator.plan import Group
from cnnbench.spec import Request
from cnnbench.workers.messages import Known
from tests.factories import MACHINE
from tests.gate.records import two

Factors = Mapping[str, tuple[float | None, ...]]


@dataclass
class Pretended:
    """`factors`: for a model's name as the gate is asked for it, what HEAD takes in the first measurement and again.

    None: HEAD fails. `lacks`: what a side does not have, by the end of the name that builds it, with the error.
    """

    factors: Factors = field(default_factory=dict)
    lacks: Mapping[str, Known] = field(default_factory=dict)
    interrupt: bool = False
    requests: list[Request] = field(default_factory=list)
    pythons: list[str | None] = field(default_factory=list)
    asked: list[SidePair] = field(default_factory=list)
    measured: list[tuple[Deadline, tuple[Group, ...]]] = field(default_factory=list)

    @contextmanager
    def hosting_sides(self, request: Request, python: str | None) -> Iterator[object]:
        self.requests.append(request)
        self.pythons.append(python)
        yield object()

    def look(self, _: object, pairs: Sequence[SidePair]) -> Sides:
        self.asked += pairs
        names = [name for pair in pairs for name in (pair.base, pair.head)]
        return Sides(base=MACHINE, head=MACHINE, known={name: self._known(name) for name in names})

    def measure_sides(self, _: object, __: Sides, groups: Sequence[Group], times: Deadline, hooks: Hooks) -> None:
        self.measured.append((times, tuple(groups)))
        for group in groups:
            hooks.on_progress(Progress(text=f"{group.cases[0].label()}: building", elapsed_s=0.0, remaining_s=1.0))
            if self.interrupt:
                raise KeyboardInterrupt
            time = group.cases[0].seed - self.requests[-1].seed
            factor = self.factor(group.cases[1].model, time)
            for at, one in enumerate(two(factor or 1.0, time=time)):
                case = group.cases[at % 2]
                failed = factor is None and at % 2 == 1
                gone = {"measurements": (), "status": "failed", "error": f"{case.model} broke"}
                hooks.on_record(replace(one, case=case, **(gone if failed else {})))  # type: ignore[arg-type]

    def factor(self, built: str, time: int) -> float | None:
        """Return what HEAD takes in the measurement numbered `time`: 0 is the first, 1 the one again."""
        return next((f[time] for name, f in self.factors.items() if built.endswith(name)), 1.0)

    def _known(self, name: str) -> Known:
        lack = next((known for end, known in self.lacks.items() if name.endswith(end)), None)
        return Known(model=name, input_shape=(3, 8, 8)) if lack is None else replace(lack, model=name)

    def use(self, patch: pytest.MonkeyPatch) -> "Pretended":
        for name in ("hosting_sides", "look", "measure_sides"):
            patch.setattr(f"cnnbench.gate.session.{name}", getattr(self, name))
        return self
