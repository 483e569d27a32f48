"""A run and its folder: what is kept, resuming, signals and whether all went well; the run itself only pretends."""

import os
import signal
import threading
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from cnnbench.analysis import analyse
from cnnbench.app.prepare import Options, names_of
from cnnbench.app.session import Measured, measure, spent_s
from cnnbench.orchestrator.events import Hooks, Progress
from cnnbench.record import Record, Run
from cnnbench.report import WRITERS
from cnnbench.spec import Case, CnnbenchError, MissingError, Section, UsageError
from cnnbench.store import Store
from tests.app.fakes import ONE, REQUEST, Act, Pretend, interrupted_after, recording
from tests.factories import AMP, COMPILE, LAST, beside, case, counted, judged, once, record, run, timed

TWO = record(case("a", LAST), *timed([0.5]))


def test_names_of_lists_each_model_once_and_reference_last() -> None:
    sections = (Section(models=("b", "a")), Section(models=("a", "c")))
    assert names_of(replace(REQUEST, sections=sections)) == ("b", "a", "c")
    assert names_of(replace(REQUEST, sections=sections, reference="d/amp")) == ("b", "a", "c", "d")
    assert names_of(replace(REQUEST, sections=sections, reference="./x.py:f")) == ("b", "a", "c", "./x.py:f")


def test_a_run_is_written_down_and_shown(tmp_path: Path, pretend: Pretend, capsys: pytest.CaptureFixture[str]) -> None:
    pretend(recording(ONE, TWO))
    options = Options(command="cnnbench compare a", output=tmp_path / "run", sort="latency_s", params_max=5, delta=0.02)
    measured = measure(replace(REQUEST, reference="a/eager"), options)
    items = Store(tmp_path / "run").load().items
    started = Run(
        title="compare a",
        command="cnnbench compare a",
        started=items[0].started,
        reference="a/eager",
        sort="latency_s",
        params_max=5,
        delta=0.02,
        budget_s=60.0,
        partial=True,
    )
    ended = replace(started, partial=False, wall_s=4.0, passes_s=3.0, compile_s=0.0)
    assert items == (started, ONE, TWO, ended)
    assert measured == Measured(report=analyse(items), folder=tmp_path / "run", interrupted=False, ok=True)
    assert (tmp_path / "run" / "report.csv").read_text() == WRITERS["csv"].write(analyse(items))
    for name, content in WRITERS["markdown"].files(analyse(items)).items():
        assert (tmp_path / "run" / name).read_bytes() == content
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
    seen: list[Mapping[tuple[Case, int], Record]] = []
    pretend(lambda hooks: seen.append(hooks.completed))
    measure(REQUEST, Options(command="cnnbench compare a", output=tmp_path))
    assert seen == [{(ONE.case.identity(), 0): ONE}]
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
    assert (items[2].wall_s, items[2].partial) == (4.0, True)


def broken_after(error: CnnbenchError, *records: Record) -> Act:
    def act(hooks: Hooks) -> None:
        recording(*records)(hooks)
        raise error

    return act


def test_a_run_that_breaks_keeps_and_reports_what_was_measured(tmp_path: Path, pretend: Pretend) -> None:
    error = CnnbenchError("It broke.")
    pretend(broken_after(error, ONE))
    measured = measure(REQUEST, Options(command="cnnbench compare a", output=tmp_path))
    items = Store(tmp_path).load().items
    assert measured == Measured(report=analyse(items), folder=tmp_path, error=error, ok=True)
    assert isinstance(items[-1], Run)
    assert (items[1], items[-1].wall_s) == (ONE, 4.0)
    assert (tmp_path / "report.csv").read_text() == WRITERS["csv"].write(analyse(items))


def test_full_disk_at_end_gives_error_and_keeps_report(
    tmp_path: Path, pretend: Pretend, monkeypatch: pytest.MonkeyPatch
) -> None:
    error = CnnbenchError("Cannot write.")
    append = Store.append

    def full(store: Store, item: Record | Run) -> None:
        if isinstance(item, Run) and item.wall_s is not None:
            raise error
        append(store, item)

    monkeypatch.setattr(Store, "append", full)
    pretend(recording(ONE))
    measured = measure(REQUEST, Options(command="cnnbench compare a", output=tmp_path))
    report = analyse(Store(tmp_path).load().items)
    assert measured == Measured(report=report, folder=tmp_path, error=error, ok=True)


def test_unwritable_report_file_gives_error_and_keeps_report(tmp_path: Path, pretend: Pretend) -> None:
    (tmp_path / "report.md").mkdir()
    pretend(recording(ONE))
    measured = measure(REQUEST, Options(command="cnnbench compare a", output=tmp_path))
    assert measured.report == analyse(Store(tmp_path).load().items)
    assert str(measured.error) == f"Cannot write into '{tmp_path}': Is a directory. The records are not touched."


@pytest.mark.parametrize(
    ("error", "records"), [(UsageError("Ask for less."), (ONE,)), (MissingError("Install it."), ())]
)
def test_what_was_asked_wrongly_is_an_error_of_its_own(
    error: CnnbenchError, records: tuple[Record, ...], tmp_path: Path, pretend: Pretend
) -> None:
    pretend(broken_after(error, *records))
    with pytest.raises(CnnbenchError) as caught:
        measure(REQUEST, Options(command="cnnbench compare a", output=tmp_path))
    assert caught.value is error


@pytest.mark.parametrize("whole", [True, False])
def test_a_mistake_leaves_a_run_as_whole_as_it_was(tmp_path: Path, pretend: Pretend, *, whole: bool) -> None:
    options = Options(command="cnnbench compare a", output=tmp_path)
    pretend(recording(ONE) if whole else interrupted_after(ONE))
    measure(REQUEST, options)
    pretend(broken_after(UsageError("Another machine.")))
    with pytest.raises(UsageError, match=r"^Another machine\.$"):
        measure(REQUEST, options)
    last = Store(tmp_path).load().items[-1]
    assert isinstance(last, Run)
    assert (last.partial, last.wall_s) == (not whole, 4.0)


def test_a_run_that_breaks_by_our_own_mistake_is_partial(tmp_path: Path, pretend: Pretend) -> None:
    def act(hooks: Hooks) -> None:
        hooks.on_record(ONE)
        raise AssertionError

    pretend(act)
    with pytest.raises(AssertionError):
        measure(REQUEST, Options(command="cnnbench compare a", output=tmp_path))
    last = Store(tmp_path).load().items[-1]
    assert isinstance(last, Run)
    assert (last.partial, last.wall_s) == (True, 4.0)


BEGUN = run(started="2026-01-02T03:04:00+00:00", partial=True)
ENDED = replace(BEGUN, wall_s=20.0, compile_s=5.0, partial=False)
CUT = replace(BEGUN, wall_s=12.0)
LATER = record(case("a"), *timed([0.5]), number=1, started="2026-01-02T03:04:20.5+00:00")
COMPILED = record(case("a", COMPILE), *timed([0.5]), once("compile_s", 6.0), started="2026-01-02T03:04:10+00:00")


@pytest.mark.parametrize(
    ("items", "expected"),
    [
        ([], 0.0),
        ([ONE], 0.0),  # records without a run say nothing of its start
        ([BEGUN], 0.0),
        ([BEGUN, ONE, ENDED], 15.0),  # compiling is apart
        ([BEGUN, ONE, CUT], 12.0),
        ([BEGUN, ONE], 9.5),  # killed: until its last record
        ([BEGUN, LATER, ONE], 25.0),
        ([BEGUN, ONE, COMPILED], 8.5),
        ([BEGUN, ONE, BEGUN, LATER, CUT], 21.5),  # killed, then interrupted
        ([BEGUN, ONE, ENDED, BEGUN, LATER], 40.0),  # ended, then killed
        ([BEGUN, BEGUN, ONE, BEGUN], 9.5),
    ],
)
def test_what_earlier_parts_took_of_the_budget(items: list[Record | Run], expected: float) -> None:
    assert spent_s(items) == expected


def test_the_run_is_told_what_earlier_parts_took(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, seen = Store(tmp_path), list[float]()
    for item in (BEGUN, ONE, CUT):
        store.append(item)

    class Stops:
        def __init__(self, *_: object, spent_s: float) -> None:
            seen.append(spent_s)
            raise MissingError("Stop.")

    monkeypatch.setattr("cnnbench.app.session.BenchmarkRun", Stops)
    with pytest.raises(MissingError):
        measure(REQUEST, Options(command="cnnbench compare a", output=tmp_path))
    assert seen == [12.0]


def test_what_fails_beside_a_cell_has_no_line_of_its_own(
    tmp_path: Path, pretend: Pretend, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = record(case("a"), status="failed", error="Boom.")
    aa_control, other = (
        replace(bad, case=beside(bad.case, "aa_control")),
        replace(bad, case=beside(bad.case, "control_workload")),
    )
    pretend(recording(bad, aa_control, other, replace(bad, case=beside(bad.case, "lineup"))))
    measure(REQUEST, Options(command="cnnbench compare a", output=tmp_path))
    assert capsys.readouterr().err == "     failed  a eager cpu infer batch 1  Boom.\n"


def test_sigterm_ends_a_run_as_ctrl_c_does(tmp_path: Path, pretend: Pretend) -> None:
    heard: list[int] = []

    def handler(number: int, frame: object) -> None:
        heard.append(number)

    def terminated(hooks: Hooks) -> None:
        hooks.on_record(ONE)
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
    pretend(recording(ONE))
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
        (replace(judged("a", 1, 2), status="unsupported", measurements=(), error="3 channels."), False, False),
        (replace(judged("a", 1, 2), status="unsupported", measurements=(), error="3 channels."), True, True),
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
    pretend(recording(ONE, more))
    measured = measure(replace(REQUEST, lenient=lenient), Options(command="cnnbench compare a", output=tmp_path))
    assert (measured.ok, measured.interrupted) == (ok, False)


def test_lenient_plan_accepts_unsupported_accuracy_only(tmp_path: Path, pretend: Pretend) -> None:
    options = Options(command="cnnbench run p --variants eager", output=tmp_path, lenient_accuracy=True)
    small = replace(judged("a", 1, 2), status="unsupported", measurements=(), error="3 channels.")
    pretend(recording(ONE, small))
    assert measure(REQUEST, options).ok
    pretend(recording(replace(TWO, status="unsupported", measurements=(), error="No.")))
    assert not measure(REQUEST, options).ok


def test_a_failed_cell_that_went_well_when_resumed_is_fine(tmp_path: Path, pretend: Pretend) -> None:
    Store(tmp_path).append(replace(ONE, status="failed", measurements=(), error="Boom."))
    pretend(recording(ONE))
    assert measure(REQUEST, Options(command="cnnbench compare a", output=tmp_path)).ok


def test_progress_comes_at_most_every_ten_seconds(
    tmp_path: Path, pretend: Pretend, capsys: pytest.CaptureFixture[str]
) -> None:
    def telling(hooks: Hooks) -> None:
        for second in (0.0, 4.0, 9.9, 10.0, 15.0, 21.0):
            hooks.on_progress(Progress(text=f"at {second:g}", elapsed_s=second, remaining_s=3700.0 - second))

    pretend(telling)
    measure(REQUEST, Options(command="cnnbench compare a", output=tmp_path))
    assert capsys.readouterr().err == (
        "[0:00, about 1:01:40 left] at 0\n[0:10, about 1:01:30 left] at 10\n[0:21, about 1:01:19 left] at 21\n"
    )
