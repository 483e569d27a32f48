"""What tests of sessions and of the command line share."""

from collections.abc import Callable

import pytest

from cnnbench.orchestrator.events import Hooks, TimeSpent
from cnnbench.spec import Request
from tests.app.fakes import Act


@pytest.fixture
def pretend(monkeypatch: pytest.MonkeyPatch) -> Callable[[Act], None]:
    """Return what puts a function in the place of the run."""

    def use(act: Act) -> None:
        class Pretended:
            def __init__(self, request: Request, hooks: Hooks, names: tuple[str, ...], *, spent_s: float = 0.0) -> None:
                self.hooks = hooks

            def run(self) -> None:
                act(self.hooks)

            def time_spent(self) -> TimeSpent:
                return TimeSpent(wall_s=4.0, passes_s=3.0, compile_s=0.0)

        monkeypatch.setattr("cnnbench.app.session.BenchmarkRun", Pretended)

    return use
