"""What tests of groups share."""

import pytest

from tests.orchestrator.pretended import Stage, Use, pretended_time


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Use:
    """Return what puts the group's clock into the hands of a stage."""

    def use(stage: Stage) -> Stage:
        monkeypatch.setattr("cnnbench.orchestrator.group.time", pretended_time(stage))
        return stage

    return use
