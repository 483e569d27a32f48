"""What bench/trust.py keeps of runs and how it sums them up, from made records."""

import importlib
import json
from argparse import Namespace
from datetime import datetime
from pathlib import Path
from types import ModuleType

import pytest

from cnnbench.analysis import analyse
from cnnbench.record import Record, Run
from tests.factories import LAST, beside, case, record, run, timed

BENCH = Path(__file__).parent.parent / "bench"
BEGIN = datetime.fromisoformat("2026-01-02T03:04:00Z").timestamp()


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(BENCH)
    return importlib.import_module("trust_runs")


@pytest.fixture
def trust(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(BENCH)
    return importlib.import_module("trust")


def two_models() -> list[Record | Run]:
    """Return a run of six rounds of a model in two variants with its A/A control, and of a line-up."""
    a, b = case("a"), case("b")
    found: list[Record | Run] = [run()]
    for number, off in enumerate((1.0, 1.01, 0.99, 1.002, 0.998, 1.005)):
        times = {a: 0.01, case("a", LAST): 0.005 * off, beside(a, "aa_control"): 0.01 * off}
        times |= {b: 0.02, beside(a, "lineup"): 0.01, beside(b, "lineup"): 0.02 * off}
        found += [record(one, *timed([t, t]), number=number) for one, t in times.items()]
    found.append(record(case("c"), status="invalid", error="busy", started="2026-01-02T03:04:20Z"))
    return [*found, run(wall_s=50.0, passes_s=25.0, compile_s=0.0)]


def test_first_table_stands_once_every_timed_cell_has_record(runs: ModuleType) -> None:
    records = [one for one in two_models() if isinstance(one, Record)]
    assert runs.first_table_s(records[:5], BEGIN) == 9.5  # begun after 5 s, 4.5 s long
    assert runs.first_table_s(records, BEGIN) == 24.5


def test_a_run_says_its_ratios_rounds_verdicts_and_controls(runs: ModuleType) -> None:
    said = runs.said(analyse(two_models()))
    eager, last, b, c = said["rows"]
    assert (eager["row"], eager["rounds"], eager["verdict"]) == ("a eager cpu infer batch 1", 6, None)
    assert (last["rounds"], last["verdict"], b["status"], c["status"]) == (6, "FASTER", "ok", "invalid")
    assert last["ratio"][0] == pytest.approx(2.0, rel=0.01)
    assert [one["model"] for one in said["lineups"]] == ["a", "b"]
    assert said["lineups"][1]["ratio"][0] == pytest.approx(2.0, rel=0.01)
    assert (said["lineups"][0]["ratio"], said["lineups"][1]["tied_with"]) == (None, None)
    assert [(one["row"], one["excludes"]) for one in said["aa_controls"]] == [("a eager cpu infer batch 1", False)]
    assert (said["passes_share"], said["busy"]) == (0.5, None)


def test_runs_are_summed_up(
    trust: ModuleType, runs: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = {"exit": 0, "took_s": 61.5, "first_table_s": 12.5, "wall_s": 62.0, **runs.said(analyse(two_models()))}
    file = tmp_path / "compare.jsonl"
    file.write_text(f"{json.dumps(kept)}\n" * 2, encoding="utf-8")
    trust.summary([file])
    lines = capsys.readouterr().out.splitlines()
    assert lines[:9] == [
        "compare.jsonl: 2 runs",
        "  first table after 12.5 s",
        "  end after 61.5 s",
        "  busy headline in 0 runs",
        "  rows: 6 ok, 2 invalid; 0 with a warning",
        "  verdicts: 2 FASTER",
        "  beyond 10%: 2, 0 of them NOT DISTINGUISHABLE",
        "  A/A: 0 of 2 exclude 1",
        "  inside passes 50 % of the time, compiling apart",
    ]
    assert lines[9].startswith("  a channels_last cpu infer batch 1: median ")
    assert lines[9].endswith(" %; rounds 6; 2 FASTER")
    assert [line.partition(":")[0] for line in lines[10:]] == ["  fastest / b", "  A/A a eager cpu infer batch 1"]


def test_a_file_is_gone_on_with_and_each_run_is_a_line(
    trust: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = []

    def slower(options: Namespace, file: Path) -> dict[str, object]:
        asked.append(file.read_text(encoding="utf-8"))
        return {"verdict": "SLOWER", "speedup": 0.9 + len(asked) / 100}

    monkeypatch.setitem(trust.ACTIONS, "slower", slower)
    file = tmp_path / "slower.jsonl"
    file.write_text('{"verdict": "SAME", "speedup": 0.98, "wall_s": 30.0}\n', encoding="utf-8")
    trust.measure(Namespace(what="slower", percent=10, runs=3, output=file))
    assert ["Repeated(100 + 10)" in models for models in asked] == [True, True]
    kept = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    assert [one["speedup"] for one in kept] == [0.98, 0.91, 0.92]
    assert capsys.readouterr().out.splitlines()[-2:] == [
        "  0 s each: 1 SAME, 2 SLOWER",
        "  ours  median 0.920, 0.910 to 0.980, standard deviation 4.00 %",
    ]
