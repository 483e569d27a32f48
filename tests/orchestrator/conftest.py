"""What tests of groups, plans and runs share."""

from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace

import pytest

from cnnbench import machine
from cnnbench.record import Environment
from cnnbench.spec import Request, Shape
from tests.orchestrator.pretended import Stage, Use
from tests.orchestrator.world import World


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Use:
    """Return what puts the group's clock and the machine's counters into the hands of a stage."""

    def use(stage: Stage) -> Stage:
        for module in ("group", "blocks", "cell"):
            pretended = SimpleNamespace(monotonic=lambda: stage.now)
            monkeypatch.setattr(f"cnnbench.orchestrator.{module}.time", pretended)
        counters = iter(stage.counters)
        monkeypatch.setattr(machine, "read_counters", lambda now_s: next(counters))
        return stage

    return use


@pytest.fixture
def two_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Be on a machine with two cores."""
    monkeypatch.setattr(machine, "default_threads", lambda: 2)


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    """Return a machine with two cores on which runs take place."""
    made = World()

    @contextmanager
    def hosting(_: Request) -> Iterator[World]:
        yield made

    def ask(_: object, __: object) -> tuple[Environment, dict[str, Shape]]:
        return made.environment, {}

    monkeypatch.setattr(machine, "usable_cores", lambda: 2)
    pretended = {
        "hosting": hosting,
        "ask": ask,
        "measure_group": made.measure_group,
        "train_case": made.train_case,
        "find_ceilings": lambda *_, **__: None,
        "measured_ceilings": made.measured_ceilings,
        "memory_limit": lambda: 123,
        "limit_of": lambda _: 123,
        "time": SimpleNamespace(monotonic=lambda: made.now, time=lambda: made.now),
    }
    for name, stand_in in pretended.items():
        monkeypatch.setattr(f"cnnbench.orchestrator.run.{name}", stand_in)
    return made
