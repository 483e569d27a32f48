"""Around a run: its folder's name, the command that resumes it, its exit code and the Python API."""

from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from cnnbench import api
from cnnbench.analysis import analyse
from cnnbench.app.prepare import Options
from cnnbench.app.session import Measured, conclude, point_latest, resume_command, run_folder
from cnnbench.orchestrator.events import Hooks
from cnnbench.record import Record
from cnnbench.report import WRITERS
from cnnbench.spec import CnnbenchError, UsageError
from cnnbench.store import Store
from tests.app.fakes import ONE, Pretend, interrupted_after, recording
from tests.factories import case, record, timed


@pytest.mark.parametrize(
    ("title", "expected"),
    [
        ("compare lenet vgg16", "results/20261122T010203Z-compare-lenet-vgg16"),
        ("../../etc/passwd", "results/20261122T010203Z-etc-passwd"),
        ("a/b\n$(x) é", "results/20261122T010203Z-a-b-x"),
        ("...", "results/20261122T010203Z-run"),
        ("x" * 99, f"results/20261122T010203Z-{'x' * 40}"),
    ],
)
def test_a_run_folder_has_the_time_in_utc_and_a_plain_name(title: str, expected: str) -> None:
    now = datetime(2026, 11, 22, 3, 2, 3, tzinfo=timezone(timedelta(hours=2)))
    assert run_folder(title, now) == Path(expected)


@pytest.mark.parametrize(
    ("command", "output", "expected"),
    [
        ("cnnbench compare a", None, "cnnbench compare a --output results/x"),
        ("cnnbench compare a --output mine", Path("mine"), "cnnbench compare a --output mine"),
        ("cnnbench compare a -o mine", Path("mine"), "cnnbench compare a -o mine"),
        ("cnnbench compare a --output=mine", Path("mine"), "cnnbench compare a --output=mine"),
        ("cnnbench compare a -omine", Path("mine"), "cnnbench compare a -omine"),
    ],
)
def test_the_command_that_resumes_names_the_folder_once(command: str, output: Path | None, expected: str) -> None:
    assert resume_command(Options(command=command, output=output), Path("results/x")) == expected


def test_a_folder_with_blanks_is_quoted() -> None:
    resume = resume_command(Options(command="cnnbench run quick"), Path("results/my run"))
    assert resume == "cnnbench run quick --output 'results/my run'"


@pytest.mark.parametrize(("ok", "code"), [(True, 0), (False, 1)])
@pytest.mark.parametrize("name", list(WRITERS))
def test_result_goes_to_stdout_and_its_place_to_stderr(
    *,
    ok: bool,
    code: int,
    name: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    report = analyse([ONE])
    measured = Measured(report=report, folder=Path("results/x"), interrupted=False, ok=ok)
    shown: list[str] = []
    assert conclude(measured, Options(command="cnnbench compare a"), name, shown.append) == code
    assert shown == [WRITERS[name].write(report).rstrip("\n")]
    assert capsys.readouterr() == ("", "Records and reports: results/x\n")


def test_an_interrupted_run_ends_in_the_command_that_resumes_it(capsys: pytest.CaptureFixture[str]) -> None:
    measured = Measured(report=None, folder=Path("results/x"), interrupted=True, ok=True)
    assert conclude(measured, Options(command="cnnbench compare a"), "table", print) == 130
    assert capsys.readouterr() == (
        "",
        "Interrupted. What was measured is kept. Continue with:\n  cnnbench compare a --output results/x\n",
    )


def test_the_command_that_resumes_is_the_one_that_was_typed() -> None:
    options = Options(command="cnnbench run quick", typed="env/bin/python -m cnnbench run quick")
    assert resume_command(options, Path("results/x")) == "env/bin/python -m cnnbench run quick --output results/x"


BROKE, WRONG = CnnbenchError("It broke."), UsageError("Refused.")
GO_ON = "Continue with:\n  cnnbench compare a --output results/x\n"


@pytest.mark.parametrize(
    ("error", "items", "code", "said"),
    [
        (BROKE, [ONE], 1, f"Records and reports: results/x\nError: It broke.\nWhat was measured is kept. {GO_ON}"),
        (BROKE, [], 1, f"Records: results/x\nError: It broke.\n{GO_ON}"),
        (WRONG, [], 2, "Records: results/x\nError: Refused.\n"),
    ],
)
def test_a_run_that_broke_ends_in_its_error_and_in_how_to_go_on(
    error: CnnbenchError, items: list[Record], code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    report = analyse(items) if items else None
    measured = Measured(report=report, folder=Path("results/x"), error=error, ok=True)
    shown: list[str] = []
    assert conclude(measured, Options(command="cnnbench compare a"), "csv", shown.append) == code
    assert shown == ([] if report is None else [WRITERS["csv"].write(report).rstrip("\n")])
    assert capsys.readouterr() == ("", said)


def test_latest_points_to_the_newest_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("one", "two"):
        (tmp_path / "results" / name).mkdir(parents=True)
        point_latest(Path("results") / name)
        assert (tmp_path / "results" / "latest").readlink() == Path(name)
    point_latest(tmp_path / "elsewhere")
    assert (tmp_path / "results" / "latest").readlink() == Path("two")


def test_a_latest_that_is_no_link_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "results" / "latest").mkdir(parents=True)
    (tmp_path / "results" / "one").mkdir()
    point_latest(Path("results/one"))
    assert not (tmp_path / "results" / "latest").is_symlink()


def test_the_api_returns_the_report_and_leaves_no_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pretend: Pretend
) -> None:
    monkeypatch.chdir(tmp_path)
    pretend(recording(record(case("lenet"), *timed([0.5]))))
    report = api.compare(["lenet"], budget_s=5.0)
    assert f"{report}\n" == WRITERS["table"].write(report)
    assert report._repr_html_().startswith("<table")
    assert [(row.model, row.latency_s) for row in report.rows] == [("lenet", 0.5)]
    assert (report.title, report.command) == ("compare lenet", "cnnbench.compare(['lenet'], budget_s=5.0)")
    assert list(tmp_path.iterdir()) == []
    api.compare(["lenet"], output=tmp_path / "run")
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == [
        "records.jsonl",
        "report-latencies.png",
        "report.csv",
        "report.html",
        "report.md",
    ]


def test_the_api_hands_an_interrupt_on(tmp_path: Path, pretend: Pretend) -> None:
    pretend(interrupted_after(ONE))
    with pytest.raises(KeyboardInterrupt):
        api.compare(["lenet"], output=tmp_path)
    assert Store(tmp_path).load().records == (ONE,)


def test_the_api_says_that_nothing_was_measured(pretend: Pretend) -> None:
    pretend(recording())
    with pytest.raises(CnnbenchError) as caught:
        api.compare(["lenet"])
    assert str(caught.value) == "Nothing was measured."


def test_the_api_raises_what_ended_the_run(tmp_path: Path, pretend: Pretend) -> None:
    error = CnnbenchError("It broke.")

    def broken(hooks: Hooks) -> None:
        hooks.on_record(ONE)
        raise error

    pretend(broken)
    with pytest.raises(CnnbenchError) as caught:
        api.compare(["lenet"], output=tmp_path)
    assert caught.value is error
    assert Store(tmp_path).load().records == (ONE,)


def test_the_api_s_command_holds_what_is_no_default(tmp_path: Path, pretend: Pretend) -> None:
    pretend(recording(record(case("lenet"), *timed([0.5]))))
    report = api.compare(
        ("lenet",),
        variants=["eager", "channels_last"],  # the default, as a list
        batch_sizes=(1, 8),
        input_shape=(3, 32, 32),
        reference="lenet/channels_last+eager",
        budget_s=30,
        seed=0,
        output=tmp_path,
    )
    assert report.command == (
        "cnnbench.compare(['lenet'], batch_sizes=[1, 8], input_shape=[3, 32, 32], "
        f"reference='lenet/channels_last+eager', budget_s=30, output='{tmp_path}')"
    )


@pytest.mark.parametrize(
    ("models", "more", "said"),
    [
        ("lenet", {}, "models must be a list, not the string 'lenet'. Write ['lenet']."),
        (["lenet"], {"variants": "eager"}, "variants must be a list, not the string 'eager'. Write ['eager']."),
    ],
)
def test_the_api_asks_for_lists(models: Any, more: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError) as caught:
        api.compare(models, **more)
    assert str(caught.value) == said
