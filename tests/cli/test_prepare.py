"""Before a run: checks of the output, cut threads, the reference's spelling, dry runs in every format."""

import json
import runpy
from dataclasses import replace
from pathlib import Path

import pytest

from cnnbench import api
from cnnbench.cli import compare
from cnnbench.cli.main import exit_code
from cnnbench.cli.prepare import Options, canonical, check, show_dry_run, tell_cut_threads
from cnnbench.orchestrator.planning import Group, Plan, Refused
from cnnbench.report import WRITERS, Writer
from cnnbench.spec import Request, UsageError
from tests.cli.pretended import REQUEST, Pretend, keep
from tests.made import AMP, LAST, case, record, timed

CASES = (case("a"), case("a", LAST, task="train", batch_size=8))
TIME = "2 cells, 3 launches, 1 training on digits; takes about 1 min 15 s. Nothing was measured."


@pytest.fixture
def planned(monkeypatch: pytest.MonkeyPatch) -> list[Request]:
    """Let every plan hold the same cells, and return the list of requests that plans were made of."""
    seen: list[Request] = []

    def plan_only(request: Request, names: tuple[str, ...]) -> tuple[Plan, float]:
        seen.append(request)
        plan = Plan(
            request=replace(request, accuracy="digits", budget=replace(request.budget, launches=3)),
            complexity=(),
            groups=(Group(cases=CASES),),
            memory=(),
            numerics=(),
            layers=(),
            accuracy=(case("a", task="accuracy", dataset="digits"),),
            refused=(Refused(case=case("a", AMP), reason="no bf16"),),
            emulated={CASES[1]: "slow"},
        )
        return plan, 75.0

    monkeypatch.setattr("cnnbench.cli.prepare.plan_only", plan_only)
    return seen


SHOWN = {
    "table": (
        "model    variant        device    task    batch    note\n"
        "-------  -------------  --------  ------  -------  --------------------\n"
        "a        eager          cpu       infer   1\n"
        "a        channels_last  cpu       train   8        slow\n"
        "a        amp            cpu       infer   1        unsupported: no bf16\n"
        f"\n{TIME}\n",
        "",
    ),
    "markdown": (
        "| model   | variant       | device   | task   | batch   | note                 |\n"
        "|---------|---------------|----------|--------|---------|----------------------|\n"
        "| a       | eager         | cpu      | infer  | 1       |                      |\n"
        "| a       | channels_last | cpu      | train  | 8       | slow                 |\n"
        "| a       | amp           | cpu      | infer  | 1       | unsupported: no bf16 |\n"
        f"\n{TIME}\n",
        "",
    ),
    "csv": (
        "model,variant,device,task,batch,note\n"
        "a,eager,cpu,infer,1,\na,channels_last,cpu,train,8,slow\na,amp,cpu,infer,1,unsupported: no bf16\n",
        f"{TIME}\n",
    ),
}


@pytest.mark.parametrize(("output_format", "expected"), SHOWN.items())
@pytest.mark.usefixtures("planned")
def test_a_dry_run_shows_cells_and_time(
    output_format: str, expected: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    show_dry_run(REQUEST, output_format)
    assert capsys.readouterr() == expected


@pytest.mark.usefixtures("planned")
def test_a_dry_run_in_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code(["compare", "lenet", "--dry-run", "--format", "json"]) == 0
    out, err = capsys.readouterr()
    names = ("model", "variant", "device", "task", "batch", "note")
    rows = [
        ("a", "eager", "cpu", "infer", 1, None),
        ("a", "channels_last", "cpu", "train", 8, "slow"),
        ("a", "amp", "cpu", "infer", 1, "unsupported: no bf16"),
    ]
    assert json.loads(out) == [dict(zip(names, row, strict=True)) for row in rows]
    assert err == f"{TIME}\n"


def test_the_reference_is_spelt_as_in_records() -> None:
    assert canonical(replace(REQUEST, reference="a/compile+channels_last")).reference == "a/channels_last+compile"
    assert canonical(REQUEST) == REQUEST


@pytest.mark.parametrize("line", ["compare lenet --dry-run", "run full --dry-run", "run full"])
def test_every_plan_is_made_with_the_reference_so_spelt(
    line: str, planned: list[Request], pretend: Pretend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    pretend(keep(record(case("lenet"), *timed([0.5]))))
    exit_code([*line.split(), "--reference", "lenet/compile+channels_last"])
    assert [request.reference for request in planned] == ["lenet/channels_last+compile"]


def test_the_api_spells_the_reference_so_too(monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(request: Request, options: Options) -> None:
        raise UsageError(str(request.reference))

    monkeypatch.setattr("cnnbench.api.check", stop)
    with pytest.raises(UsageError) as caught:
        api.compare(["lenet"], reference="lenet/compile+channels_last")
    assert str(caught.value) == "lenet/channels_last+compile"


NO_FOLDER = "Give a folder: records.jsonl and the reports are written into it."


@pytest.mark.parametrize(
    ("output", "why"),
    [
        ("taken", "'{}/taken' is a file"),
        ("taken/in/it", "'{}/taken' is a file"),
        ("x.jsonl", "that is the name of a record file"),
    ],
)
def test_an_output_that_can_be_no_folder_is_refused(output: str, why: str, tmp_path: Path) -> None:
    (tmp_path / "taken").touch()
    request = replace(REQUEST, sections=())
    with pytest.raises(UsageError) as caught:
        check(request, Options(command="", output=tmp_path / output))
    assert str(caught.value) == f"Output '{tmp_path / output}': {why.format(tmp_path)}. {NO_FOLDER}"
    check(request, Options(command="", output=tmp_path / "new" / "one"))


@pytest.mark.parametrize(
    ("threads", "said"),
    [(None, ""), (2, ""), (3, "Note: 3 threads are cut to 2, which is what can be used here.\n")],
)
def test_threads_that_are_cut_are_told(
    threads: int | None, said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("cnnbench.machine.default_threads", lambda: 2)
    tell_cut_threads(replace(REQUEST, threads=threads))
    assert capsys.readouterr() == ("", said)


@pytest.mark.usefixtures("planned")
def test_a_command_tells_that_threads_are_cut(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("cnnbench.machine.default_threads", lambda: 2)
    assert exit_code(["compare", "lenet", "--threads", "9", "--dry-run"]) == 0
    assert capsys.readouterr().err == "Note: 9 threads are cut to 2, which is what can be used here.\n"


def test_the_formats_are_those_that_have_a_writer(monkeypatch: pytest.MonkeyPatch) -> None:
    def write(report: object) -> str:
        return ""

    monkeypatch.setattr("cnnbench.report.WRITERS", {**WRITERS, "new": Writer(file_name="report.new", write=write)})
    command = runpy.run_path(compare.__file__)["command"]
    formats = next(option.type.choices for option in command.params if option.name == "output_format")
    assert tuple(formats) == (*(name for name in WRITERS if name != "html"), "new")
