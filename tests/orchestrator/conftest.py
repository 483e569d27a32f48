"""What tests of groups, plans and runs share."""

from types import SimpleNamespace

import pytest

from cnnbench import machine
from tests.orchestrator.fake_run import World
from tests.orchestrator.fakes import Stage, Use


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Use:
    """Return what puts the group's clock and the machine's counters into the hands of a stage."""

    def use(stage: Stage) -> Stage:
        for module in ("group", "blocks", "running_cell", "start_round"):
            pretended = SimpleNamespace(monotonic=lambda: stage.now)
            monkeypatch.setattr(f"cnnbench.orchestrator.{module}.time", pretended)
        counters = iter(stage.counters * 50)
        monkeypatch.setattr(machine, "read_counters", lambda now_s: next(counters))
        return stage

    return use


@pytest.fixture
def two_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Be on a machine with two cores."""
    monkeypatch.setattr(machine, "default_threads", lambda: 2)


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch, two_threads: None) -> World:
    """Return a machine with two cores on which runs take place."""
    del two_threads
    made = World()
    made.stand_in(monkeypatch)
    return made
