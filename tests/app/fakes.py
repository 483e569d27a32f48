"""Runs that only pretend: functions in the place of the run that `measure` starts."""

from collections.abc import Callable

from cnnbench.orchestrator.events import Hooks
from cnnbench.record import Record
from cnnbench.spec import Budget, Request, Section
from tests.factories import case, record, timed

REQUEST = Request(
    title="compare a",
    sections=(Section(models=("a",)),),
    budget=Budget(total_s=60.0, timeout_s=120.0),
)
ONE = record(case("a"), *timed([0.5, 0.25, 0.75]))

Act = Callable[[Hooks], None]


Pretend = Callable[[Act], None]


def recording(*records: Record) -> Act:
    def act(hooks: Hooks) -> None:
        for one in records:
            hooks.on_record(one)

    return act


def interrupted_after(*records: Record) -> Act:
    def act(hooks: Hooks) -> None:
        recording(*records)(hooks)
        raise KeyboardInterrupt

    return act
