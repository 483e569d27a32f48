"""`cnnbench compare`: measure models and variants side by side."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import click

from cnnbench.app.command_line import recorded_command, typed_command
from cnnbench.app.option_types import COUNT, DURATION, NUMBERS, PERCENT, SHAPE, Words, data_dir_option
from cnnbench.app.prepare import DEFAULT_BUDGET_S, budget, short_name
from cnnbench.report import WRITERS
from cnnbench.spec import Device, Request, Section, Shape, Task


@dataclass(frozen=True, kw_only=True, slots=True)
class MeasuringOptions:
    """Values of the options that `compare` and `run` share; None means the default of the command or of the plan."""

    device: Device | Literal["all"] | None
    batch_sizes: tuple[int, ...] | None
    variants: tuple[str, ...] | None
    tasks: tuple[Task, ...] | None
    accuracy: str | None
    data_dir: str | None
    weights: str | None
    input_shape: Shape | None
    reference: str | None
    delta: float | None
    budget: float | None
    timeout: float | None
    threads: int | None
    seed: int | None
    sort: str | None
    latency_max: float | None
    params_max: int | None
    dry_run: bool
    output: Path | None
    output_format: str


def measuring_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that `compare` and `run` share; None means the default of the command or of the plan."""
    options = (
        click.option("--device", type=click.Choice(["cpu", "cuda", "all"]), help="Where to run.  [default: cpu]"),
        click.option("--batch-size", "batch_sizes", type=NUMBERS, help="Batch sizes, such as 1,8.  [default: 1]"),
        click.option(
            "--variants", type=Words(), help="Variants, such as eager,channels_last+compile, or 'all' native ones."
        ),
        click.option(
            "--task",
            "tasks",
            type=Words(("infer", "train")),
            help="infer (forward passes), train (training steps), or both: infer,train.",
        ),
        click.option("--accuracy", metavar="DATASET", help="Also train on this dataset and report top-1: digits."),
        data_dir_option,
        click.option("--weights", help="Weights: none, default (downloads torchvision's), or a file.  [default: none]"),
        click.option("--input-shape", type=SHAPE, help="Shape of one image, instead of the model's own: 3x32x32."),
        click.option(
            "--reference",
            metavar="MODEL[/VARIANT]",
            help="Compute all speed-ups against this reference.  [default: each model's own eager]",
        ),
        click.option(
            "--delta",
            type=PERCENT,
            help="Smallest difference that counts, such as 3%.  [default: 3%, 1% if quiet, 0.5% on CUDA]",
        ),
        click.option("--budget", type=DURATION, help="Time for the whole run, such as 10m.  [default: 60s]"),
        click.option(
            "--timeout",
            type=DURATION,
            help="Longest wait for an answer from one cell.  [default: a third of the budget, from 10s to 120s]",
        ),
        click.option("--threads", type=click.IntRange(1), help="Threads for each cell.  [default: usable cores]"),
        click.option("--seed", type=click.IntRange(0), help="Seed for weights, inputs and orders.  [default: 0]"),
        click.option("--sort", metavar="COLUMN", help="Order the rows by a column of report.csv, like latency_s."),
        click.option("--latency-max", type=DURATION, help="Hide rows slower than this and name the best that fits."),
        click.option("--params-max", type=COUNT, help="Hide rows with more parameters, such as 500k or 5M."),
        click.option("--dry-run", is_flag=True, help="Show the cells and how long they take; measure nothing."),
        click.option(
            "-o", "--output", type=click.Path(path_type=Path), help="Run folder. An existing run in it is resumed."
        ),
        click.option(
            "--format",
            "output_format",
            type=click.Choice([name for name, writer in WRITERS.items() if writer.printed]),
            default="table",
            help="Format to print.",
        ),
    )

    # The last decorator applied comes first in the help.
    for option in reversed(options):
        command = option(command)

    return command


@click.command("compare", no_args_is_help=True)
@click.argument("names", metavar="MODEL...", nargs=-1, required=True)
@measuring_options
def command(names: tuple[str, ...], **given: Any) -> int:
    """Measure models and variants side by side, and write a run folder.

    MODEL is a built-in (cnnbench list models), torchvision:NAME, timm:NAME or FILE.py:FACTORY.
    'eager' is always measured, as the reference. Progress goes to standard error, the result to standard output.

    \b
    Examples:
      cnnbench compare lenet vgg16 mobilenet_v2
      cnnbench compare resnet18 --variants all --batch-size 1,8 --budget 5m
      cnnbench compare lenet ./my_model.py:build --reference lenet
      cnnbench compare mlp lenet --accuracy digits --sort top1 --format csv > result.csv
    """  # noqa: D301  # click's mark for a paragraph that keeps its lines
    # The shared options are None unless given, so the defaults of `compare` stand here.
    options = MeasuringOptions(**given)
    request = Request(
        title=f"compare {' '.join(short_name(name) for name in names)}",
        sections=(
            Section(
                models=names,
                variants=options.variants or ("eager", "channels_last"),
                batch_sizes=options.batch_sizes or (1,),
                tasks=options.tasks or ("infer",),
            ),
        ),
        device=options.device or "cpu",
        accuracy=options.accuracy,
        data_dir=options.data_dir,
        weights=options.weights or "none",
        input_shape=options.input_shape,
        reference=options.reference,
        threads=options.threads,
        seed=options.seed or 0,
        budget=budget(options.budget or DEFAULT_BUDGET_S, options.timeout),
    )

    return execute(request, options)


def execute(request: Request, asked: MeasuringOptions, *, lenient_accuracy: bool = False) -> int:
    """Check and measure `request` with the other options that are `asked` for, and return the exit code."""
    from cnnbench.app.prepare import (
        Options,
        add_expected_budget,
        canonical_request,
        check,
        show_dry_run,
        tell_cut_threads,
    )
    from cnnbench.app.session import conclude, measure

    options = Options(
        command=recorded_command(),
        typed=typed_command(),
        output=asked.output,
        sort=asked.sort,
        latency_max_s=asked.latency_max,
        params_max=asked.params_max,
        delta=asked.delta,
        lenient_accuracy=lenient_accuracy,
    )

    # These checks need no torch, so a mistake shows at once.
    request = canonical_request(request)
    check(request, options)
    tell_cut_threads(request)
    if asked.dry_run:
        show_dry_run(request, asked.output_format)
        return 0

    # A plan with the budget "auto" gets the time that it is expected to take.
    if request.budget.total_s == math.inf:
        request = add_expected_budget(request)

    return conclude(measure(request, options), options, asked.output_format, click.echo)
