"""Around a run: its folder, resuming, signals, exit codes and the Python API, with a runner that only pretends."""

import os
import signal
import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from cnnbench import api
from cnnbench.analysis import analyse
from cnnbench.cli.measure import (
    Measured,
    Options,
    conclude,
    dry_run,
    measure,
    names_of,
    point_latest,
    resume_command,
    run_folder,
)
from cnnbench.orchestrator.planning import Group, Plan, Refused
from cnnbench.orchestrator.run import Hooks, Progress, Spent
from cnnbench.record import Record, Run
from cnnbench.report import WRITERS
from cnnbench.spec import Budget, Case, CnnbenchError, Request, Section
from cnnbench.store import Store
from tests.made import AMP, LAST, case, counted, judged, record, run, timed

REQUEST = Request(
    title="compare a",
    sections=(Section(models=("a",)),),
    budget=Budget(total_s=60.0, timeout_s=120.0, launches=1),
)
ONE = record(case("a"), *timed([0.5, 0.25, 0.75]))
TWO = record(case("a", LAST), *timed([0.5]))

Act = Callable[[Hooks], None]


@pytest.fixture
def pretend(monkeypatch: pytest.MonkeyPatch) -> Callable[[Act], None]:
    """Return what puts a function in the place of the run."""

    def use(act: Act) -> None:
        class Pretended:
            def __init__(self, request: Request, hooks: Hooks, names: tuple[str, ...]) -> None:
                self.hooks = hooks

            def run(self) -> None:
                act(self.hooks)

            def spent(self) -> Spent:
                return Spent(wall_s=4.0, passes_s=3.0, compile_s=0.0)

        monkeypatch.setattr("cnnbench.cli.measure.Runner", Pretended)

    return use


Pretend = Callable[[Act], None]


def keep(*records: Record) -> Act:
    def act(hooks: Hooks) -> None:
        for one in records:
            hooks.keep(one)

    return act


def interrupted_after(*records: Record) -> Act:
    def act(hooks: Hooks) -> None:
        keep(*records)(hooks)
        raise KeyboardInterrupt

    return act


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


def test_the_models_of_a_request_are_named_once_and_the_reference_last() -> None:
    sections = (Section(models=("b", "a")), Section(models=("a", "c")))
    assert names_of(replace(REQUEST, sections=sections)) == ("b", "a", "c")
    assert names_of(replace(REQUEST, sections=sections, reference="d/amp")) == ("b", "a", "c", "d")
    assert names_of(replace(REQUEST, sections=sections, reference="./x.py:f")) == ("b", "a", "c", "./x.py:f")


def test_a_run_is_written_down_and_shown(tmp_path: Path, pretend: Pretend, capsys: pytest.CaptureFixture[str]) -> None:
    pretend(keep(ONE, TWO))
    options = Options(command="cnnbench compare a", output=tmp_path / "run", sort="latency_s", params_max=5)
    measured = measure(replace(REQUEST, reference="a/eager"), options)
    items = Store(tmp_path / "run").load().items
    started = Run(
        title="compare a",
        command="cnnbench compare a",
        started=items[0].started,
        reference="a/eager",
        sort="latency_s",
        params_max=5,
    )
    assert items == (started, ONE, TWO, replace(started, wall_s=4.0, passes_s=3.0, compile_s=0.0))
    assert measured == Measured(report=analyse(items), folder=tmp_path / "run", interrupted=False, ok=True)
    assert (tmp_path / "run" / "report.csv").read_text() == WRITERS["csv"].write(analyse(items))
    assert (tmp_path / "run" / "report.md").read_text() == WRITERS["markdown"].write(analyse(items))
    assert capsys.readouterr() == (
        "",
        "         ok  a eager cpu infer batch 1  500 ms (3 samples)\n"
        "         ok  a channels_last cpu infer batch 1  500 ms (1 sample)\n",
    )


def test_a_run_is_given_what_its_folder_holds(
    tmp_path: Path, pretend: Pretend, capsys: pytest.CaptureFixture[str]
) -> None:
    store = Store(tmp_path)
    store.append(run())
    store.append(ONE)
    with store.file.open("ab") as file:
        file.write(b'{"rec')
    seen: list[Mapping[Case, Record]] = []
    pretend(lambda hooks: seen.append(hooks.already))
    measure(REQUEST, Options(command="cnnbench compare a", output=tmp_path))
    assert seen == [{ONE.case.identity(): ONE}]
    assert capsys.readouterr().err == (
        f"Note: '{store.file}', line 3, the last one, is incomplete: the run was interrupted while writing it. "
        "It is left out; resume the run to measure its case again.\n"
    )
    assert [type(item).__name__ for item in store.load().items] == ["Run", "Record", "Run", "Run"]


def test_an_interrupted_run_keeps_its_records_and_its_times(tmp_path: Path, pretend: Pretend) -> None:
    pretend(interrupted_after(ONE))
    measured = measure(REQUEST, Options(command="cnnbench compare a", output=tmp_path))
    items = Store(tmp_path).load().items
    assert (measured.interrupted, measured.report) == (True, analyse(items))
    assert items[1] == ONE
    assert isinstance(items[2], Run)
    assert items[2].wall_s == 4.0


def test_a_run_that_breaks_still_says_where_the_time_went(tmp_path: Path, pretend: Pretend) -> None:
    def broken(hooks: Hooks) -> None:
        hooks.keep(ONE)
        raise CnnbenchError("It broke.")

    pretend(broken)
    with pytest.raises(CnnbenchError):
        measure(REQUEST, Options(command="cnnbench compare a", output=tmp_path))
    items = Store(tmp_path).load().items
    assert isinstance(items[-1], Run)
    assert (items[1], items[-1].wall_s) == (ONE, 4.0)


def test_sigterm_ends_a_run_as_ctrl_c_does(tmp_path: Path, pretend: Pretend) -> None:
    heard: list[int] = []

    def handler(number: int, frame: object) -> None:
        heard.append(number)

    def terminated(hooks: Hooks) -> None:
        hooks.keep(ONE)
        os.kill(os.getpid(), signal.SIGTERM)
        raise AssertionError("It went on.")

    pretend(terminated)
    before = signal.signal(signal.SIGTERM, handler)
    try:
        measured = measure(REQUEST, Options(command="cnnbench compare a", output=tmp_path))
        assert signal.getsignal(signal.SIGTERM) is handler
    finally:
        signal.signal(signal.SIGTERM, before)
    assert (measured.interrupted, Store(tmp_path).load().records, heard) == (True, (ONE,), [])


def test_a_run_in_another_thread_leaves_signals_alone(tmp_path: Path, pretend: Pretend) -> None:
    pretend(keep(ONE))
    ended: list[Measured] = []

    def go() -> None:
        ended.append(measure(REQUEST, Options(command="cnnbench compare a", output=tmp_path)))

    thread = threading.Thread(target=go)
    thread.start()
    thread.join()
    assert [one.ok for one in ended] == [True]


@pytest.mark.parametrize(
    ("more", "lenient", "ok"),
    [
        (counted("a", params=1, macs=1), False, True),
        (record(case("a", AMP), status="unsupported", error="No bf16."), False, False),
        (record(case("a", AMP), status="unsupported", error="No bf16."), True, True),
        (record(case("a", AMP), status="failed", error="Boom."), True, False),
        (record(case("a", AMP), status="timeout", error="No answer."), True, False),
        (record(case("a", AMP), status="invalid", error="NaN."), False, False),
        (record(case("a", AMP), status="oom", error="Full."), False, False),
        (replace(judged("a", 1, 2), status="unsupported", measurements=(), error="3 channels."), False, True),
        (replace(judged("a", 1, 2), status="failed", measurements=(), error="Boom."), True, False),
    ],
)
def test_a_run_is_fine_when_every_cell_asked_for_is(
    *,
    more: Record,
    lenient: bool,
    ok: bool,
    tmp_path: Path,
    pretend: Pretend,
) -> None:
    pretend(keep(ONE, more))
    measured = measure(replace(REQUEST, lenient=lenient), Options(command="cnnbench compare a", output=tmp_path))
    assert (measured.ok, measured.interrupted) == (ok, False)


def test_a_failed_cell_that_went_well_when_resumed_is_fine(tmp_path: Path, pretend: Pretend) -> None:
    Store(tmp_path).append(replace(ONE, status="failed", measurements=(), error="Boom."))
    pretend(keep(ONE))
    assert measure(REQUEST, Options(command="cnnbench compare a", output=tmp_path)).ok


@pytest.mark.parametrize(("ok", "code"), [(True, 0), (False, 1)])
@pytest.mark.parametrize("name", list(WRITERS))
def test_the_result_goes_to_standard_output_and_its_place_to_standard_error(
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
        "Interrupted. What was measured is kept. Go on with:\n  cnnbench compare a --output results/x\n",
    )


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


def test_a_dry_run_shows_cells_and_time(monkeypatch: pytest.MonkeyPatch) -> None:
    cases = (case("a"), case("a", LAST, task="train", batch_size=8))
    plan = Plan(
        request=REQUEST,
        complexity=(),
        groups=(Group(cases=cases),),
        accuracy=(case("a", task="accuracy", dataset="digits"),),
        refused=(Refused(case=case("a", AMP), reason="no bf16"),),
        emulated={cases[1]: "slow"},
    )
    monkeypatch.setattr("cnnbench.cli.measure.plan_only", lambda request, names: (plan, 75.0))
    request = replace(REQUEST, accuracy="digits", budget=replace(REQUEST.budget, launches=3))
    assert dry_run(request) == (
        "model    variant        device    task    batch    note\n"
        "-------  -------------  --------  ------  -------  --------------------\n"
        "a        eager          cpu       infer   1\n"
        "a        channels_last  cpu       train   8        slow\n"
        "a        amp            cpu       infer   1        unsupported: no bf16\n"
        "\n"
        "2 cells, 3 launches, 1 training on digits; takes about 1:15 (m:ss). Nothing was measured."
    )


def test_the_api_returns_the_report_and_leaves_no_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pretend: Pretend
) -> None:
    monkeypatch.chdir(tmp_path)
    pretend(keep(record(case("lenet"), *timed([0.5]))))
    report = api.compare(["lenet"], budget_s=5.0)
    assert [(row.model, row.latency_s) for row in report.rows] == [("lenet", 0.5)]
    assert (report.title, report.command) == ("compare lenet", "cnnbench.compare(['lenet'])")
    assert list(tmp_path.iterdir()) == []
    api.compare(["lenet"], output=tmp_path / "run")
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == ["records.jsonl", "report.csv", "report.md"]


def test_the_api_hands_an_interrupt_on(tmp_path: Path, pretend: Pretend) -> None:
    pretend(interrupted_after(ONE))
    with pytest.raises(KeyboardInterrupt):
        api.compare(["lenet"], output=tmp_path)
    assert Store(tmp_path).load().records == (ONE,)


def test_the_api_says_that_nothing_was_measured(pretend: Pretend) -> None:
    pretend(keep())
    with pytest.raises(CnnbenchError) as caught:
        api.compare(["lenet"])
    assert str(caught.value) == "Nothing was measured."


def test_progress_comes_at_most_every_ten_seconds(
    tmp_path: Path, pretend: Pretend, capsys: pytest.CaptureFixture[str]
) -> None:
    def telling(hooks: Hooks) -> None:
        for second in (0.0, 4.0, 9.9, 10.0, 15.0, 21.0):
            hooks.tell(Progress(text=f"at {second:g}", elapsed_s=second, remaining_s=3700.0 - second))

    pretend(telling)
    measure(REQUEST, Options(command="cnnbench compare a", output=tmp_path))
    assert capsys.readouterr().err == (
        "[0:00, about 1:01:40 left] at 0\n[0:10, about 1:01:30 left] at 10\n[0:21, about 1:01:19 left] at 21\n"
    )
