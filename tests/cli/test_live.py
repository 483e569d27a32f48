"""The table that fills: rows that are done, rows that are measured now, and where it is shown."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from cnnbench.analysis.shown import Table
from cnnbench.cli.live import LiveTable
from cnnbench.cli.measure import measure
from cnnbench.cli.prepare import Options
from cnnbench.orchestrator.hooks import Hooks, Live, Progress
from tests.cli.pretended import ONE, REQUEST, Pretend
from tests.made import LAST, beside, canary, case, counted, record, run, wave

NOW = Live(case=case("a", LAST), samples=7, latency_s=0.0250, low_s=0.0240, high_s=0.0262)
BEGUN = Live(case=case("b"), samples=0, latency_s=None, low_s=None, high_s=None)


def test_before_anything_is_measured_there_are_the_cells_that_are_begun() -> None:
    table = LiveTable([run(), counted("a", params=5, macs=10)]).table([BEGUN])
    assert table.cells == (("b", "eager", "cpu", "1", "infer", "measuring (0 samples)"),)
    assert table.headings == ("Model", "Variant", "Device", "Batch", "Task", "Status")


def test_rows_get_their_verdicts_as_records_come() -> None:
    live = LiveTable([run()])
    for one in (
        record(case("a"), *wave(0.05)),
        record(case("a", LAST), *wave(0.02)),
        record(beside(case("a"), "twin"), *wave(0.05, jitter=True)),
        record(beside(case("a"), "canary"), *canary()),
    ):
        live.keep(one)
    table = live.table([BEGUN])
    at = table.headings.index("Verdict")
    assert [(row[1], row[at]) for row in table.cells[:2]] == [("eager", "-"), ("channels_last", "FASTER")]
    assert table.cells[2][0] == "b"


def test_a_cell_that_is_measured_has_its_median_and_interval() -> None:
    table = LiveTable([]).table([NOW])
    assert table.cells[0][table.headings.index("Latency")] == "25.0 ms (24.0-26.2)"


class Terminal:
    """A display that remembers what it was given."""

    has_table = True

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.tables: list[Table] = []

    def tell(self, progress: Progress) -> None:
        pass

    def line(self, text: str) -> None:
        self.lines.append(text)

    def table(self, table: Table) -> None:
        self.tables.append(table)


def test_a_run_on_a_terminal_shows_the_table_and_no_line_for_what_stands_there(
    tmp_path: Path, pretend: Pretend, monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal = Terminal()

    @contextmanager
    def display() -> Iterator[Terminal]:
        yield terminal

    def act(hooks: Hooks) -> None:
        hooks.live([NOW])
        hooks.keep(ONE)
        hooks.live([BEGUN])
        hooks.keep(record(case("b"), status="failed", error="boom"))

    monkeypatch.setattr("cnnbench.cli.measure.display", display)
    pretend(act)
    measure(REQUEST, Options(command="cnnbench compare a", output=tmp_path))
    assert [[row[0] for row in table.cells] for table in terminal.tables] == [["a"], ["a", "b"]]
    assert terminal.lines == ["     failed  b eager cpu infer batch 1  boom"]
