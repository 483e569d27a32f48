"""The table that fills: its rows, when it is made anew, and where it is shown."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from cnnbench.app.live_table import LiveTable
from cnnbench.app.prepare import Options
from cnnbench.app.session import measure
from cnnbench.orchestrator.events import Hooks, Progress
from cnnbench.report.text.table import Table
from tests.app.fakes import ONE, REQUEST, Pretend
from tests.factories import LAST, beside, case, control_workload, counted, record, run, wave

CELLS = (
    record(case("a"), *wave(0.05)),
    record(case("a", LAST), *wave(0.02)),
    record(beside(case("a"), "aa_control"), *wave(0.05, jitter=True)),
    record(beside(case("a"), "control_workload"), *control_workload()),
)


class Clock:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_before_anything_is_timed_the_table_is_empty() -> None:
    table = LiveTable([run(), counted("a", params=5, macs=10)]).next_table()
    assert table is not None
    assert table.cells == ()


def test_rows_get_their_verdicts_as_rounds_come() -> None:
    live = LiveTable([run()], Clock())
    for number in range(3):
        for one in CELLS:
            live.add(replace(one, round=number))
    table = live.next_table()
    assert table is not None
    at = table.headings.index("Verdict")
    assert [(row[1], row[at]) for row in table.cells] == [("eager", "-"), ("channels_last", "FASTER")]


def test_the_table_is_made_anew_a_second_later_at_the_earliest() -> None:
    clock = Clock()
    live = LiveTable([run(), *CELLS], clock)
    assert live.next_table() is not None
    assert live.next_table() is None  # nothing is new
    live.add(replace(CELLS[0], round=1))
    assert live.next_table() is None
    clock.now += 1.0
    assert live.next_table() is not None


class Slow(Clock):
    """A clock that moves by some seconds each time it is looked at."""

    def __init__(self, by_s: float) -> None:
        super().__init__()
        self.by_s = by_s

    def __call__(self) -> float:
        self.now += self.by_s
        return self.now


@pytest.mark.parametrize(("waits_s", "shown"), [(23.0, False), (26.0, True)])
def test_a_table_that_takes_long_takes_a_fiftieth(waits_s: float, *, shown: bool) -> None:
    clock = Slow(0.5)  # which is how long the table takes then: 25 s of waiting
    live = LiveTable([run(), *CELLS], clock)
    assert live.next_table() is not None
    live.add(replace(CELLS[0], round=1))
    clock.now += waits_s
    assert (live.next_table() is not None) is shown


def test_what_came_while_it_was_too_early_is_shown_later() -> None:
    clock = Clock()
    live = LiveTable([run()], clock)
    live.next_table()
    live.add(CELLS[0])
    assert live.next_table() is None
    clock.now += 1.0
    table = live.next_table()
    assert table is not None
    assert [row[:2] for row in table.cells] == [("a", "eager")]
    assert live.next_table() is None


class Terminal:
    """A display that remembers what it was given."""

    has_table = True

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.tables: list[Table] = []

    def on_progress(self, progress: Progress) -> None:
        pass

    def line(self, text: str) -> None:
        self.lines.append(text)

    def table(self, table: Table) -> None:
        self.tables.append(table)


def test_terminal_run_shows_table_and_prints_only_failures(
    tmp_path: Path, pretend: Pretend, monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal = Terminal()

    @contextmanager
    def display() -> Iterator[Terminal]:
        yield terminal

    def act(hooks: Hooks) -> None:
        hooks.on_record(ONE)
        hooks.on_progress(Progress(text="round 2: a", elapsed_s=1.0, remaining_s=9.0))
        hooks.on_record(record(case("b"), status="failed", error="boom"))

    monkeypatch.setattr("cnnbench.app.session.display", display)
    pretend(act)
    measure(REQUEST, Options(command="cnnbench compare a", output=tmp_path))
    assert [[row[0] for row in table.cells] for table in terminal.tables] == [["a"]]
    assert terminal.lines == ["     failed  b eager cpu infer batch 1  boom"]
