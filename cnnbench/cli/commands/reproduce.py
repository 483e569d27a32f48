"""`cnnbench reproduce`: reproduce the published results of a tutorial, each figure beside the measured one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path

import click

from cnnbench import data
from cnnbench.analysis.published_results import OTHER_SIZE, TRAINED, Reproduced, follows_page, reproduce
from cnnbench.app.command_line import recorded_command, typed_command
from cnnbench.app.option_types import data_dir_option
from cnnbench.app.progress import display, record_line
from cnnbench.app.session import run_folder, sigterm_interrupts
from cnnbench.atomic_write import writing_into
from cnnbench.cli.commands.train import ANSWER_S
from cnnbench.cli.training_results import checkpoint_path
from cnnbench.models import MODELS
from cnnbench.models.sources import TUTORIALS
from cnnbench.orchestrator.events import Progress
from cnnbench.orchestrator.queries import count_models
from cnnbench.orchestrator.training import train_seeds
from cnnbench.record import Record, Run
from cnnbench.report.text.listing import render
from cnnbench.spec import (
    EXIT_FAILED,
    EXIT_INTERRUPTED,
    Budget,
    MissingError,
    ModelSpec,
    Recipe,
    Request,
    Section,
    UsageError,
    unknown_name,
)
from cnnbench.store import Store, finished_records

COLUMNS = ("model", "quantity", "printed", "measured", "low", "high", "verdict", "note")
FORMATS = ("table", "csv", "markdown")
# Height and width of the second input for which pages print figures.
OTHER_INPUT = (244, 244)

# Widths of the table's columns, so that layer tables do not fill the screen.
_WIDTHS = (None, 26, 30, 30, None, None, None, 50)


@click.command("reproduce")
@click.argument("names", metavar="[TUTORIAL, MODEL...]", nargs=-1)
@click.option("--architecture-only", is_flag=True, help="Only figures that need no training: no data, some seconds.")
@data_dir_option
@click.option("--seeds", type=click.IntRange(1), default=3, show_default=True, help="Trainings of each model.")
@click.option(
    "--weights", "files", metavar="MODEL=FILE", multiple=True, help="Published weights, like mobilenet_v2=w.pth."
)
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Run folder. An existing run in it is resumed.")
@click.option("--format", "output_format", type=click.Choice(FORMATS), default="table", help="Format to print.")
def command(
    *,
    names: tuple[str, ...],
    architecture_only: bool,
    data_dir: str | None,
    seeds: int,
    files: tuple[str, ...],
    output: Path | None,
    output_format: str,
) -> int:
    """Measure every figure that the tutorials print, and say whether it is reproduced.

    Counts, layer tables and megabytes must be equal in all printed digits. A loss or an accuracy must lie in the 95 %
    prediction interval for one more training: mean +- t s sqrt(1 + 1/n) of the seeds, widened by half of the last
    printed digit. Models are trained by the tutorial's recipe on its own dataset for all its epochs, if the dataset is
    there. A figure that is not measured says why: figures within an epoch, and figures that need published weights.
    Without names, all tutorials are reproduced.

    \b
    Examples:
      cnnbench reproduce --architecture-only
      cnnbench reproduce runoob --data-dir ~/datasets
      cnnbench reproduce perceptron lenet --seeds 5 --format csv > reproduced.csv
    """  # noqa: D301  # click's mark for a paragraph that keeps its lines
    specs = select_models(names)
    data.places(data_dir)  # says whether it is a folder
    weights = published_weights(files)
    folder = output or run_folder("reproduce", datetime.now(UTC))
    store = Store(folder)
    click.get_current_context().with_resource(store.only_writer())
    completed = list(store.load().records)
    store.append(
        Run(title="reproduce", command=recorded_command(), started=datetime.now(UTC).isoformat(timespec="seconds"))
    )
    records = completed + _count(specs, completed, store)
    missing = dict.fromkeys((spec.name for spec in specs), "left out by --architecture-only")
    interrupted = False

    if not architecture_only:
        missing = _missing(specs, data_dir, weights)
        asked = _Asked(specs=tuple(specs), missing=missing, weights=weights, data_dir=data_dir, seeds=seeds)
        try:
            for record in _train(asked, records, folder):
                store.append(record)
                records.append(record)
        except KeyboardInterrupt:
            interrupted = True

    names = tuple(spec.name for spec in specs)  # the folder may hold other models as well
    finished = (record for record in finished_records(records).values() if record.case.model in names)
    failed = {record.case.model: record.error or "" for record in finished if record.status != "ok"}
    _show(reproduce(specs, records, {**missing, **failed}), folder, output_format)
    if interrupted:
        go_on = typed_command() if output is not None else f"{typed_command()} -o {folder}"
        click.echo(f"Interrupted. Continue with:\n  {go_on}", err=True)
        return EXIT_INTERRUPTED
    return EXIT_FAILED if failed else 0


def _show(rows: Sequence[Reproduced], folder: Path, output_format: str) -> None:
    """Write and print the rows, and print how many have each verdict."""
    _write(rows, folder)
    click.echo(text(rows, output_format))
    counts = {verdict: sum(row.verdict == verdict for row in rows) for verdict in ("reproduced", "differs", "not run")}
    click.echo(f"{', '.join(f'{count} {verdict}' for verdict, count in counts.items())}. Records: {folder}", err=True)


def select_models(names: Sequence[str]) -> list[ModelSpec]:
    """Return the built-ins of the tutorials and models in `names`; those of all tutorials if it is empty.

    Raises:
        UsageError: a name is neither a tutorial nor a built-in, or no figures are printed for any of them.
    """
    found: list[ModelSpec] = []
    for name in names or TUTORIALS:
        if name in TUTORIALS:
            found += [spec for spec in MODELS.values() if spec.source.split()[0].rstrip(",;") == name]
        elif name in MODELS:
            found.append(MODELS[name])
        else:
            raise unknown_name("tutorial or model", name, (*TUTORIALS, *MODELS))

    told = [spec for spec in dict.fromkeys(found) if spec.printed]
    if not told:
        raise UsageError(f"The tutorials print no figures for {', '.join(names)}, so nothing can be reproduced.")
    return told


def _count(specs: Sequence[ModelSpec], completed: Sequence[Record], store: Store) -> list[Record]:
    """Count the models at their own input, and at 244x244 if figures are printed for it; store the records."""
    done = {(r.case.model, r.case.input_shape) for r in completed if r.case.task == "complexity" and r.status == "ok"}
    asked: list[tuple[str, tuple[int, ...] | None]] = []
    for spec in specs:
        if (spec.name, spec.input_shape) not in done:
            asked.append((spec.name, None))
        other = any(figure.quantity.endswith(OTHER_SIZE) for figure in spec.printed)
        if other and (spec.name, (spec.input_shape[0], *OTHER_INPUT)) not in done:
            asked.append((spec.name, OTHER_INPUT))

    if not asked:
        return []
    click.echo(f"Counting {len(asked)} models.", err=True)
    records = count_models(asked)
    for record in records:
        store.append(record)
    return records


def published_weights(files: Sequence[str]) -> dict[str, str]:
    """Return the file of each model's published weights.

    Raises:
        UsageError: a text does not have the form MODEL=FILE, no tutorial starts from this model, or there is no file.
    """
    found: dict[str, str] = {}
    known = {spec.pretrained for spec in MODELS.values() if spec.pretrained is not None}
    for given in files:
        name, equals, path = given.partition("=")
        if not equals or not Path(path).is_file():
            raise UsageError(f"--weights '{given}': write MODEL=FILE with an existing file, like mobilenet_v2=w.pth.")
        if name not in known:
            raise unknown_name("published model", name, known)
        found[name] = path
    return found


def _training_recipe(spec: ModelSpec) -> Recipe | None:
    """Return the recipe of a model with figures of training; None for a model without."""
    return spec.recipe if any(figure.quantity in TRAINED for figure in spec.printed) else None


def _missing(specs: Sequence[ModelSpec], data_dir: str | None, weights: Mapping[str, str]) -> dict[str, str]:
    """Return by name why models with figures of training cannot be trained here."""
    found: dict[str, str] = {}
    for spec in specs:
        recipe = _training_recipe(spec)
        if recipe is None:
            continue
        if spec.pretrained is not None and spec.pretrained not in weights:
            found[spec.name] = f"needs published weights: --weights {spec.pretrained}=FILE"
        else:
            try:
                data.locate(data.find(recipe.dataset), data.places(data_dir))
            except MissingError as error:
                found[spec.name] = str(error)

    return found


@dataclass(frozen=True, kw_only=True, slots=True)
class _Asked:
    """What to train: `specs` without those in `missing`, from which weights, on which data, with how many seeds."""

    specs: tuple[ModelSpec, ...]
    missing: Mapping[str, str]
    weights: Mapping[str, str]
    data_dir: str | None
    seeds: int


def _train(asked: _Asked, completed: Sequence[Record], folder: Path) -> Iterator[Record]:
    """Train every model that has figures of training with each seed that it lacks, and yield the records."""
    # Trainings of an earlier part of the run count, and `train_seeds` takes only consecutive seeds.
    ahead: list[tuple[ModelSpec, int, int]] = []
    for spec in asked.specs:
        if _training_recipe(spec) is not None and spec.name not in asked.missing:
            done = {record.case.seed for record in completed if follows_page(spec, record)}
            lacking = [seed for seed in range(asked.seeds) if seed not in done]
            ahead += [(spec, first, count) for first, count in stretches(lacking)]

    with display() as shown, sigterm_interrupts():
        for at, (spec, first, count) in enumerate(ahead):

            def on_progress(progress: Progress, at: int = at) -> None:
                shown.on_progress(_overall_progress(progress, at, len(ahead)))

            def checkpoint(seed: int, spec: ModelSpec = spec) -> Path:
                return checkpoint_path(folder, spec.name, seed)

            request = _request(spec, first, asked)
            for record in train_seeds(
                request, seeds=count, checkpoint=checkpoint, resume=True, on_progress=on_progress
            ):
                shown.line(record_line(record))
                yield record


def stretches(seeds: Sequence[int]) -> list[tuple[int, int]]:
    """Return each stretch of consecutive seeds as its first seed and its length."""
    # Within a stretch, a seed minus its position is constant.
    grouped = groupby(enumerate(seeds), key=lambda pair: pair[1] - pair[0])
    return [(members[0][1], len(members)) for _, pairs in grouped if (members := list(pairs))]


def _overall_progress(progress: Progress, at: int, count: int) -> Progress:
    """Return the progress of model number `at` as that of all `count`; each later one is taken to need as long."""
    whole = progress.elapsed_s + progress.remaining_s
    return Progress(
        text=f"{at + 1} of {count}, {progress.text}",
        elapsed_s=progress.elapsed_s,
        remaining_s=progress.remaining_s + whole * (count - at - 1),
    )


def _request(spec: ModelSpec, seed: int, asked: _Asked) -> Request:
    assert spec.recipe is not None
    return Request(
        title="reproduce",
        sections=(Section(models=(spec.name,), variants=("eager",)),),
        accuracy=spec.recipe.dataset,
        data_dir=asked.data_dir,
        weights=asked.weights.get(spec.pretrained or "", "none"),
        seed=seed,
        budget=Budget(total_s=ANSWER_S, timeout_s=ANSWER_S),
    )


def text(rows: Sequence[Reproduced], output_format: str) -> str:
    """Return the rows as a table for people, CSV, or Markdown."""
    values = [[getattr(row, name) for name in COLUMNS] for row in rows]
    if output_format == "csv":
        return render(COLUMNS, values, "csv")
    cells = [["-" if cell in (None, "") else _cell_text(cell) for cell in row] for row in values]
    if output_format == "markdown":  # not padded: the longest layer table would widen every line to its length
        escaped = [[cell.replace("|", "\\|") for cell in row] for row in cells]
        return "\n".join(f"| {' | '.join(line)} |" for line in (COLUMNS, ["---"] * len(COLUMNS), *escaped))
    from tabulate import tabulate

    return tabulate(cells, headers=COLUMNS, disable_numparse=True, maxcolwidths=list(_WIDTHS) if cells else None)


def _cell_text(cell: object) -> str:
    return f"{cell:.4f}" if isinstance(cell, float) else str(cell)


def _write(rows: Sequence[Reproduced], folder: Path) -> None:
    with writing_into(folder):
        (folder / "reproduction.csv").write_text(text(rows, "csv") + "\n", encoding="utf-8")
        (folder / "reproduction.md").write_text(text(rows, "markdown") + "\n", encoding="utf-8")
