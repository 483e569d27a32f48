"""Before a run: checks of the output, cut threads, the reference's spelling, dry runs in every format."""

import json
import math
import resource
import runpy
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from cnnbench import api
from cnnbench.app.prepare import Options, canonical_request, check, show_dry_run, tell_cut_threads
from cnnbench.cli.commands import compare
from cnnbench.cli.main import exit_code
from cnnbench.orchestrator.plan import Group, Plan, Refused
from cnnbench.report import WRITERS, Writer
from cnnbench.spec import Request, UsageError
from tests.app.fakes import REQUEST, Pretend, recording
from tests.factories import AMP, LAST, case, record, timed
from tests.program import run

CASES = (case("a"), case("a", LAST, task="train", batch_size=8))
TIME = "2 cells, 1 training on digits; takes about 1 min 15 s. Nothing was measured."


@pytest.fixture
def planned(monkeypatch: pytest.MonkeyPatch) -> list[Request]:
    """Let every plan hold the same cells, and return the list of requests that plans were made of."""
    seen: list[Request] = []

    def plan_only(request: Request, names: tuple[str, ...]) -> tuple[Plan, float]:
        seen.append(request)
        plan = Plan(
            request=replace(request, accuracy="digits", budget=replace(request.budget)),
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

    monkeypatch.setattr("cnnbench.app.prepare.plan_only", plan_only)
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
    assert (
        canonical_request(replace(REQUEST, reference="a/compile+channels_last")).reference == "a/channels_last+compile"
    )
    assert canonical_request(REQUEST) == REQUEST


@pytest.mark.parametrize("line", ["compare lenet --dry-run", "run full --dry-run", "run full"])
def test_every_plan_is_made_with_the_reference_so_spelt(
    line: str, planned: list[Request], pretend: Pretend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    pretend(recording(record(case("lenet"), *timed([0.5]))))
    exit_code([*line.split(), "--reference", "lenet/compile+channels_last"])
    assert [request.reference for request in planned] == ["lenet/channels_last+compile"]


def test_the_api_spells_the_reference_so_too(monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(request: Request, options: Options) -> None:
        raise UsageError(str(request.reference))

    monkeypatch.setattr("cnnbench.api.check", stop)
    with pytest.raises(UsageError) as caught:
        api.compare(["lenet"], reference="lenet/compile+channels_last")
    assert str(caught.value) == "lenet/channels_last+compile"


def asked(line: str, planned: list[Request]) -> tuple[float, float]:
    """Return budget and timeout of the run that a command line asks for."""
    assert exit_code([*line.split(), "--dry-run"]) == 0
    (request,) = planned
    return request.budget.total_s, request.budget.timeout_s


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("compare lenet", (60.0, 20.0)),
        ("compare lenet --budget 15s", (15.0, 10.0)),
        ("compare lenet --budget 45s", (45.0, 15.0)),
        ("compare lenet --budget 10m", (600.0, 120.0)),
        ("compare lenet --budget 15s --timeout 3m", (15.0, 180.0)),
        ("run smoke", (35.0, 35 / 3)),
        ("run smoke --budget 10m", (600.0, 120.0)),
        ("run smoke --timeout 40s", (35.0, 40.0)),
        ("run quick --budget 20m", (1200.0, 180.0)),  # as the plan says
        ("run full", (math.inf, 900.0)),
    ],
)
def test_the_timeout_follows_the_budget(line: str, expected: tuple[float, float], planned: list[Request]) -> None:
    assert asked(line, planned) == pytest.approx(expected)


def test_a_plan_without_a_timeout_follows_what_is_given(tmp_path: Path, planned: list[Request]) -> None:
    plan = tmp_path / "mine.toml"
    plan.write_text('description = "d"\nbudget = "auto"\n[[measure]]\nmodels = ["lenet"]\n', encoding="utf-8")
    assert asked(f"run {plan} --budget 45s", planned) == (45.0, 15.0)


TOO_SHORT = (
    "A budget of 2 s is too short: measuring each cell once takes about 4 s here. Give --budget 4s or more, or fewer "
    "models or variants."
)


def test_a_budget_that_gives_no_round_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert exit_code(["compare", "lenet", "--budget", "2s"]) == 2
    assert capsys.readouterr() == ("", f"Error: {TOO_SHORT}\n")
    assert list(tmp_path.iterdir()) == []


def test_a_short_budget_is_refused_before_torch_is_there(tmp_path: Path) -> None:
    code = (
        "import sys; from cnnbench.cli.main import exit_code; code = exit_code(sys.argv[1:]); "
        "print(code, *(name for name in ('torch', 'pandas', 'scipy') if name in sys.modules))"
    )
    words = [sys.executable, "-c", code, "compare", "lenet", "--budget", "2s"]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=True, timeout=60)
    assert (done.stdout, done.stderr) == ("2\n", f"Error: {TOO_SHORT}\n")


@pytest.mark.slow
def test_a_short_budget_is_refused_within_a_second(tmp_path: Path) -> None:
    """It is the processor's second, because other tests may have the cores."""
    took = []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        assert run("compare lenet --budget 2s", tmp_path).returncode == 2
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        took.append(after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime)
    assert min(took) < 1.0


def test_the_api_refuses_a_short_budget_too() -> None:
    with pytest.raises(UsageError) as caught:
        api.compare(["lenet"], budget_s=2.0)
    assert str(caught.value) == TOO_SHORT


NO_FOLDER = "Give a folder for the records and reports."


@pytest.mark.parametrize(
    ("output", "why"),
    [
        ("taken", "'{}/taken' is a file"),
        ("taken/in/it", "'{}/taken' is a file"),
        ("x.jsonl", "it has the name of a record file"),
    ],
)
def test_an_output_that_can_be_no_folder_is_refused(output: str, why: str, tmp_path: Path) -> None:
    (tmp_path / "taken").touch()
    request = replace(REQUEST, sections=())
    with pytest.raises(UsageError) as caught:
        check(request, Options(command="", output=tmp_path / output))
    assert str(caught.value) == f"Output '{tmp_path / output}' cannot be a folder: {why.format(tmp_path)}. {NO_FOLDER}"
    check(request, Options(command="", output=tmp_path / "new" / "one"))


@pytest.mark.parametrize(
    ("threads", "said"),
    [(None, ""), (2, ""), (3, "Note: using 2 threads instead of 3, because only 2 can be used here.\n")],
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
    assert capsys.readouterr().err == "Note: using 2 threads instead of 9, because only 2 can be used here.\n"


def test_the_formats_are_those_that_have_a_writer(monkeypatch: pytest.MonkeyPatch) -> None:
    def write(report: object) -> str:
        return ""

    monkeypatch.setattr("cnnbench.report.WRITERS", {**WRITERS, "new": Writer(file_name="report.new", write=write)})
    command = runpy.run_path(compare.__file__)["command"]
    formats = next(option.type.choices for option in command.params if option.name == "output_format")
    assert tuple(formats) == (*(name for name in WRITERS if name != "html"), "new")
