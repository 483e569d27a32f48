"""What `compare` and `run` share: measure a request into a run folder, write the reports, say how to go on."""

from __future__ import annotations

import re
import shlex
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType

import click

from cnnbench.analysis import Report, analyse, cell_status
from cnnbench.analysis.cells import TIMED
from cnnbench.cli.live import LiveTable
from cnnbench.cli.main import EXIT_FAILED, EXIT_INTERRUPTED
from cnnbench.cli.prepare import Options, names_of
from cnnbench.cli.progress import display, record_line
from cnnbench.cli.writing import FILES, write_files
from cnnbench.orchestrator.hooks import Hooks, Live
from cnnbench.orchestrator.run import Runner
from cnnbench.record import Record, Run, Status
from cnnbench.report import WRITERS
from cnnbench.spec import Case, CnnbenchError, MissingError, Request, UsageError
from cnnbench.store import Store, finished

RESULTS = Path("results")


def run_folder(title: str, now: datetime) -> Path:
    """Return the folder for a run called `title` that starts `now`: results/<UTC time>-<name>."""
    name = re.sub(r"[^A-Za-z0-9._]+", "-", title).strip("-.")[:40] or "run"
    return RESULTS / f"{now.astimezone(UTC):%Y%m%dT%H%M%SZ}-{name}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Measured:
    """How a run ended: its report (None: nothing was measured), its folder, and what ended it early, if anything."""

    report: Report | None
    folder: Path
    interrupted: bool = False
    error: CnnbenchError | None = None
    ok: bool


def measure(request: Request, options: Options) -> Measured:
    """Measure `request` into its run folder, going on with what an earlier part of the run left there.

    An error that ends the run in the middle is part of what is returned, so that what was measured is shown.

    Raises:
        UsageError: something asked for is wrong; the same command would end so again.
        MissingError: something needed is not there, and nothing was measured.
    """
    now = datetime.now(UTC)
    folder = options.output or run_folder(request.title, now)
    store = Store(folder)
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
    )
    store.append(run)
    with display() as shown:
        live = LiveTable([*loaded.items, run])
        for caution in loaded.cautions:
            shown.line(f"Note: {caution.fact}. {caution.advice}")

        def keep(record: Record) -> None:
            store.append(record)
            live.keep(record)
            rows = shown.has_table and record.case.task in TIMED
            if record.status != "ok" or (record.case.role == "timed" and not rows):
                shown.line(record_line(record))

        def show_now(now: Sequence[Live]) -> None:
            if shown.has_table:
                shown.table(live.table(now))

        hooks = Hooks(keep=keep, tell=shown.tell, already=finished(loaded.items), live=show_now)
        ended = _guarded(Runner(request, hooks, names_of(request)), store, run)
    return _finish(store, folder, request, options, ended)


@contextmanager
def sigterm_interrupts() -> Iterator[None]:
    """Let SIGTERM, which job schedulers and `timeout` send, end what is inside as Ctrl-C does.

    Python lets only the main thread handle signals; in another one nothing changes.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, _interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL if before is None else before)


def _interrupt(number: int, frame: FrameType | None) -> None:
    del number, frame
    raise KeyboardInterrupt


Ended = CnnbenchError | KeyboardInterrupt | None
"""What ended a run before all was measured."""


def _guarded(runner: Runner, store: Store, run: Run) -> Ended:
    """Run; whatever happens, write down where the time went if that is possible. Return what ended the run early."""
    ended: Ended = None
    try:
        with sigterm_interrupts():
            runner.run()
    except UsageError:
        raise
    except (CnnbenchError, KeyboardInterrupt) as error:
        ended = error
    finally:
        spent = runner.spent()
        whole = replace(run, wall_s=spent.wall_s, passes_s=spent.passes_s, compile_s=spent.compile_s)
        problem = _problem(lambda: store.append(whole))
    return ended or problem


def _problem(act: Callable[[], object]) -> CnnbenchError | None:
    """Do `act`, and return its error for the user if there is one."""
    try:
        act()
    except CnnbenchError as error:
        return error
    return None


def _finish(store: Store, folder: Path, request: Request, options: Options, ended: Ended) -> Measured:
    loaded = store.load()
    last = finished(loaded.items).values()
    if isinstance(ended, MissingError) and not last:
        raise ended
    report = None
    if last:
        try:
            report = analyse(loaded.items)
            write_files(report, folder, FILES)
        except CnnbenchError as problem:
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
    """Return whether a cell, by the status that the report shows, is no failure of what was asked for.

    A network that cannot be counted, or whose memory cannot be measured, has dashes in its rows and a note; its cells
    may be fine all the same.
    """
    if case.task == "complexity" or case.role != "timed" or case.model not in names_of(request):
        return True
    lenient = request.lenient or (options.lenient_accuracy and case.task == "accuracy")
    return status == "ok" or (lenient and status == "unsupported")


def point_latest(folder: Path) -> None:
    """Let `results/latest` point to `folder` if that is a run folder in `results`."""
    if folder.parent.resolve() != RESULTS.resolve():
        return
    link = folder.parent / "latest"
    if link.is_symlink() or not link.exists():
        with suppress(OSError):  # a full disk, or a file system without links: a convenience less
            link.unlink(missing_ok=True)
            link.symlink_to(folder.name)


def resume_command(options: Options, folder: Path) -> str:
    """Return the command that goes on with the run in `folder`."""
    typed = options.typed or options.command
    return typed if options.output is not None else f"{typed} --output {shlex.quote(str(folder))}"


def conclude(measured: Measured, options: Options, output_format: str, echo: Callable[[str], None]) -> int:
    """Print the result, and on standard error where it is and how to go on; return the exit code."""
    if measured.report is not None:
        echo(WRITERS[output_format].write(measured.report).rstrip("\n"))
        click.echo(f"Records and reports: {measured.folder}", err=True)
    resume = f"Go on with:\n  {resume_command(options, measured.folder)}"
    if measured.error is not None:
        if measured.report is None:
            click.echo(f"Records: {measured.folder}", err=True)
        click.echo(f"Error: {measured.error}", err=True)
        if not isinstance(measured.error, UsageError):  # the same would be wrong again
            kept = "" if measured.report is None else "What was measured is kept. "
            click.echo(f"{kept}{resume}", err=True)
        return measured.error.exit_code
    if measured.interrupted:
        click.echo(f"Interrupted. What was measured is kept. {resume}", err=True)
        return EXIT_INTERRUPTED
    return 0 if measured.ok else EXIT_FAILED
