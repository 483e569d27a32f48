"""`cnnbench train`: train a model by its tutorial's recipe, with one seed or several."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, get_args

import click
from click.core import ParameterSource

from cnnbench import machine
from cnnbench.app.command_line import recorded_command, typed_command
from cnnbench.app.option_types import DURATION, TABLE_FORMATS, Duration, data_dir_option
from cnnbench.app.prepare import Options, check, tell_cut_threads
from cnnbench.app.progress import display, record_line
from cnnbench.app.session import point_latest, run_folder, sigterm_interrupts
from cnnbench.atomic_write import writing_into
from cnnbench.cli.training_results import checkpoint_path, curves_text, steps_text, table_text
from cnnbench.orchestrator.training import train_seeds
from cnnbench.record import Record, Run
from cnnbench.spec import (
    EXIT_FAILED,
    EXIT_INTERRUPTED,
    FEATURES_ALONE,
    Budget,
    CnnbenchError,
    MissingError,
    RecipeName,
    Request,
    Section,
    Training,
    UsageError,
)
from cnnbench.store import Store, finished_records

RECIPES = get_args(RecipeName)

POSITIVE = click.FloatRange(0.0, min_open=True)

# Longest wait for an epoch, in seconds.
ANSWER_S = 600.0


HELP = """Train MODEL by its tutorial's recipe and test it once; write records, curves.csv and a checkpoint per seed.

--recipe tutorial is the page's recipe with its mistakes corrected. as-published keeps the mistakes (`cnnbench
describe MODEL` lists them). fast is the dataset's own recipe: a learning rate that rises and falls, and other settings
that give good accuracy soon. Models with a frozen part train only their head; --unfreeze then trains all layers.
--log-every also writes steps.csv.

After each epoch, the training is saved beside the checkpoint. Ctrl-C stops after the current step, saves the training,
and prints the command that resumes it. On a CPU, the final weights equal those of a training that was never stopped.

Under torchrun, several processes train one model together. Each process takes its part of every batch, and gradients
are averaged (gloo on a CPU, NCCL on CUDA). Only the first process validates, tests and writes. Losses equal those of
one process except for rounding; dropout and batch statistics differ. Ctrl-C then loses the current epoch.

\b
Examples:
  cnnbench train lenet
  cnnbench train simple_cnn --seeds 3
  cnnbench train cifar_cnn --dataset cifar10 --data-dir ~/datasets --variant channels_last
  cnnbench train ./my_model.py:build --epochs 20
  cnnbench train simple_cnn --dataset mnist --seeds 3
  cnnbench train simple_cnn --dataset mnist --recipe fast
  cnnbench train mobilenet_v2_transfer --dataset cats_dogs --weights w.pth --cache-features --epochs 5 --unfreeze 1
"""


@click.command("train", help=HELP, no_args_is_help=True)
@click.argument("model")
@click.option("--dataset", default="digits", show_default=True, help="Dataset, see 'cnnbench list datasets'.")
@data_dir_option
@click.option("--recipe", type=click.Choice(RECIPES), default="tutorial", show_default=True, help="See above.")
@click.option("--epochs", type=click.IntRange(1), help="Number of epochs, instead of the dataset's or the recipe's.")
@click.option("--unfreeze", type=click.IntRange(0), metavar="EPOCHS", help="Further epochs that train all layers.")
@click.option(
    "--unfrozen-lr", type=POSITIVE, help="Learning rate of these epochs.  [default: a hundredth of the recipe's]"
)
@click.option("--cache-features", is_flag=True, help="Train the head on outputs of the frozen layers, computed once.")
@click.option(
    "--log-every", type=click.IntRange(1), metavar="STEPS", help="Record loss and accuracy every STEPS steps."
)
@click.option(
    "--seeds", type=click.IntRange(1), default=1, show_default=True, help="Number of trainings, each with its own seed."
)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="The first seed.")
@click.option("--device", type=click.Choice(["cpu", "cuda"]), default="cpu", show_default=True, help="Where to train.")
@click.option("--threads", type=click.IntRange(1), help="Threads to train with.  [default: usable cores]")
@click.option(
    "--weights",
    default="none",
    show_default=True,
    help="Initial weights: none, default (downloads torchvision's), or a file.",
)
@click.option(
    "--variant", default="eager", show_default=True, help="Variant of the training steps: channels_last, amp, compile."
)
@click.option("--deterministic", is_flag=True, help="Use only deterministic algorithms, also on CUDA.")
@click.option("--resume", is_flag=True, help="Resume an interrupted training from the run folder (--output).")
@click.option("--timeout", type=DURATION, default=ANSWER_S, help="Longest wait for an epoch: 90s, 20m.  [default: 10m]")
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), help="Run folder.  [default: results/<time>-train-MODEL]"
)
@click.option("--format", "output_format", type=click.Choice(TABLE_FORMATS), default="table", help="Format to print.")
def command(
    model: str,
    *,
    dataset: str,
    data_dir: str | None,
    recipe: RecipeName,
    epochs: int | None,
    unfreeze: int | None,
    unfrozen_lr: float | None,
    cache_features: bool,
    log_every: int | None,
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
    """Train a model; the help says how."""
    request = Request(
        title=f"train {model}",
        sections=(Section(models=(model,), variants=(variant,)),),
        device=device,
        accuracy=dataset,
        recipe=recipe,
        deterministic=deterministic,
        data_dir=data_dir,
        weights=weights,
        threads=threads,
        seed=seed,
        budget=Budget(total_s=timeout, timeout_s=timeout),
    )

    training = Training(
        epochs=epochs,
        unfrozen_epochs=unfreeze,
        unfrozen_rate=unfrozen_lr,
        cache_features=cache_features,
        log_every=log_every or 0,
    )

    check(request, Options(command="", output=output))
    rank, size = machine.rank_and_world_size()
    if cache_features and (variant != "eager" or size > 1):
        raise UsageError(FEATURES_ALONE)

    if size > 1 and seeds > 1:
        raise UsageError(
            f"Several processes train one seed together, not --seeds {seeds}. Run the command once for each --seed."
        )

    # Every rank trains, but only rank 0 validates, tests, writes and prints.
    if rank > 0:
        return _run_other_rank(request, output, training, resume=resume)
    return _run_rank_zero(request, output, training, seeds=seeds, resume=resume, output_format=output_format)


def _run_rank_zero(
    request: Request, output: Path | None, training: Training, *, seeds: int, resume: bool, output_format: str
) -> int:
    """Train every seed, write and print the results, and print how to go on if the training ended early."""
    tell_cut_threads(request)
    now = datetime.now(UTC)
    folder = output or run_folder(f"train-{Path(request.sections[0].models[0]).name}", now)
    store = Store(folder)
    click.get_current_context().with_resource(store.only_writer())

    # An earlier run in this folder may have been killed while it wrote a record.
    for warning in store.load().warnings:
        click.echo(f"Note: {warning.fact}. {warning.advice}", err=True)

    store.append(Run(title=request.title, command=recorded_command(), started=now.isoformat(timespec="seconds")))
    records, ended = _train(request, store, folder, training, seeds=seeds, resume=resume)

    # Finished seeds have results even if a later one failed.
    if records:
        click.echo(table_text(records, folder, output_format))
        ended = _write_curves(store, folder) or ended
        point_latest(folder)
        click.echo(f"Records, curves and checkpoints: {folder}", err=True)

    if ended is None:
        return 0 if all(r.status == "ok" for r in records) else EXIT_FAILED

    # Seeds are trained in order, so the missing ones are the last.
    missing = range(request.seed, request.seed + seeds)[len(records) :]
    return _report_end(ended, resume_command(click.get_current_context(), missing, folder) if missing else None)


def _run_other_rank(request: Request, output: Path | None, training: Training, *, resume: bool) -> int:
    """Train as one of several processes, but not the first, without printing or writing anything."""
    model = request.sections[0].models[0]
    records = train_seeds(
        request,
        training=training,
        seeds=1,
        resume=resume,
        checkpoint=lambda seed: checkpoint_path(output or Path(), model, seed),
        on_progress=lambda _: None,
    )
    return 0 if all(record.status == "ok" for record in records) else EXIT_FAILED


def resume_command(context: click.Context, missing: range, folder: Path) -> str:
    """Return the command that trains the seeds `missing` into `folder` with the other options in `context`."""
    words = [context.command.name or "", context.params["model"]]
    for option in context.command.params:
        # The seeds and the folder are given anew below.
        name, value = option.name or "", context.params.get(option.name or "")
        if not isinstance(option, click.Option) or name in ("seed", "seeds", "output", "resume"):
            continue

        # Only typed options are repeated. A duration was parsed to seconds, which are written with their unit.
        if context.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            words.append(option.opts[0])
            if not option.is_flag:
                words.append(f"{value:.10g}s" if isinstance(option.type, Duration) else str(value))

    return typed_command(
        [*words, "--seed", str(missing.start), "--seeds", str(len(missing)), "--resume", "-o", str(folder)]
    )


def _report_end(ended: CnnbenchError | KeyboardInterrupt, resume: str | None) -> int:
    """Print what ended the trainings early and how to go on, and return the exit code."""
    failed = isinstance(ended, CnnbenchError)
    click.echo(
        f"Error: {ended}" if failed else "Interrupted. Finished seeds and the training in progress are kept.",
        err=True,
    )
    if resume is not None:
        click.echo(f"Continue with:\n  {resume}", err=True)
    return ended.exit_code if isinstance(ended, CnnbenchError) else EXIT_INTERRUPTED


def _train(
    request: Request, store: Store, folder: Path, training: Training, *, seeds: int, resume: bool
) -> tuple[list[Record], CnnbenchError | KeyboardInterrupt | None]:
    model = request.sections[0].models[0]
    records: list[Record] = []
    try:
        with display() as shown, sigterm_interrupts():
            done = train_seeds(
                request,
                training=training,
                seeds=seeds,
                resume=resume,
                checkpoint=lambda seed: checkpoint_path(folder, model, seed),
                on_progress=shown.on_progress,
            )
            for record in done:
                store.append(record)
                records.append(record)
                shown.line(record_line(record))
    # After these two, the same command would fail again. Any other error keeps the finished seeds.
    except (UsageError, MissingError):
        raise
    except (CnnbenchError, KeyboardInterrupt) as error:
        return records, error

    return records, None


def _write_curves(store: Store, folder: Path) -> CnnbenchError | None:
    """Write the curves of all trainings in the folder, including earlier ones; return the error if that fails."""
    records = list(finished_records(store.load().items).values())
    try:
        with writing_into(folder):
            (folder / "curves.csv").write_text(curves_text(records), encoding="utf-8")
            if any(record.samples("step_step") for record in records):
                (folder / "steps.csv").write_text(steps_text(records), encoding="utf-8")
    except CnnbenchError as error:
        return error
    return None
