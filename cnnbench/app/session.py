"""Run a session: measure a request into a run folder, write the reports, and say how to go on."""

from __future__ import annotations

import re
import shlex
import signal
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType

import click

from cnnbench.analysis import Report, analyse, cell_status
from cnnbench.analysis.cells import TIMED
from cnnbench.app.live_table import LiveTable
from cnnbench.app.prepare import Options, names_of
from cnnbench.app.progress import display, record_line
from cnnbench.app.write_files import FILES, write_files
from cnnbench.orchestrator.events import Hooks, Progress
from cnnbench.orchestrator.run import BenchmarkRun
from cnnbench.record import Record, Run, Status
from cnnbench.report import WRITERS
from cnnbench.spec import EXIT_FAILED, EXIT_INTERRUPTED, Case, CnnbenchError, MissingError, Request, UsageError
from cnnbench.store import Store, finished_records

RESULTS = Path("results")

# Roles of workers that fail together with their cell. The cell's own line says why, and the report's notes name them.
BESIDE_A_CELL = ("aa_control", "control_workload", "lineup")


def run_folder(title: str, now: datetime) -> Path:
    """Return the folder for a run called `title` that starts at `now`: results/<UTC time>-<name>."""
    name = re.sub(r"[^A-Za-z0-9._]+", "-", title).strip("-.")[:40] or "run"
    return RESULTS / f"{now.astimezone(UTC):%Y%m%dT%H%M%SZ}-{name}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Measured:
    """The end of a run: its report (None if nothing was measured), its folder, and what ended it early, if anything."""

    report: Report | None
    folder: Path
    interrupted: bool = False
    error: CnnbenchError | None = None
    ok: bool


def measure(request: Request, options: Options) -> Measured:
    """Measure `request` into its run folder, and continue what an earlier part of the run left there.

    An error that ends the run early is returned with the results, so that these are still shown.

    Raises:
        UsageError: the request is wrong, and the same command would fail again.
        MissingError: something needed is missing, and nothing was measured.
    """
    now = datetime.now(UTC)
    folder = options.output or run_folder(request.title, now)
    store = Store(folder)
    with store.only_writer():
        return _measure_into(store, request, options, now)


def _measure_into(store: Store, request: Request, options: Options, now: datetime) -> Measured:
    loaded = store.load()
    run = Run(
        title=request.title,
        command=options.command,
        started=now.isoformat(timespec="seconds"),
        reference=request.reference,
        sort=options.sort,
        latency_max_s=options.latency_max_s,
        params_max=options.params_max,
        delta=options.delta,
        budget_s=request.budget.total_s,
        partial=True,
    )
    # A run that is killed leaves at least this line; the same run with its times follows at the end.
    store.append(run)

    with display() as shown:
        live = LiveTable([*loaded.items, run])
        for warning in loaded.warnings:
            shown.line(f"Note: {warning.fact}. {warning.advice}")

        def on_record(record: Record) -> None:
            store.append(record)
            live.add(record)
            in_table = shown.has_table and record.case.task in TIMED
            # A cell gets a line in its first round only, and so does every failure that no other line explains.
            news = record.case.role == "timed" and record.round == 0 and not in_table
            if news or (record.status != "ok" and record.case.role not in BESIDE_A_CELL):
                shown.line(record_line(record))

        def on_progress(progress: Progress) -> None:
            if shown.has_table and (table := live.next_table()) is not None:
                shown.table(table)
            shown.on_progress(progress)

        hooks = Hooks(on_record=on_record, on_progress=on_progress, completed=finished_records(loaded.items))
        runner = BenchmarkRun(request, hooks, names_of(request), spent_s=spent_s(loaded.items))
        earlier = [item for item in loaded.items if isinstance(item, Run)]
        ended = _run_guarded(runner, store, run, was_partial=not earlier or earlier[-1].partial)
    return _finish(store, request, options, ended)


def spent_s(items: Iterable[Record | Run]) -> float:
    """Return the seconds of the budget that earlier parts of a run took, without compiling.

    A part that was killed did not write its time, so its records tell how long it took.
    """
    total = 0.0
    killed: Run | None = None
    records: list[Record] = []

    for item in items:
        if isinstance(item, Record):
            records.append(item)
            continue

        # Each part writes its run twice: without a time at its start, and with it at its end.
        if item.wall_s is None:
            # A second start without an end in between: the part before it was killed.
            total += _seen_s(killed, records)
            killed = item
        else:
            total += item.wall_s - (item.compile_s or 0.0)
            killed = None
        records = []

    # The last part may have been killed, too.
    return total + _seen_s(killed, records)


def _seen_s(run: Run | None, records: Sequence[Record]) -> float:
    """Return the seconds from the start of `run` to the end of its last record, without compiling."""
    if run is None or not records:
        return 0.0
    last = max(_seconds(record.started) + record.duration_s for record in records)
    compiled = sum(sum(record.samples("compile_s")) for record in records)
    return max(0.0, last - _seconds(run.started) - compiled)


def _seconds(started: str) -> float:
    return datetime.fromisoformat(started).timestamp()


@contextmanager
def sigterm_interrupts() -> Iterator[None]:
    """Let SIGTERM, which job schedulers and `timeout` send, interrupt the body of the `with` as Ctrl-C does.

    Only the main thread can handle signals in Python. Nothing changes in another thread.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    # None stands for a handler that was not installed from Python and cannot be put back.
    before = signal.signal(signal.SIGTERM, _interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL if before is None else before)


def _interrupt(number: int, frame: FrameType | None) -> None:
    del number, frame
    raise KeyboardInterrupt


# What ended a run before everything was measured; None if nothing did.
Ended = CnnbenchError | KeyboardInterrupt | None


def _run_guarded(runner: BenchmarkRun, store: Store, run: Run, *, was_partial: bool) -> Ended:
    """Run, and return what ended the run early; whatever happens, try to write down where the time went.

    `was_partial`: an earlier part of the run left it incomplete. A usage error measures nothing and does not change
    that.
    """
    ended: Ended = None
    partial = True
    try:
        with sigterm_interrupts():
            runner.run()
        partial = False
    except UsageError:
        partial = was_partial
        raise
    except (CnnbenchError, KeyboardInterrupt) as error:
        ended = error
    finally:
        # The disk may be full. That must not hide what ended the run, so the problem is returned only if nothing did.
        time_spent = runner.time_spent()
        whole = replace(
            run, partial=partial, wall_s=time_spent.wall_s, passes_s=time_spent.passes_s, compile_s=time_spent.compile_s
        )
        problem = _problem(lambda: store.append(whole))

    return ended or problem


def _problem(act: Callable[[], object]) -> CnnbenchError | None:
    """Call `act`, and return its error for the user, or None."""
    try:
        act()
    except CnnbenchError as error:
        return error
    return None


def _finish(store: Store, request: Request, options: Options, ended: Ended) -> Measured:
    folder, loaded = store.path, store.load()
    last = finished_records(loaded.items).values()
    # Without any result there is nothing to show beside the error.
    if isinstance(ended, MissingError) and not last:
        raise ended

    report = None
    if last:
        try:
            report = analyse(loaded.items)
            write_files(report, folder, FILES)
        except CnnbenchError as problem:
            # What ended the run is more important than a report that cannot be written.
            ended = ended or problem
        point_latest(folder)

    return Measured(
        report=report,
        folder=folder,
        interrupted=isinstance(ended, KeyboardInterrupt),
        error=ended if isinstance(ended, CnnbenchError) else None,
        ok=all(_fine(case, status, request, options) for case, status in cell_status(loaded.items).items()),
    )


def _fine(case: Case, status: Status, request: Request, options: Options) -> bool:
    """Return whether a cell, by its status in the report, does not count as a failure of the request.

    A model that cannot be counted, or whose memory cannot be measured, has dashes in its rows and a note. Its cells can
    still be fine.
    """
    if case.task == "complexity" or case.role != "timed" or case.model not in names_of(request):
        return True
    lenient = request.lenient or (options.lenient_accuracy and case.task == "accuracy")
    return status == "ok" or (lenient and status == "unsupported")


def point_latest(folder: Path) -> None:
    """Make `results/latest` point to `folder` if that is a run folder in `results`."""
    if folder.parent.resolve() != RESULTS.resolve():
        return
    link = folder.parent / "latest"
    if link.is_symlink() or not link.exists():
        with suppress(OSError):  # a full disk, or a file system without links; the link is only a convenience
            link.unlink(missing_ok=True)
            link.symlink_to(folder.name)


def resume_command(options: Options, folder: Path) -> str:
    """Return the command that continues the run in `folder`."""
    # A command that names its output folder finds the run there by itself.
    typed = options.typed or options.command
    return typed if options.output is not None else f"{typed} --output {shlex.quote(str(folder))}"


def conclude(measured: Measured, options: Options, output_format: str, echo: Callable[[str], None]) -> int:
    """Print the result, and on standard error its place and how to go on; return the exit code."""
    # Only the report goes to `echo`, so that its output can be piped.
    if measured.report is not None:
        echo(WRITERS[output_format].write(measured.report).rstrip("\n"))
        click.echo(f"Records and reports: {measured.folder}", err=True)

    resume = f"Continue with:\n  {resume_command(options, measured.folder)}"
    if measured.error is not None:
        if measured.report is None:
            click.echo(f"Records: {measured.folder}", err=True)
        click.echo(f"Error: {measured.error}", err=True)
        if not isinstance(measured.error, UsageError):  # the same command would fail again
            kept = "" if measured.report is None else "What was measured is kept. "
            click.echo(f"{kept}{resume}", err=True)
        return measured.error.exit_code

    if measured.interrupted:
        click.echo(f"Interrupted. What was measured is kept. {resume}", err=True)
        return EXIT_INTERRUPTED

    return 0 if measured.ok else EXIT_FAILED
