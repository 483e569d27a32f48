"""`cnnbench gate` between revisions and files of a small repository; the measurement only pretends."""

import csv
import io
import json
import sys
from pathlib import Path

import pytest

from cnnbench.cli.main import exit_code
from cnnbench.gate import history
from cnnbench.record import Run
from cnnbench.store import load
from cnnbench.workers.messages import Known
from tests.gate.fakes import Pretended
from tests.repositories import commit, git, repository

Captured = pytest.CaptureFixture[str]

NET = "from torch import nn\n\ndef make():\n    return nn.Flatten()\n"
FINE = "net.py:make eager batch 1: 0.0 % slower (at most 1.0 % slower, at 99 % confidence): PASS"
SLOW = (
    "net.py:make eager batch 1: 10.0 % slower (at least 8.6 %, at 99 % confidence), above 5 %: FAIL, "
    "and again 10.0 % slower (at least 8.9 %, at 99 % confidence), above 5 %"
)


@pytest.fixture
def top(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    made = repository(tmp_path / "repo", net=NET, deep__net=NET)
    monkeypatch.chdir(made)
    return made


@pytest.fixture
def pretended(monkeypatch: pytest.MonkeyPatch) -> Pretended:
    return Pretended(factors={"net.py:make": (1.0 + 1e-12, 1.0)}).use(monkeypatch)


def run_folder(top: Path) -> Path:
    (found,) = (top / "results").glob("2*")
    return found


def test_nothing_slower_passes(top: Path, pretended: Pretended, capsys: Captured) -> None:
    sha = git(top, "rev-parse", "HEAD")[:8]
    assert exit_code(["gate", "main", "--models", "net.py:make"]) == 0
    shown, errors = capsys.readouterr()
    assert shown.splitlines()[-3:] == [
        FINE,
        "",
        f"PASS: nothing is more than 5 % slower in the working tree than in main ({sha}).",
    ]
    folder = run_folder(top)
    assert errors.splitlines()[-1] == f"Records and reports: {folder.relative_to(top)}"
    assert (
        "1 cell, BASE and HEAD in turns. A cell that looks too slow is measured again by new processes (seed 1) and "
        "fails only if it is too slow both times."
    ) in errors
    (measured,) = pretended.measured
    assert (measured[0].total_s, measured[0].target) == (100.0, 0.0125)
    assert [len(git(top, "worktree", "list").splitlines()), pretended.pythons] == [1, [None]]


def test_a_slowdown_is_measured_once_more_and_fails(top: Path, pretended: Pretended, capsys: Captured) -> None:
    pretended.factors = {"net.py:make": (1.1, 1.1)}
    line = ["gate", "main", "--models", "net.py:make,torchvision:resnet18", "--seed", "5", "--budget", "40s"]
    assert exit_code([*line, "--output", "out"]) == 1
    shown, errors = capsys.readouterr()
    assert SLOW in shown.splitlines()
    whole = "FAIL: net.py:make eager batch 1 is worse in the working tree than in main"
    assert shown.splitlines()[-1].startswith(whole)
    assert "Too slow or broken: 1 of 2. Measuring again.\n" in errors
    (first, both), (again, one) = pretended.measured
    assert (first.total_s, again.total_s) == (40.0, 20.0)
    assert [len(both), len(one)] == [2, 1]
    assert {case.seed for group in both for case in group.cases} == {5}
    assert {case.seed for group in one for case in group.cases} == {6}
    assert len(pretended.pythons) == 2  # new fork servers


def test_what_is_slower_once_only_does_not_fail(top: Path, pretended: Pretended, capsys: Captured) -> None:
    pretended.factors = {"net.py:make": (1.1, 1.0 + 1e-12)}
    line = ["gate", "main", "--models", "net.py:make"]
    assert exit_code(line) == 0
    assert capsys.readouterr().out.splitlines()[-1].startswith("PASS: nothing is known to be more than 5 % slower")
    assert exit_code([*line, "--inconclusive", "fail", "--output", "out"]) == 1
    assert capsys.readouterr().out.splitlines()[-1] == (
        "FAIL: net.py:make eager batch 1 is inconclusive, and inconclusive cells count as failures."
    )


def test_the_threshold_can_be_chosen(top: Path, pretended: Pretended) -> None:
    pretended.factors = {"net.py:make": (1.1, 1.1)}
    assert exit_code(["gate", "main", "--models", "net.py:make", "--threshold", "15%"]) == 0
    assert pretended.measured[0][0].target == 0.0375


def test_the_run_folder_holds_records_under_names_that_last(top: Path, pretended: Pretended) -> None:
    pretended.factors = {"net.py:make": (None, None)}
    sha = git(top, "rev-parse", "HEAD")[:8]
    assert exit_code(["gate", "main", "--models", "net.py:make", "--output", "out"]) == 1
    loaded = load(top / "out")
    names = [f"net.py:make@base-{sha}", "net.py:make@head-working-tree"]
    assert [record.case.model for record in loaded.records] == names * 8
    assert [(record.case.seed, record.round) for record in loaded.records[::2]] == [
        (seed, number) for seed in (0, 1) for number in range(4)
    ]
    assert loaded.records[1].error == "net.py:make@head-working-tree broke"
    runs = [item for item in loaded.items if isinstance(item, Run)]
    assert [run.title for run in runs] == ["gate main", "gate main"]
    assert [run.wall_s is None for run in runs] == [True, False]
    files = sorted(path.name for path in (top / "out").iterdir())
    assert files == ["gate.csv", "gate.json", "gate.md", "records.jsonl"]
    assert json.loads((top / "out" / "gate.json").read_text())["failed"] is True
    assert (top / "out" / "gate.md").read_text().startswith("## cnnbench gate: FAIL\n")


def test_a_folder_that_holds_a_run_is_not_gone_on_with(top: Path, pretended: Pretended, capsys: Captured) -> None:
    line = ["gate", "main", "--models", "net.py:make", "--output", "out"]
    assert exit_code(line) == 0
    capsys.readouterr()
    assert exit_code(line) == 2
    assert capsys.readouterr().err == (
        "Error: 'out' holds a run already, and a gate cannot be resumed. Use a new --output folder.\n"
    )


def test_a_history_is_shown_and_gets_this_gate(top: Path, pretended: Pretended, capsys: Captured) -> None:
    line = ["gate", "main", "--models", "net.py:make", "--history", "kept/gates.csv"]
    assert exit_code([*line, "--output", "one"]) == 0
    assert "Earlier gates" not in capsys.readouterr().out
    assert (top / "kept" / "gates.csv").read_text() == (top / "one" / "gate.csv").read_text()
    pretended.factors = {"net.py:make": (1.1, 1.1)}
    assert exit_code([*line, "--output", "two"]) == 1
    shown = capsys.readouterr().out
    assert shown.partition("Earlier gates")[2].splitlines()[-3].split()[-4:] == ["0.0", "%", "slower", "PASS"]
    assert [one.verdict for one in history.load(top / "kept" / "gates.csv")] == ["pass", "fail"]


def test_invalid_history_is_refused_before_measuring(top: Path, pretended: Pretended, capsys: Captured) -> None:
    assert exit_code(["gate", "main", "--models", "net.py:make", "--history", "net.py"]) == 2
    assert capsys.readouterr().err.splitlines()[-1].startswith("Error: 'net.py' is not a history of gates: ")
    assert pretended.measured == []


def test_verdict_is_shown_even_if_history_is_unwritable(top: Path, pretended: Pretended, capsys: Captured) -> None:
    (top / "file").touch()
    assert exit_code(["gate", "main", "--models", "net.py:make", "--history", "file/gates.csv"]) == 1
    shown, errors = capsys.readouterr()
    assert FINE in shown
    assert errors.splitlines()[-1].startswith("Error: Cannot write 'file/gates.csv': ")


@pytest.mark.parametrize("output_format", ["markdown", "csv", "json"])
def test_the_result_in_other_formats(top: Path, pretended: Pretended, capsys: Captured, output_format: str) -> None:
    line = ["gate", "main", "--models", "net.py:make", "--output", "out", "--format", output_format]
    assert exit_code(line) == 0
    name = {"markdown": "gate.md", "csv": "gate.csv", "json": "gate.json"}[output_format]
    assert capsys.readouterr().out == (top / "out" / name).read_text()


def test_networks_are_the_same_from_any_folder(
    top: Path, pretended: Pretended, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(top / "deep")
    line = ["gate", "main", "main", "--models", f"./net.py:make,deep/net.py:make,{top}/net.py:make"]
    assert exit_code([*line, "--variants", "eager,channels_last", "--batch-size", "1,8", "--input-shape", "3x4x4"]) == 0
    assert [pair.base.partition("::")[2] for pair in pretended.asked] == ["deep/net.py:make", "net.py:make"]
    assert all("::" in pair.head and pair.head != pair.base for pair in pretended.asked)
    ((_, groups),) = pretended.measured
    conditions = [(g.cases[0].variant.name, g.cases[0].batch_size, g.cases[0].input_shape) for g in groups]
    assert conditions == [(v, b, (3, 4, 4)) for v in ("eager", "channels_last") for b in (1, 8)] * 2
    assert all(group.aa_control is None and group.control_workload is None for group in groups)


def test_what_a_side_lacks(top: Path, pretended: Pretended, capsys: Captured) -> None:
    gone = Known(model="", error="There is no file 'net.py' in HEAD.", exit_code=2, absent=True)
    pretended.lacks = {"repo::net.py:make": gone, "base::deep/net.py:make": gone}
    assert exit_code(["gate", "main", "--models", "net.py:make,deep/net.py:make,torchvision:resnet18"]) == 1
    shown = capsys.readouterr().out
    assert "net.py:make: HEAD does not have it any more: FAIL. There is no file 'net.py' in HEAD." in shown
    assert "deep/net.py:make: new in HEAD, so there is nothing to compare with: PASS" in shown
    assert [len(groups) for _, groups in pretended.measured] == [1]


def test_what_both_sides_lack_is_a_mistake(top: Path, pretended: Pretended, capsys: Captured) -> None:
    pretended.lacks = {"net.py:gone": Known(model="", error=f"No gone in {top}/net.py.", exit_code=2, absent=True)}
    assert exit_code(["gate", "main", "--models", "net.py:gone"]) == 2
    assert capsys.readouterr().err.splitlines()[-1] == "Error: No gone in net.py."
    assert not (top / "results").exists()


def test_another_input_shape_is_told(top: Path, pretended: Pretended, capsys: Captured) -> None:
    pretended.lacks = {"base::net.py:make": Known(model="", input_shape=(1, 8, 8))}
    assert exit_code(["gate", "main", "--models", "net.py:make"]) == 0
    note = "Note: net.py:make takes 1x8x8 in BASE and 3x8x8 in HEAD; both were measured at 3x8x8"
    assert note in capsys.readouterr().out.splitlines()
    assert {case.input_shape for case in pretended.measured[0][1][0].cases} == {(3, 8, 8)}


def test_an_interruption_keeps_what_was_measured(top: Path, pretended: Pretended, capsys: Captured) -> None:
    pretended.interrupt = True
    assert exit_code(["gate", "main", "--models", "net.py:make", "--output", "out"]) == 130
    assert capsys.readouterr().err.splitlines()[-2:] == [
        "The records are kept in out, but a gate cannot be resumed.",
        "Interrupted.",
    ]
    assert len(git(top, "worktree", "list").splitlines()) == 1


DIFFERS = "requirements.txt differs between main ({sha}) and the working tree"


def test_differing_requirements_are_refused_unless_option_given(
    top: Path, pretended: Pretended, capsys: Captured
) -> None:
    (top / "requirements.txt").write_text("torch\n")
    differs = DIFFERS.format(sha=git(top, "rev-parse", "HEAD")[:8])
    line = ["gate", "main", "--models", "net.py:make"]
    assert exit_code(line) == 2
    assert capsys.readouterr().err == (
        f"Error: {differs}, so in one environment, one of them would run with the wrong packages. Use --base-python "
        "PATH with the interpreter of an environment made for BASE, or use --same-environment to measure both here.\n"
    )
    assert pretended.measured == []
    assert exit_code([*line, "--same-environment", "--output", "one"]) == 0
    assert capsys.readouterr().out.splitlines()[-3] == (
        f"Note: {differs}; both were measured in this environment anyway (--same-environment)"
    )
    assert exit_code([*line, "--base-python", sys.executable, "--output", "two"]) == 0
    note = f"Note: BASE was measured in its own environment: {sys.executable}"
    assert capsys.readouterr().out.splitlines()[-3] == note
    assert pretended.pythons == [None, sys.executable]


def test_two_model_files(top: Path, pretended: Pretended, capsys: Captured) -> None:
    pretended.factors = {"deep/net.py:make": (1.1, 1.1)}
    line = ["gate", "net.py:make", "deep/net.py:make", "--input-shape", "3x4x4", "--format", "csv", "--output", "out"]
    assert exit_code(line) == 1
    (row,) = csv.DictReader(io.StringIO(capsys.readouterr().out))
    assert (row["model"], row["base"], row["head"]) == ("deep/net.py:make", "net.py:make", "deep/net.py:make")
    assert [record.case.model for record in load(top / "out").records[:2]] == ["net.py:make", "deep/net.py:make"]


ALIKE = "BASE and HEAD must be of one kind: two git revisions, or two model files FILE.py:FACTORY."


@pytest.mark.parametrize(
    ("line", "error"),
    [
        ("gate gone", "'gone' is not a revision of {top}."),
        ("gate net.py:make", ALIKE),
        ("gate main net.py:make", ALIKE),
        ("gate net.py:make net.py:make", "BASE and HEAD are both 'net.py:make'. Give two files, or two factories"),
        ("gate net.py:make net.py:mak", "Unknown factory in net.py 'mak'. Did you mean make?"),
        (
            "gate net.py:make deep/net.py:make --models net.py:make",
            "--models is only for git revisions, because a model file names its model. Leave it out.",
        ),
        ("gate main --models net.py", "'net.py' does not name a factory. Write net.py:FACTORY"),
        ("gate main --models ../x.py:make", "'../x.py' is not in the repository {top}, so there are no"),
        ("gate main --variants amd --models net.py:make", "Unknown variant 'amd'. Did you mean amp?"),
        (
            "gate main",
            "'lenet' is a built-in of cnnbench, but {top} is another repository. Name its models with --models "
            "path/in/it.py:FACTORY, and their input with --input-shape 3x32x32 (default: 3x224x224).",
        ),
    ],
)
def test_mistakes_are_answered_before_anything_is_measured(
    top: Path, pretended: Pretended, capsys: Captured, line: str, error: str
) -> None:
    assert exit_code(line.split()) == 2
    assert capsys.readouterr().err.startswith(f"Error: {error.format(top=top)}")
    assert (pretended.asked, pretended.measured) == ([], [])
    assert len(git(top, "worktree", "list").splitlines()) == 1


def test_built_ins_are_those_of_each_revision(top: Path, pretended: Pretended) -> None:
    commit(top, cnnbench__models__lenet="")
    assert exit_code(["gate", "main"]) == 0
    assert [pair.base.partition("::")[2] for pair in pretended.asked] == ["lenet", "multilayer_cnn", "mobilenet_v2"]
