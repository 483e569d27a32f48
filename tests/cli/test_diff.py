"""`cnnbench diff` on stored runs: folders and files, allowed conditions, formats and refusals."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from cnnbench.cli.main import exit_code
from cnnbench.record import Record
from cnnbench.store import Store
from tests.factories import MACHINE, case, in_rounds

OLD, NEW = in_rounds(case("net"), 0.01), in_rounds(case("net"), 0.02)
NEWER = replace(MACHINE, torch="2.12.0", cores=4)


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def stored(name: str, *records: Record) -> None:
    for item in records:
        Store(Path(name)).append(item)


def test_two_runs_side_by_side(capsys: pytest.CaptureFixture[str]) -> None:
    stored("a", *OLD)
    stored("b", *NEW)
    assert exit_code(["diff", "a", "b/records.jsonl"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert out.splitlines() == [
        "BASE: a, Benchmark, 2026-01-02 03:04:05 UTC",
        "HEAD: b/records.jsonl, Benchmark, 2026-01-02 03:04:05 UTC",
        "BASE and HEAD were not measured together, so changes of the machine affect every ratio of times, and no "
        "interval covers them. For a verdict, measure both in one job: cnnbench gate BASE HEAD.",
        "",
        "Row                          Quantity                   BASE                 HEAD           HEAD / BASE",
        "---------------------------  ----------  -------------------  -------------------  --------------------",
        "net eager cpu infer batch 1  latency_s   10.1 ms (10.0-10.1)  20.1 ms (20.0-20.2)  2.000x (1.984-2.016)",
        "",
        "1 change; 1 row is in both.",
        "Brackets hold 95 % intervals. The interval of a ratio is the widest that both allow, so it holds in at least "
        "90 % of cases.",
    ]


def test_what_has_not_changed_is_shown_when_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    stored("a", *OLD)
    assert exit_code(["diff", "a", "a", "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["changes"] == []
    assert exit_code(["diff", "a", "a", "--all", "--format", "json"]) == 0
    (change,) = json.loads(capsys.readouterr().out)["changes"]
    assert (change["quantity"], change["changed"], change["ratio"]["center"]) == ("latency_s", False, 1.0)


def test_unlike_conditions_are_refused_until_they_are_allowed(capsys: pytest.CaptureFixture[str]) -> None:
    stored("a", *OLD)
    stored("b", *(replace(one, environment=NEWER) for one in NEW))
    assert exit_code(["diff", "a", "b"]) == 2
    assert capsys.readouterr() == (
        "",
        "Error: BASE and HEAD were measured under unlike conditions: torch is '2.11.0' and '2.12.0'; cores is 2 and 4. "
        "Measure both under the same conditions, or compare them anyway with --allow torch,cores.\n",
    )
    assert exit_code(["diff", "a", "b", "--allow", "torch"]) == 2
    assert "torch is" not in capsys.readouterr().err
    banner = [
        "UNLIKE CONDITIONS, allowed by --allow: torch is '2.11.0' and '2.12.0'.",
        "UNLIKE CONDITIONS, allowed by --allow: cores is 2 and 4.",
    ]
    for allow in (["--allow", "torch,cores"], ["--allow", "torch", "--allow", "cores"]):
        assert exit_code(["diff", "a", "b", *allow]) == 0
        assert capsys.readouterr().out.splitlines()[2:4] == banner
    assert exit_code(["diff", "a", "b", "--allow", "torch,cores", "--format", "csv"]) == 0
    out, err = capsys.readouterr()
    assert err.splitlines()[:2] == [f"Note: {line}" for line in banner]
    assert out.startswith("model,variant,device,batch_size,task,quantity,base,")


def test_an_unknown_condition_is_answered_with_close_ones(capsys: pytest.CaptureFixture[str]) -> None:
    stored("a", *OLD)
    assert exit_code(["diff", "a", "a", "--allow", "thread"]) == 2
    assert capsys.readouterr() == ("", "Error: Unknown condition 'thread'. Did you mean threads?\n")


def test_what_is_no_run_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    stored("a", *OLD)
    assert exit_code(["diff", "a", "gone"]) == 2
    assert capsys.readouterr().err.startswith("Error: 'gone' does not exist. Give a run folder or a records.jsonl; ")


def test_a_torn_line_is_noted(capsys: pytest.CaptureFixture[str]) -> None:
    stored("a", *OLD)
    with Path("a/records.jsonl").open("ab") as handle:
        handle.write(b'{"record":{"ca')
    assert exit_code(["diff", "a", "a", "--format", "json"]) == 0
    assert "line 5, the last one, is incomplete" in capsys.readouterr().err
