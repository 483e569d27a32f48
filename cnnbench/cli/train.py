"""`cnnbench train`: train a model by its tutorial's recipe, with one seed or several."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import zip_longest
from pathlib import Path
from typing import Literal

import click
from click.core import ParameterSource

from cnnbench import machine, stats
from cnnbench.cli.called import recorded_command, typed_command
from cnnbench.cli.main import EXIT_FAILED, EXIT_INTERRUPTED
from cnnbench.cli.measure import point_latest, run_folder, sigterm_interrupts
from cnnbench.cli.options import DURATION, TABLE_FORMATS, Duration, data_dir_option
from cnnbench.cli.prepare import Options, check, tell_cut_threads
from cnnbench.cli.progress import display, record_line
from cnnbench.cli.tables import render
from cnnbench.orchestrator.training import train_seeds
from cnnbench.quantity import BY_EPOCH, show, show_range
from cnnbench.record import Record, Run
from cnnbench.spec import Budget, CnnbenchError, MissingError, Request, Section, UsageError
from cnnbench.store import Store, finished

ANSWER_S = 600.0
"""Longest wait for an epoch."""


@click.command("train", no_args_is_help=True)
@click.argument("model")
@click.option("--dataset", default="digits", show_default=True, help="See 'cnnbench list datasets'.")
@data_dir_option
@click.option("--epochs", type=click.IntRange(1), help="Instead of the dataset's or the recipe's own number.")
@click.option(
    "--seeds", type=click.IntRange(1), default=1, show_default=True, help="How many trainings, each its seed."
)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="The first seed.")
@click.option("--device", type=click.Choice(["cpu", "cuda"]), default="cpu", show_default=True, help="Where to train.")
@click.option("--threads", type=click.IntRange(1), help="Threads.  [default: usable cores]")
@click.option("--weights", default="none", show_default=True, help="Start from: none, default (downloads), or a file.")
@click.option("--variant", default="eager", show_default=True, help="Make steps under it: channels_last, amp, compile.")
@click.option("--deterministic", is_flag=True, help="Only algorithms that give the same bits again, on CUDA too.")
@click.option("--resume", is_flag=True, help="Go on with what an interruption left in the run folder (--output).")
@click.option("--timeout", type=DURATION, default=ANSWER_S, help="Longest wait for an epoch: 90s, 20m.  [default: 10m]")
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), help="Run folder.  [default: results/<time>-train-MODEL]"
)
@click.option(
    "--format", "output_format", type=click.Choice(TABLE_FORMATS), default="table", help="On standard output."
)
def command(
    model: str,
    *,
    dataset: str,
    data_dir: str | None,
    epochs: int | None,
    seeds: int,
    seed: int,
    device: Literal["cpu", "cuda"],
    threads: int | None,
    weights: str,
    variant: str,
    deterministic: bool,
    resume: bool,
    timeout: float,
    output: Path | None,
    output_format: str,
) -> int:
    """Train MODEL by its tutorial's recipe and test it once; writes records, curves.csv and a checkpoint per seed.

    After each epoch the training is kept beside the checkpoint. Ctrl-C stops it after the step that it makes, keeps it
    too, and prints the command that goes on; on a CPU the weights end as those of a training that was never stopped.

    Started by torchrun, several processes train one network together: each takes its part of every batch, gradients
    are averaged (gloo on a CPU, NCCL on CUDA), and the first process alone validates, tests and writes. Losses are
    those of one process but for rounding; dropout and batch statistics differ. Ctrl-C costs the epoch in flight then.

    \b
    Examples:
      cnnbench train lenet
      cnnbench train simple_cnn --seeds 3
      cnnbench train cifar_cnn --dataset cifar10 --data-dir ~/datasets --variant channels_last
      cnnbench train ./my_model.py:build --epochs 20
      cnnbench train simple_cnn --dataset mnist --seeds 3
    """  # noqa: D301  # click's mark for a paragraph that keeps its lines
    request = Request(
        title=f"train {model}",
        sections=(Section(models=(model,), variants=(variant,)),),
        device=device,
        accuracy=dataset,
        deterministic=deterministic,
        data_dir=data_dir,
        weights=weights,
        threads=threads,
        seed=seed,
        budget=Budget(total_s=timeout, timeout_s=timeout, launches=1),
    )
    check(request, Options(command="", output=output))
    rank, size = machine.team_place()
    if size > 1 and seeds > 1:
        raise UsageError(
            f"Several processes train one seed together; --seeds {seeds} needs as many calls, with --seed."
        )
    if rank > 0:
        return _help_out(request, output, epochs=epochs, resume=resume)
    return _lead(request, output, epochs=epochs, seeds=seeds, resume=resume, output_format=output_format)


def _lead(
    request: Request, output: Path | None, *, epochs: int | None, seeds: int, resume: bool, output_format: str
) -> int:
    """Train every seed, write and show what came of it, and say how to go on if that ended early."""
    tell_cut_threads(request)
    now = datetime.now(UTC)
    folder = output or run_folder(f"train-{Path(request.sections[0].models[0]).name}", now)
    store = Store(folder)
    for caution in store.load().cautions:
        click.echo(f"Note: {caution.fact}. {caution.advice}", err=True)
    store.append(Run(title=request.title, command=recorded_command(), started=now.isoformat(timespec="seconds")))
    records, ended = _train(request, store, folder, epochs=epochs, seeds=seeds, resume=resume)
    if records:
        click.echo(_table(records, folder, output_format))
        ended = _write_curves(store, folder) or ended
        point_latest(folder)
        click.echo(f"Records, curves and checkpoints: {folder}", err=True)
    if ended is None:
        return 0 if all(r.status == "ok" for r in records) else EXIT_FAILED
    missing = range(request.seed, request.seed + seeds)[len(records) :]
    return _told(ended, resume_command(click.get_current_context(), missing, folder) if missing else None)


def _help_out(request: Request, output: Path | None, *, epochs: int | None, resume: bool) -> int:
    """Train as one of several processes that is not the first: say and write nothing."""
    model = request.sections[0].models[0]
    records = train_seeds(
        request,
        epochs=epochs,
        seeds=1,
        resume=resume,
        checkpoint=lambda seed: checkpoint_path(output or Path(), model, seed),
        tell=lambda _: None,
    )
    return 0 if all(record.status == "ok" for record in records) else EXIT_FAILED


def resume_command(context: click.Context, missing: range, folder: Path) -> str:
    """Return the command that trains the seeds `missing` into `folder` with the rest of the options in `context`."""
    words = [context.command.name or "", context.params["model"]]
    for option in context.command.params:
        name, value = option.name or "", context.params.get(option.name or "")
        plain = isinstance(option, click.Option) and name not in ("seed", "seeds", "output", "resume")
        if plain and context.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            words += [option.opts[0], f"{value:.10g}s" if isinstance(option.type, Duration) else str(value)]
    return typed_command(
        [*words, "--seed", str(missing.start), "--seeds", str(len(missing)), "--resume", "-o", str(folder)]
    )


def _told(ended: CnnbenchError | KeyboardInterrupt, resume: str | None) -> int:
    """Say what ended the trainings early and how to go on; return the exit code."""
    failed = isinstance(ended, CnnbenchError)
    click.echo(
        f"Error: {ended}" if failed else "Interrupted. Finished seeds are kept, and how far the one in progress is.",
        err=True,
    )
    if resume is not None:
        click.echo(f"Go on with:\n  {resume}", err=True)
    return ended.exit_code if isinstance(ended, CnnbenchError) else EXIT_INTERRUPTED


def checkpoint_path(folder: Path, model: str, seed: int) -> Path:
    """Return the file of the weights that a training with `seed` gave."""
    return folder / f"{Path(model).name.replace(':', '-')}-seed{seed}.safetensors"


def _train(
    request: Request, store: Store, folder: Path, *, epochs: int | None, seeds: int, resume: bool
) -> tuple[list[Record], CnnbenchError | KeyboardInterrupt | None]:
    model = request.sections[0].models[0]
    records: list[Record] = []
    try:
        with display() as shown, sigterm_interrupts():
            done = train_seeds(
                request,
                epochs=epochs,
                seeds=seeds,
                resume=resume,
                checkpoint=lambda seed: checkpoint_path(folder, model, seed),
                tell=shown.tell,
            )
            for record in done:
                store.append(record)
                records.append(record)
                shown.line(record_line(record))
    except (UsageError, MissingError):
        raise
    except (CnnbenchError, KeyboardInterrupt) as error:
        return records, error
    return records, None


def _write_curves(store: Store, folder: Path) -> CnnbenchError | None:
    """Write the curves of all trainings in the folder, those of earlier calls among them; return what prevented it."""
    try:
        text = _curves(list(finished(store.load().items).values()))
        (folder / "curves.csv").write_text(text, encoding="utf-8")
    except OSError as error:
        return CnnbenchError(f"Cannot write into '{folder}': {error.strerror}. The records are not touched.")
    return None


def _curves(records: Sequence[Record]) -> str:
    # records of earlier versions have fewer quantities
    rows = [
        (record.case.seed, epoch, *values)
        for record in records
        for epoch, values in enumerate(zip_longest(*(record.samples(q) for q in BY_EPOCH)), start=1)
    ]
    return render(("seed", "epoch", *BY_EPOCH), rows, "csv") + "\n"


def _table(records: Sequence[Record], folder: Path, output_format: str) -> str:
    headers = (
        "seed",
        "status",
        "epochs",
        "train_loss",
        "val_top1",
        "top1",
        "top1_low",
        "top1_high",
        "train_s",
        "checkpoint",
    )
    rows = [_row(record, folder) for record in records]
    if output_format != "table":
        return render(headers, rows, output_format)
    shown = [(*row[:3], *(_shown(h, v) for h, v in zip(headers[3:9], row[3:9], strict=True)), row[9]) for row in rows]
    text = render(headers, shown, "table")
    tops = [top[0] for record in records if (top := record.samples("top1"))]
    if len(tops) > 1:
        mean = stats.t_interval(tops)
        text += f"\n\ntop-1 over {len(tops)} seeds: mean {show_range(mean.center, mean.low, mean.high, 'share')}, "
        text += f"standard deviation {100 * statistics.stdev(tops):.1f} %"
    errors = [f"seed {record.case.seed}: {record.error}" for record in records if record.error]
    notes = list(dict.fromkeys(note for record in records for note in record.notes))
    return "\n".join([text, "", *errors, *notes]).rstrip()


def _shown(header: str, value: object) -> str | None:
    if not isinstance(value, float):
        return None
    return show(value, "share" if "top1" in header else "seconds" if header.endswith("_s") else "number")


def _row(record: Record, folder: Path) -> tuple[object, ...]:
    losses, tops = record.samples("train_loss"), record.samples("val_top1")
    if record.status != "ok":
        return (record.case.seed, record.status, None, *[None] * 6, None)
    test = stats.wilson(round(record.samples("correct")[0]), round(record.samples("tested")[0]))
    file = checkpoint_path(folder, record.case.model, record.case.seed)
    train_s = math.fsum(record.samples("epoch_s"))
    return (
        record.case.seed,
        "ok",
        len(losses),
        losses[-1],
        tops[-1],
        test.center,
        test.low,
        test.high,
        train_s,
        str(file),
    )
