"""`cnnbench report` on hand-made records: files, merging, torn lines and what cannot be reported."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from cnnbench.analysis import analyse
from cnnbench.app.write_files import FILES
from cnnbench.cli.main import exit_code
from cnnbench.record import Record, Run
from cnnbench.report import WRITERS
from cnnbench.store import Store
from tests.factories import MACHINE, case, record, run, timed, whole_run


def stored(folder: Path, items: Sequence[Record | Run]) -> Path:
    for item in items:
        Store(folder).append(item)
    return folder


def test_the_reports_of_a_run_are_rebuilt_beside_its_records(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = stored(tmp_path / "run", whole_run())
    assert exit_code(["report", str(folder)]) == 0
    assert capsys.readouterr() == (f"{folder}/report.md\n{folder}/report.csv\n{folder}/report.html\n", "")
    report = analyse(whole_run())
    files = {name: content for form in FILES for name, content in WRITERS[form].files(report).items()}
    assert sorted(path.name for path in folder.iterdir()) == sorted(["records.jsonl", *files])
    for name, content in files.items():
        assert (folder / name).read_bytes() == content


def test_a_record_file_may_be_given_and_files_and_folder_chosen(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = stored(tmp_path / "run", whole_run())
    out = tmp_path / "new" / "out"
    assert exit_code(["report", str(folder / "records.jsonl"), "--format", "csv,json,table", "-o", str(out)]) == 0
    assert capsys.readouterr() == (f"{out}/report.csv\n{out}/report.json\n{out}/report.txt\n", "")
    report = analyse(whole_run())
    for name in ("csv", "json", "table"):
        assert (out / WRITERS[name].file_name).read_bytes() == WRITERS[name].write(report).encode()
    assert [path.name for path in folder.iterdir()] == ["records.jsonl"]


def test_a_record_file_alone_is_reported_beside_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = stored(tmp_path / "run", whole_run())
    assert exit_code(["report", str(folder / "records.jsonl"), "--format", "csv"]) == 0
    assert capsys.readouterr() == (f"{folder}/report.csv\n", "")


def test_several_runs_are_merged_in_the_order_given(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    items = whole_run()
    again = [replace(item, started="2026-01-03T03:04:05Z") for item in items]
    first, second = stored(tmp_path / "a", items), stored(tmp_path / "b", again)
    assert exit_code(["report", str(first), str(second), "--format", "markdown"]) == 0
    assert capsys.readouterr() == (f"{first}/report.md\n", "")
    report = analyse(items, again)
    assert [row.rounds for row in report.rows if row.model == "resnet18"] == [8, 8, 8, None]
    assert (first / "report.md").read_bytes() == WRITERS["markdown"].files(report)["report.md"]


def test_a_run_that_is_named_twice_counts_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = stored(tmp_path / "run", whole_run())
    (tmp_path / "latest").symlink_to("run")
    assert exit_code(["report", str(folder), str(tmp_path / "latest"), "--format", "csv"]) == 0
    assert capsys.readouterr() == (f"{folder}/report.csv\n", "")
    assert (folder / "report.csv").read_bytes() == WRITERS["csv"].write(analyse(whole_run())).encode()


def test_unlike_machines_are_not_merged(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one = record(case("a"), *timed([1.0]))
    other = record(case("b"), *timed([1.0]), environment=replace(MACHINE, torch="2.12.0"))
    first, second = stored(tmp_path / "a", [one]), stored(tmp_path / "b", [other])
    assert exit_code(["report", str(first), str(second)]) == 2
    shown, errors = capsys.readouterr()
    assert shown == ""
    assert "torch" in errors
    assert "2.11.0" in errors
    assert "2.12.0" in errors
    assert not (first / "report.md").exists()


def test_a_torn_line_is_noted_and_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = stored(tmp_path / "run", whole_run())
    file = folder / "records.jsonl"
    lines = len(file.read_bytes().splitlines())
    with file.open("ab") as handle:
        handle.write(b'{"record":{"ca')
    before = file.read_bytes()
    assert exit_code(["report", str(folder)]) == 0
    assert capsys.readouterr() == (
        f"{folder}/report.md\n{folder}/report.csv\n{folder}/report.html\n",
        f"Note: '{file}', line {lines + 1}, the last one, is incomplete: the run was interrupted while writing it. "
        "It is left out; resume the run to measure its case again.\n",
    )
    assert (folder / "report.csv").read_bytes() == WRITERS["csv"].write(analyse(whole_run())).encode()
    assert file.read_bytes() == before


def test_a_run_that_measured_nothing_is_no_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = stored(tmp_path / "run", [run()])
    assert exit_code(["report", str(folder)]) == 2
    assert capsys.readouterr() == (
        "",
        "Error: No case has been measured yet, so there is nothing to report. Resume the run to measure them.\n",
    )


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = stored(tmp_path / "run", whole_run())
    taken = tmp_path / "taken"
    taken.touch()
    assert exit_code(["report", str(folder), "--output", str(taken)]) == 1
    assert capsys.readouterr() == (
        "",
        f"Error: Cannot write into '{taken}': File exists. The records are not touched.\n",
    )
