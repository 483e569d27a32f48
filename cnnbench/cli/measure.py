"""What `compare` and `run` share: measure a request into a run folder, write the reports, say how to go on."""

from __future__ import annotations

import re
import shlex
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType

import click

from cnnbench import models
from cnnbench.analysis import COLUMNS, Report, analyse
from cnnbench.cli.main import EXIT_FAILED, EXIT_INTERRUPTED
from cnnbench.cli.progress import display, length_text, record_line
from cnnbench.cli.writing import FILES, write_files
from cnnbench.orchestrator.planning import Plan, canonical_reference, split_reference
from cnnbench.orchestrator.run import Hooks, Runner, plan_only
from cnnbench.record import Record, Run
from cnnbench.report import WRITERS
from cnnbench.spec import Device, Request, UsageError, unknown_name
from cnnbench.store import Store, finished
from cnnbench.variants import parse_variant, split_variants

RESULTS = Path("results")


@dataclass(frozen=True, kw_only=True, slots=True)
class Options:
    """What a run is asked for beside its request: where it goes, how it is shown, how it was called."""

    command: str
    output: Path | None = None
    sort: str | None = None
    latency_max_s: float | None = None
    params_max: int | None = None


def names_of(request: Request) -> tuple[str, ...]:
    """Return all models that `request` names, the reference's among them, each once."""
    asked = [m for section in request.sections for m in section.models]
    if request.reference is not None:
        asked.append(split_reference(request.reference)[0])
    return tuple(dict.fromkeys(asked))


def check(request: Request, options: Options) -> None:
    """Check all that can be checked without torch, so that a mistake shows at once.

    Raises:
        CnnbenchError: a model, variant, dataset or column is unknown.
    """
    for name in names_of(request):
        models.check_name(name)
    device: Device = "cuda" if request.device == "cuda" else "cpu"
    for section in request.sections:
        for variant in split_variants(section.variants):
            if variant != "all":
                parse_variant(variant, device=device, threads=1)
    if request.accuracy is not None:
        from cnnbench import data

        data.find(request.accuracy)
    if options.sort is not None and options.sort not in COLUMNS:
        raise unknown_name("column", options.sort, COLUMNS)
    if request.weights not in ("none", "default") and not Path(request.weights).is_file():
        raise UsageError(f"Weights '{request.weights}': no such file. Take none, default, or the path of a file.")


def run_folder(title: str, now: datetime) -> Path:
    """Return the folder for a run called `title` that starts `now`: results/<UTC time>-<name>."""
    name = re.sub(r"[^A-Za-z0-9._]+", "-", title).strip("-.")[:40] or "run"
    return RESULTS / f"{now.astimezone(UTC):%Y%m%dT%H%M%SZ}-{name}"


def dry_run(request: Request) -> str:
    """Return the cells that a run of `request` would measure and how long it may take."""
    plan, seconds = plan_only(request, names_of(request))
    rows = _cell_rows(plan)
    from tabulate import tabulate

    table = tabulate(rows, headers=("model", "variant", "device", "task", "batch", "note"), disable_numparse=True)
    launches = request.budget.launches
    cells = sum(len(g.cases) for g in plan.groups)
    total = f"{cells} cell{'s' if cells != 1 else ''}, {launches} launch{'es' if launches > 1 else ''}"
    count = len(plan.accuracy)
    trained = f", {count} training{'s' if count > 1 else ''} on {request.accuracy}" if count else ""
    return f"{table}\n\n{total}{trained}; takes about {length_text(seconds)}. Nothing was measured."


def _cell_rows(plan: Plan) -> list[tuple[str, ...]]:
    cells = [(c, plan.emulated.get(c, "")) for group in plan.groups for c in group.cases]
    cells += [(r.case, f"unsupported: {r.reason}") for r in plan.refused]
    return [(c.model, c.variant.name, c.device, c.task, str(c.batch_size), note) for c, note in cells]


@dataclass(frozen=True, kw_only=True, slots=True)
class Measured:
    """How a run ended: its report (None if nothing was measured), its folder, and whether it was interrupted."""

    report: Report | None
    folder: Path
    interrupted: bool
    ok: bool


def measure(request: Request, options: Options) -> Measured:
    """Measure `request` into its run folder, going on with what an earlier part of the run left there."""
    request = _canonical(request)
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
    )
    store.append(run)
    with display() as shown:
        for caution in loaded.cautions:
            shown.line(f"Note: {caution.fact}. {caution.advice}")

        def keep(record: Record) -> None:
            store.append(record)
            shown.line(record_line(record))

        hooks = Hooks(keep=keep, tell=shown.tell, already=finished(loaded.items))
        interrupted = _guarded(Runner(request, hooks, names_of(request)), store, run)
    return _finish(store, folder, request, interrupted=interrupted)


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


def _canonical(request: Request) -> Request:
    if request.reference is None:
        return request
    device: Device = "cuda" if request.device == "cuda" else "cpu"
    return replace(request, reference=canonical_reference(request.reference, device=device))


def _guarded(runner: Runner, store: Store, run: Run) -> bool:
    """Run; whatever happens, write down where the time went. Return whether the user interrupted it."""
    try:
        with sigterm_interrupts():
            runner.run()
    except KeyboardInterrupt:
        return True
    finally:
        spent = runner.spent()
        store.append(replace(run, wall_s=spent.wall_s, passes_s=spent.passes_s, compile_s=spent.compile_s))
    return False


def _finish(store: Store, folder: Path, request: Request, *, interrupted: bool) -> Measured:
    loaded = store.load()
    last = finished(loaded.items).values()
    report = analyse(loaded.items) if last else None
    if report is not None:
        write_files(report, folder, FILES)
        point_latest(folder)
    fine = ("ok", "unsupported") if request.lenient else ("ok",)
    ok = all(r.status in (("ok", "unsupported") if r.case.task == "accuracy" else fine) for r in last)
    return Measured(report=report, folder=folder, interrupted=interrupted, ok=ok)


def point_latest(folder: Path) -> None:
    """Let `results/latest` point to `folder` if that is a run folder in `results`."""
    if folder.parent.resolve() != RESULTS.resolve():
        return
    link = folder.parent / "latest"
    if link.is_symlink() or not link.exists():
        link.unlink(missing_ok=True)
        link.symlink_to(folder.name)


def resume_command(options: Options, folder: Path) -> str:
    """Return the command that goes on with the run in `folder`."""
    if options.output is not None:
        return options.command
    return f"{options.command} --output {shlex.quote(str(folder))}"


def conclude(measured: Measured, options: Options, output_format: str, echo: Callable[[str], None]) -> int:
    """Print the result, and on standard error where it is and how to go on; return the exit code."""
    if measured.report is not None:
        echo(WRITERS[output_format].write(measured.report).rstrip("\n"))
        click.echo(f"Records and reports: {measured.folder}", err=True)
    if measured.interrupted:
        click.echo(
            f"Interrupted. What was measured is kept. Go on with:\n  {resume_command(options, measured.folder)}",
            err=True,
        )
        return EXIT_INTERRUPTED
    return 0 if measured.ok else EXIT_FAILED
