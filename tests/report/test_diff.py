"""Two runs side by side in every format: exact texts, and what hostile texts must not become."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from dataclasses import replace

import pytest

from cnnbench.analysis.diff import Diff, diff
from cnnbench.record import Record, Run
from cnnbench.report.diff import COLUMNS, DIFF_WRITERS
from tests.factories import (
    AMP,
    COMPILE,
    LAST,
    MACHINE,
    STEADY,
    beside,
    case,
    counted,
    in_rounds,
    judged,
    once,
    record,
    run,
    wave,
)

FILES = {"table": "diff.txt", "markdown": "diff.md", "csv": "diff.csv", "json": "diff.json"}


def side(*, slower: float = 1.0, params: int = 61_706, correct: int = 9_123, breaks: int = 0) -> list[Record | Run]:
    """Return a run of two models, one of them compiled as well."""
    net, last = case("lenet"), case("lenet", LAST)
    return [
        run(started="2026-01-02T03:04:00+00:00"),
        counted("lenet", params=params, macs=416_520),
        *in_rounds(net, 0.000231 * slower),
        *in_rounds(last, 0.0002, (1.002, 1.0, 0.997, 1.003)),
        record(beside(net, "memory"), once("peak_memory_bytes", 2**20 * slower)),
        *in_rounds(case("lenet", COMPILE), 0.0001, STEADY, once("compile_s", 20.5), once("graph_breaks", breaks)),
        judged("lenet", correct, 10_000),
    ]


def changed() -> Diff:
    """Return a comparison with every kind of change, under another torch."""
    head = [
        replace(item, environment=replace(MACHINE, torch="2.12.0")) if isinstance(item, Record) else item
        for item in side(slower=1.2, params=61_806, correct=9_023, breaks=2)
    ]
    newer = replace(MACHINE, torch="2.12.0")
    base = [*side(), record(case("lenet", AMP), *wave(0.0003)), record(case("=old|<b>"), status="oom", error="Full.")]
    head += [record(case("lenet", AMP), status="failed", error="boom", environment=newer)]
    head += [record(case("new"), *wave(0.5), environment=newer)]
    return diff(("results/a", base), ("results/b", head), allow=("torch",))


@pytest.mark.parametrize("name", list(FILES))
def test_the_text_is_the_expected_one(name: str, is_golden: Callable[[str, str], bool]) -> None:
    assert is_golden(FILES[name], DIFF_WRITERS[name](changed()))


@pytest.mark.parametrize("name", list(FILES))
def test_there_is_never_a_verdict(name: str) -> None:
    text = DIFF_WRITERS[name](changed())
    assert "FASTER" not in text
    assert "SLOWER" not in text


@pytest.mark.parametrize("name", ["table", "markdown", "json"])
def test_it_says_that_the_runs_were_not_measured_together(name: str) -> None:
    text = DIFF_WRITERS[name](changed())
    assert "not measured together" in text
    assert "cnnbench gate BASE HEAD" in text


def test_csv_has_every_digit_and_no_formula() -> None:
    rows = list(csv.DictReader(io.StringIO(DIFF_WRITERS["csv"](changed()))))
    assert tuple(rows[0]) == COLUMNS
    latency = next(row for row in rows if row["quantity"] == "latency_s")
    assert float(latency["ratio"]) == float(latency["head"]) / float(latency["base"])
    assert float(latency["ratio_low"]) == float(latency["head_low"]) / float(latency["base_high"])
    alone = [(row["model"], row["base"], row["head"]) for row in rows if row["quantity"] == "row"]
    assert alone == [("'=old|<b>", "oom", ""), ("new", "", "ok")]


def test_markdown_shows_hostile_names_as_they_are() -> None:
    assert "Only in BASE: =old\\|&lt;b&gt; eager cpu infer batch 1 (oom)." in DIFF_WRITERS["markdown"](changed())


def test_runs_without_changes_say_so() -> None:
    same = diff(("a", side()), ("b", side()))
    assert DIFF_WRITERS["table"](same).splitlines()[-1] == "0 changes; 3 rows are in both."
    parsed = json.loads(DIFF_WRITERS["json"](same))
    assert (parsed["changes"], parsed["unlike"], parsed["rows"]) == ([], [], 3)
    assert DIFF_WRITERS["csv"](same) == f"{','.join(COLUMNS)}\n"
