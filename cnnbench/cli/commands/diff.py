"""`cnnbench diff`: show what changed between two runs, without measuring and without torch."""

from __future__ import annotations

from pathlib import Path

import click

from cnnbench.analysis.comparability import CONDITIONS
from cnnbench.analysis.diff import diff
from cnnbench.app.option_types import Words
from cnnbench.report.diff import DIFF_WRITERS, banner
from cnnbench.spec import unknown_name
from cnnbench.store import load


@click.command("diff", no_args_is_help=True)
@click.argument("base", type=click.Path(path_type=Path))
@click.argument("head", type=click.Path(path_type=Path))
@click.option(
    "--allow",
    "allowed",
    metavar="FIELD",
    multiple=True,
    type=Words(),
    help="Conditions that may differ between the runs, such as torch,threads. May be repeated.",
)
@click.option("--all", "everything", is_flag=True, help="Also show what has not changed.")
@click.option(
    "--format",
    "output_format",
    type=click.Choice(list(DIFF_WRITERS)),
    default="table",
    help="Format to print.",
)
def command(
    *, base: Path, head: Path, allowed: tuple[tuple[str, ...], ...], everything: bool, output_format: str
) -> int:
    """Show what changed between two runs: counts, accuracy, latency, memory, compile time, numerical error.

    BASE and HEAD are run folders or records.jsonl files. The command refuses runs under unlike conditions (machine,
    versions, threads, input) and names the fields. --allow compares such runs anyway, under a banner.

    The table lists only certain differences: any difference in counts or top-1, times if the intervals of both runs
    exclude that nothing changed, and other numbers from 5 % on. This is not a verdict, because the two runs were not
    measured together. For a verdict, use `cnnbench gate`.

    \b
    Examples:
      cnnbench diff results/A results/B
      cnnbench diff results/A results/B --allow torch,torchvision --format markdown
      cnnbench diff old/records.jsonl results/latest --all --format csv > diff.csv
    """  # noqa: D301  # click's mark for a paragraph that keeps its lines
    # --allow may be repeated, and each value may be a list.
    fields = tuple(name for names in allowed for name in names)
    for name in fields:
        if name not in CONDITIONS:
            raise unknown_name("condition", name, CONDITIONS)

    sides = []
    for place in (base, head):
        loaded = load(place)
        for warning in loaded.warnings:
            click.echo(f"Note: {warning.fact}. {warning.advice}", err=True)
        sides.append((str(place), loaded.items))

    found = diff(sides[0], sides[1], allow=fields, everything=everything)

    # CSV has no place for the banner, so it goes to standard error.
    if output_format == "csv":
        for line in banner(found):
            click.echo(f"Note: {line}", err=True)

    click.echo(DIFF_WRITERS[output_format](found).rstrip("\n"))
    return 0
