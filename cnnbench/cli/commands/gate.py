"""`cnnbench gate`: decide for CI whether a change makes a model slower, measured in one job on one machine."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cnnbench.app.command_line import recorded_command
from cnnbench.app.option_types import DURATION, NUMBERS, PERCENT, SHAPE, Words
from cnnbench.gate.defaults import DEFAULT_BUDGET_S, DEFAULT_MODELS, DEFAULT_THREADS, DEFAULT_THRESHOLD
from cnnbench.spec import EXIT_FAILED, EXIT_INTERRUPTED, UsageError

if TYPE_CHECKING:
    from cnnbench.gate.request import GateOptions
    from cnnbench.gate.session import Gate

FORMATS = ("table", "markdown", "csv", "json")


@click.command("gate", no_args_is_help=True)
@click.argument("base")
@click.argument("head", required=False)
@click.option(
    "--models",
    type=Words(),
    help=f"Built-ins of this repository, or path/in/it.py:FACTORY.  [default: {','.join(DEFAULT_MODELS)}]",
)
@click.option("--variants", type=Words(), default=("eager",), help="Such as eager,compile.  [default: eager]")
@click.option("--batch-size", "batch_sizes", type=NUMBERS, default=(1,), help="Batch sizes.  [default: 1]")
@click.option("--input-shape", type=SHAPE, help="Shape of one image, instead of the models' own: 3x32x32.")
@click.option(
    "--threshold", type=PERCENT, default=DEFAULT_THRESHOLD, help="Slowdown above which a cell fails.  [default: 5%]"
)
@click.option(
    "--inconclusive",
    type=click.Choice(["pass", "fail"]),
    default="pass",
    show_default=True,
    help="Result of a cell that is inconclusive: pass or fail.",
)
@click.option(
    "--budget",
    type=DURATION,
    default=DEFAULT_BUDGET_S,
    help="Time for the first measurement; a second one takes at most as long.  [default: 100s]",
)
@click.option(
    "--threads",
    type=click.IntRange(1),
    default=DEFAULT_THREADS,
    show_default=True,
    help="Threads for each cell. With fewer threads than cores, other programs disturb less.",
)
@click.option(
    "--seed", type=click.IntRange(0), default=0, show_default=True, help="Seed for weights, inputs and orders."
)
@click.option(
    "--base-python",
    metavar="PATH",
    type=click.Path(exists=True, dir_okay=False, executable=True),
    help="Interpreter of BASE's own environment, for revisions with different requirements.",
)
@click.option("--same-environment", is_flag=True, help="Measure both here, even if requirements differ.")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Run folder.  [default: a new one in results]")
@click.option(
    "--history",
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    help="CSV file of earlier gates, shown below the verdict without affecting it. This gate's rows are added.",
)
@click.option("--format", "output_format", type=click.Choice(FORMATS), default="table", help="Format to print.")
def command(base: str, head: str | None, output_format: str, models: tuple[str, ...] | None, **given: Any) -> int:
    """Check whether HEAD is slower than BASE; the exit code is 1 if it is.

    BASE and HEAD are git revisions of this repository, or two model files FILE.py:FACTORY. HEAD defaults to the working
    tree. Both are measured in turns, now and on this machine. A cell that looks slower than the threshold is measured
    once more. It fails only if it is slower both times, with 99 % confidence each time.

    \b
    Examples:
      cnnbench gate origin/main
      cnnbench gate v1.2 HEAD --models lenet,resnet18 --threshold 3%
      cnnbench gate origin/main --models nets/small.py:build --input-shape 3x32x32
      cnnbench gate origin/main --history gates.csv --format markdown >> "$GITHUB_STEP_SUMMARY"
      cnnbench gate before.py:build after.py:build --input-shape 3x32x32
    """  # noqa: D301  # click's mark for a paragraph that keeps its lines
    from cnnbench.gate import history
    from cnnbench.gate.formats import GATE_WRITERS
    from cnnbench.gate.request import GateOptions
    from cnnbench.gate.session import run_gate

    # Two options have other names than their fields; the others fit as they are.
    fails = given.pop("inconclusive") == "fail"
    options = GateOptions(budget_s=given.pop("budget"), inconclusive_fails=fails, command=recorded_command(), **given)

    try:
        with _open_gate(base, head, models, options) as gate:
            report, folder = run_gate(gate)
    except KeyboardInterrupt:  # caught here, because click would print an empty line after the progress
        click.echo("Interrupted.", err=True)
        return EXIT_INTERRUPTED

    click.echo(GATE_WRITERS[output_format](report).rstrip("\n"))
    click.echo(f"Records and reports: {folder}", err=True)

    # The report shows earlier gates only, so the rows of this one are appended after it.
    if options.history is not None:
        history.append(options.history, GATE_WRITERS["csv"](report))
    return EXIT_FAILED if report.failed else 0


@contextmanager
def _open_gate(base: str, head: str | None, models: tuple[str, ...] | None, options: GateOptions) -> Iterator[Gate]:
    """Yield the gate that the arguments ask for; its revisions stay checked out while the context is open."""
    from cnnbench.gate.request import gate_of_files, gate_of_revisions
    from cnnbench.models.external import is_outside

    # Without HEAD, BASE is compared with the working tree.
    if not is_outside(base) and (head is None or not is_outside(head)):
        with gate_of_revisions(base, head, models or DEFAULT_MODELS, options, Path.cwd()) as gate:
            yield gate
        return

    # Model files name their own factories, so --models has no meaning for them.
    if head is None or not (is_outside(base) and is_outside(head)):
        raise UsageError("BASE and HEAD must be of one kind: two git revisions, or two model files FILE.py:FACTORY.")
    if models is not None:
        raise UsageError("--models is only for git revisions, because a model file names its model. Leave it out.")
    yield gate_of_files(base, head, options)
