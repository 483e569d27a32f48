"""`cnnbench data`: show where datasets lie, check whether they are complete, and get them."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from cnnbench import data
from cnnbench.app.option_types import TABLE_FORMATS, data_dir_option
from cnnbench.app.progress import display
from cnnbench.data.check import DatasetSummary, inspect
from cnnbench.data.dataset import DatasetSpec, OnProgress, Source
from cnnbench.orchestrator.events import Progress
from cnnbench.report.text.listing import render
from cnnbench.spec import EXIT_FAILED, UsageError


@click.group("data", no_args_is_help=True)
def command() -> None:
    """List, verify, fetch and import datasets.

    cnnbench looks for a dataset in --data-dir, then in the folder that CNNBENCH_DATA names, then in ./data.

    \b
    Examples:
      cnnbench data list
      cnnbench data verify mnist --data-dir ~/datasets
      cnnbench data fetch cifar10
      cnnbench data import mnist ~/Downloads
    """  # noqa: D301  # click's mark for a paragraph that keeps its lines


@command.command("list")
@data_dir_option
@click.option("--format", "output_format", type=click.Choice(TABLE_FORMATS), default="table", help="Output format.")
def list_(*, data_dir: str | None, output_format: str) -> int:
    """List the datasets, and where each one was found."""
    where = data.places(data_dir)
    rows = []
    for spec in data.DATASETS.values():
        found = spec.look(where)
        rows.append((spec.name, spec.classes, *_source_cells(found), spec.description))
    click.echo(render(("name", "classes", "found", "place", "description"), rows, output_format))
    return 0


def _source_cells(source: Source | None) -> tuple[str | None, str | None]:
    if source is None:
        return None, None
    if not source.files:
        return source.form, None
    first = source.files[0].path
    return source.form, str(first if len(source.files) == 1 else first.parent)


@command.command("verify")
@click.argument("name")
@data_dir_option
@click.option("--format", "output_format", type=click.Choice(("table", "json")), default="table", help="Output format.")
def verify(name: str, *, data_dir: str | None, output_format: str) -> int:
    """Read a whole dataset and show its counts, checksums, class balance, pixel values and corrupt images.

    NAME is a dataset, or folder:PATH for a folder that has one folder of images for each class. Corrupt images are
    listed here and left out of every training; nothing is deleted. The exit code is 1 if a checksum differs from the
    published one.

    \b
    Examples:
      cnnbench data verify mnist
      cnnbench data verify cats_dogs --data-dir ~/datasets
      cnnbench data verify folder:./flowers
    """  # noqa: D301  # click's mark for a paragraph that keeps its lines
    spec = data.find(name)
    source = data.locate(spec, data.places(data_dir))
    with _show_progress() as on_progress:
        facts = inspect(spec, source, on_progress)

    # `as_published` is None for a file without a published checksum, which is not a failure.
    click.echo(_json_text(spec, facts) if output_format == "json" else "\n".join(_text_lines(spec, facts)))
    return EXIT_FAILED if any(file.as_published is False for file in facts.files) else 0


@command.command("fetch")
@click.argument("name")
@click.option("--data-dir", default="data", show_default=True, help="Data folder to write to.")
def fetch(name: str, *, data_dir: str) -> int:
    """Download a dataset into the data folder, and verify its checksums."""
    from cnnbench.data import fetch as fetching

    spec = data.find(name)
    new = fetching.fetch(spec, Path(data_dir))
    for path in new:
        click.echo(str(path))
    click.echo(f"{len(new)} of {len(spec.downloads)} files were fetched; the others were already there.", err=True)
    return 0


@command.command("import")
@click.argument("name")
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--data-dir", default="data", show_default=True, help="Data folder to write to.")
def import_(name: str, folder: Path, *, data_dir: str) -> int:
    """Copy a dataset from FOLDER, in any supported form, into the data folder.

    The whole dataset is read first. A damaged dataset is not copied.
    """
    from cnnbench.data import fetch as fetching

    spec = data.find(name)
    if not spec.needs:
        raise UsageError(f"'{name}' cannot be imported: it needs no files, or its name is its folder. Use it as it is.")
    if not folder.is_dir():
        raise UsageError(f"There is no folder '{folder}'. Give the folder that holds {spec.needs}.")

    source = spec.look((folder,))
    if source is None:
        raise UsageError(f"'{folder}' does not hold {spec.needs}.")

    # Reading is the check: it raises an error for damaged files. The arrays are not used.
    with _show_progress() as on_progress:
        spec.read(source, spec.shape, on_progress)
    for path in fetching.take_over(source, Path(data_dir)):
        click.echo(str(path))
    return 0


@contextmanager
def _show_progress() -> Iterator[OnProgress]:
    """Yield the callback of a display that shows how far reading is."""
    begin = time.monotonic()
    with display() as shown:
        # The time left follows from the share that has been read; it is unknown while that is 0.
        def on_progress(text: str, share: float) -> None:
            elapsed = time.monotonic() - begin
            left = elapsed / share - elapsed if share else 0.0
            shown.on_progress(Progress(text=text, elapsed_s=elapsed, remaining_s=left))

        yield on_progress


def _text_lines(spec: DatasetSpec, facts: DatasetSummary) -> Iterator[str]:
    yield f"{spec.name}: {facts.source.form}"
    yield f"Source: {spec.source}"
    if facts.files:
        rows = [(str(file.path), file.md5, _verdict(file.as_published)) for file in facts.files]
        yield f"\n{render(('file', 'md5', 'as published'), rows, 'table')}"

    # `inspect` does not read a dataset with a file that is not the published one.
    if not facts.parts:
        yield "\nThe dataset was not read, because a file is damaged or is not the published one."
        yield f"Delete that file and run 'cnnbench data fetch {spec.name}'."
        return

    # Classes without names go by their numbers.
    names = spec.class_names or tuple(str(k) for k in range(spec.classes))
    parts = [
        (part.name, part.images, "x".join(map(str, part.shape)), f"{part.low:g} to {part.high:g}")
        for part in facts.parts
    ]
    yield f"\n{render(('part', 'images', 'shape', 'pixels'), parts, 'table')}"

    # The balance has a row for each class, and a column for each part with its number of images.
    balance = [(name, *(part.by_class[at] for part in facts.parts)) for at, name in enumerate(names)]
    yield f"\n{render(('class', *(part.name for part in facts.parts)), balance, 'table')}\n"

    # Images are decoded by their content, so a wrong file extension does not exclude them.
    yield from facts.notes
    if facts.misnamed:
        yield f"Used, although the file extension does not match the format: {', '.join(facts.misnamed)}"

    yield f"{len(facts.left_out)} corrupt images are left out{':' if facts.left_out else '.'}"
    yield from (f"  {image.name}: {image.reason}" for image in facts.left_out)


def _verdict(as_published: bool | None) -> str | None:  # noqa: FBT001  # a fact, not a switch
    if as_published is None:
        return None
    return "yes" if as_published else "NO"


def _json_text(spec: DatasetSpec, facts: DatasetSummary) -> str:
    import msgspec

    held = {"name": spec.name, "class_names": spec.class_names, **msgspec.to_builtins(facts, enc_hook=str)}
    return json.dumps(held, indent=2)
