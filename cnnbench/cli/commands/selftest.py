"""`cnnbench selftest`: run the experiments that prove the harness right, and print their figures."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from cnnbench.selftest import EXPERIMENTS, Figure, Form
from cnnbench.spec import EXIT_FAILED, EXIT_INTERRUPTED, CnnbenchError, unknown_name

FORMATS = ("table", "markdown", "csv", "json")

# Widths of the table's columns, so that it fits a wide terminal.
_WIDEST = (None, 14, None, None, 44, 24, 24, None, None, 30)


class _Help(click.Command):
    """A command whose help ends with a table of the experiments."""

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        del ctx
        with formatter.section("Experiments"):
            formatter.write_dl([(e.id, f"{e.title}. Holds if: {e.holds_if}.") for e in EXPERIMENTS.values()])


@click.command("selftest", cls=_Help)
@click.argument("names", metavar="[V1 V2 ...]", nargs=-1)
@click.option("--full", is_flag=True, help="Run every experiment in full: about an hour instead of minutes.")
@click.option("--burst", is_flag=True, help="Repeat V2, V3 and V5 with bursts of load on another core.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Seed for simulations and orders.")
@click.option(
    "-o", "--output", type=click.Path(path_type=Path, dir_okay=False), help="JSON file. An existing one is continued."
)
@click.option("--format", "output_format", type=click.Choice(FORMATS), default="table", help="Format to print.")
def command(
    *, names: tuple[str, ...], full: bool, burst: bool, seed: int, output: Path | None, output_format: str
) -> int:
    """Prove on this machine that cnnbench measures correctly: known times, known slowdowns, comparisons of equals.

    Without names, all experiments run. The short form does less than the full form where that takes long, and has its
    own bounds: V2 and V3 make 20 comparisons instead of 100, V5 makes one run of each slowdown instead of 20, and V13
    counts a handful of torchvision's classifiers instead of all. A correct harness fails a bound of the short form once
    in fifty times. If that happens, repeat the experiment or use --full. Every figure names its form.

    Ctrl-C shows what was measured so far. With --output, every figure is saved at once, and the same command later
    measures the missing figures. The exit code is 1 if a bound does not hold.

    \b
    Examples:
      cnnbench selftest
      cnnbench selftest V2 V5 --burst
      cnnbench selftest --full --burst --output selftest.json
      cnnbench selftest --output selftest.json --format markdown
    """  # noqa: D301  # click's mark for a paragraph that keeps its lines
    chosen = tuple(dict.fromkeys(name.upper() for name in names))
    for name in chosen:
        if name not in EXPERIMENTS:
            raise unknown_name("experiment", name, EXPERIMENTS)
    return _prove(chosen, "full" if full else "short", burst=burst, seed=seed, output=output, shown_as=output_format)


def _prove(names: Sequence[str], form: Form, *, burst: bool, seed: int, output: Path | None, shown_as: str) -> int:
    """Run the experiments and print the figures of all that were asked for."""
    from cnnbench.app.progress import display
    from cnnbench.app.session import sigterm_interrupts
    from cnnbench.orchestrator.events import Progress
    from cnnbench.selftest import results_file as files
    from cnnbench.selftest.driver import run, tasks

    # Figures of another machine or version prove nothing here, so only an equal file is continued.
    head = files.head_now(datetime.now(UTC))
    kept = files.Kept(head=head)
    if output is not None and (earlier := files.load(output)) is not None:
        files.check_same(earlier, head, output)
        kept = earlier

    asked = tasks(names, form, burst=burst)
    begin = time.monotonic()
    ended: CnnbenchError | KeyboardInterrupt | None = None

    with display() as shown:

        def on_progress(text: str, left_s: float) -> None:
            shown.on_progress(Progress(text=text, elapsed_s=time.monotonic() - begin, remaining_s=left_s))

        try:
            with sigterm_interrupts():
                for figure in run(asked, kept.figures, seed=seed, on_progress=on_progress):
                    kept = replace(kept, figures=(*kept.figures, figure))
                    shown.line(line(figure))
                    # Saved after every figure, so that an interruption costs only the one in progress.
                    if output is not None:
                        files.save(output, kept)
        except (CnnbenchError, KeyboardInterrupt) as error:
            ended = error

    # The file may also hold the figures of other experiments, and of the other form.
    figures = [figure for task in asked for figure in kept.figures if task.is_of(figure)]
    click.echo(text(replace(kept, figures=tuple(figures)), shown_as))

    if isinstance(ended, CnnbenchError):
        raise ended
    if ended is not None:
        click.echo(f"Interrupted. {len(figures)} of {len(asked)} figures were measured.", err=True)
        return EXIT_INTERRUPTED

    # `holds` is None for an experiment that this machine cannot run; that is not a failure.
    return EXIT_FAILED if any(figure.holds is False for figure in figures) else 0


def line(figure: Figure) -> str:
    """Return the line that reports the result of one figure."""
    from cnnbench.selftest.results_file import word

    found = figure.found
    parts = (figure.id, figure.part, "burst" if figure.load == "burst" else "")
    said = found.reason if not found.shown else f"{found.shown} (bound: {found.bound})"
    return f"{word(figure.holds):>7}  {' '.join(filter(None, parts))}  {said}"


def text(kept: Any, shown_as: str) -> str:
    """Return the figures in the format asked for; `kept` is a `selftest.results_file.Kept`."""
    from cnnbench.report.text.listing import render
    from cnnbench.selftest.results_file import COLUMNS, rows, to_json

    if shown_as == "json":
        return to_json(kept).decode().rstrip("\n")
    if shown_as == "csv":
        return render(COLUMNS, rows(kept.figures), "csv")

    from tabulate import tabulate

    cells = [["-" if cell is None else cell for cell in row] for row in rows(kept.figures)]

    # In Markdown, two spaces break a line of the head, and cells are not wrapped, because the page wraps them.
    head = [f"{said}  " if shown_as == "markdown" else said for said in kept.head.lines()]
    kind = "github" if shown_as == "markdown" else "simple"
    widths = None if shown_as == "markdown" or not cells else list(_WIDEST)
    table = tabulate(cells, headers=COLUMNS, tablefmt=kind, disable_numparse=True, maxcolwidths=widths)
    return "\n".join([*head, "", table])
