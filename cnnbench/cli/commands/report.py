"""`cnnbench report`: rebuild or merge reports from records, without measuring and without torch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from cnnbench.analysis import analyse
from cnnbench.app.option_types import Words
from cnnbench.app.write_files import FILES, write_files
from cnnbench.record import Record, Run
from cnnbench.report import WRITERS
from cnnbench.store import load, records_file


@click.command("report", no_args_is_help=True)
@click.argument("runs", metavar="RUN...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--format",
    "formats",
    type=Words(tuple(WRITERS)),
    default=FILES,
    help="Files to write.  [default: markdown,csv,html]",
)
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Folder for the files.  [default: the first RUN]")
def command(runs: tuple[Path, ...], formats: tuple[str, ...], output: Path | None) -> int:
    """Rebuild the reports of a run from its records, or merge several runs made under the same conditions.

    RUN is a run folder or a records.jsonl file. The same records give the same bytes. Further runs count as further
    rounds. Cells are compared only within a run.

    \b
    Examples:
      cnnbench report results/latest
      cnnbench report results/A results/B --output results/merged
      cnnbench report results/latest --format csv,json --output /tmp/out
    """  # noqa: D301  # click's mark for a paragraph that keeps its lines
    files: dict[Path, Sequence[Record | Run]] = {}
    for run in runs:
        loaded = load(run)
        for warning in loaded.warnings:
            click.echo(f"Note: {warning.fact}. {warning.advice}", err=True)
        files[records_file(run).resolve()] = loaded.items  # a run named twice counts once

    # A file of records stands for its folder.
    first = runs[0] if runs[0].is_dir() else runs[0].parent
    for path in write_files(analyse(*files.values()), output or first, formats):
        click.echo(path)
    return 0
