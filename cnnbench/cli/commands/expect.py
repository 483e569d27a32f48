"""`cnnbench expect`: compare what must not change by itself with a committed file, exactly and without timing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType

import click

from cnnbench import expectation_file, machine
from cnnbench.analysis.expectations import (
    IMAGES_APART,
    Difference,
    Observed,
    differences,
    merge_expectation,
    observation_of,
)
from cnnbench.app.command_line import typed_command
from cnnbench.app.option_types import SHAPE, Words
from cnnbench.app.progress import display, record_line
from cnnbench.app.session import sigterm_interrupts
from cnnbench.expectation_file import Expectation
from cnnbench.models import MODELS, check_name
from cnnbench.orchestrator.invariants import CheckOptions, examine
from cnnbench.record import Record
from cnnbench.report.text.listing import render
from cnnbench.spec import EXIT_FAILED, MissingError, Shape, UsageError
from cnnbench.text import name_list, number_of

# Folder of the files if the user names none: this repository's own.
FILES = Path("bench/expected")

# Models that a new file of all built-ins also compiles and trains, with their epochs. They are small models of three
# tutorials, and each has learnt after its epochs. A whole check takes about a minute on two cores.
DEEP = MappingProxyType({"lenet": 10, "multilayer_cnn": 3, "simple_cnn": 3})

# Epochs of a newly expected training if the user gives none. They are enough for most models to learn something, and
# too few for rounding, which differs between processors, to change the course (docs/ci.md has measurements).
EPOCHS = 3
SEED = 0

PARTS = ("compiled", "trained")
FORMATS = ("table", "markdown", "csv", "json")
COLUMNS = ("model", "layer", "quantity", "expected", "found")

HELP = """Compare counts, compilation and short trainings with a committed file, and fail on any difference.

Every model in the file is compared by its parameters, MACs, operator calls, bytes of weights and layer table. Some
models are also compared by their graphs, graph breaks and recompilations under torch.compile, and by a short training
with a fixed seed on scikit-learn's digits. In that training, the number of correct test images may differ by two.
Nothing is timed, so a busy machine changes nothing. Each torch 2.X has its own file, because counts may change with it.

--accept writes what it finds into the file, prints what changed, and keeps the entries of other models. MODEL is a
built-in, torchvision:NAME, timm:NAME or FILE.py:FACTORY. Exit codes: 0 all as expected, 1 something differs, 3 there is
no expectation for this torch or this model.

\b
Examples:
  cnnbench expect
  cnnbench expect lenet resnet18 --counts-only
  cnnbench expect lenet --accept
  cnnbench expect ./my_model.py:build --input-shape 3x32x32 --with compiled,trained --file tests/expected --accept
  cnnbench expect --file tests/expected --format markdown
"""


@click.command("expect", help=HELP)
@click.argument("names", metavar="[MODEL...]", nargs=-1)
@click.option(
    "--file",
    "path",
    type=click.Path(path_type=Path),
    default=FILES,
    show_default=True,
    help="A .toml file, or a folder with one file for each torch.",
)
@click.option("--accept", is_flag=True, help="Write what is found into the file, as expected from now on.")
@click.option("--with", "parts", type=Words(PARTS), default=(), help="With --accept: also expect compiled,trained.")
@click.option("--epochs", type=click.IntRange(1), help=f"With --with trained: epochs to train.  [default: {EPOCHS}]")
@click.option("--counts-only", is_flag=True, help="Do not compile or train. Takes some seconds.")
@click.option("--input-shape", type=SHAPE, help="With --accept: shape of one image for your own model: 3x32x32.")
@click.option("--format", "output_format", type=click.Choice(FORMATS), default="table", help="Format to print.")
def command(
    *,
    names: tuple[str, ...],
    path: Path,
    accept: bool,
    parts: tuple[str, ...],
    epochs: int | None,
    counts_only: bool,
    input_shape: Shape | None,
    output_format: str,
) -> int:
    """Compare with the file, or write it; the help says how."""
    names = tuple(dict.fromkeys(names))
    wanted = _Wanted(parts=parts, epochs=epochs, counts_only=counts_only, input_shape=input_shape)
    _check(names, wanted, accept=accept)
    place = _place(path)
    like = _models(place, names) if accept else _expected_entries(place, names)

    # A new file of all built-ins has counts of every model, and more of the few in `DEEP`.
    fresh = not names and not parts and not any(like.values())
    for name in like:
        check_name(name)
    deeply = {name: replace(wanted, parts=PARTS, epochs=long) for name, long in DEEP.items()} if fresh else {}
    seen = _look([_options_for(name, entry, deeply.get(name, wanted)) for name, entry in like.items()])
    for one in seen:
        if one.impossible is not None:
            click.echo(f"Note: {one.model} was not compiled: {one.impossible}", err=True)
    rows = [row for one in seen for row in _rows(place.entries.get(one.model), one)]
    click.echo(_text(rows, seen, place, output_format))
    return _accept(place, seen) if accept else _conclude(place, rows)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Wanted:
    """What the user asks for beyond the entries: further parts, the epochs of a training, the input shape."""

    parts: tuple[str, ...]
    epochs: int | None
    counts_only: bool
    input_shape: Shape | None


@dataclass(frozen=True, kw_only=True, slots=True)
class _Place:
    """The file for the installed torch, with what it expects; `entries` is empty if the file does not exist."""

    path: Path
    torch: str
    file: Path
    entries: Mapping[str, Expectation]

    def command(self, names: Sequence[str], *more: str) -> str:
        """Return the command line of `cnnbench expect` for this file."""
        where = () if self.path == FILES else ("--file", str(self.path))
        return typed_command(["expect", *names, *where, *more])


def _check(names: Sequence[str], wanted: _Wanted, *, accept: bool) -> None:
    for name in names:
        check_name(name)
    given = {"--with": wanted.parts, "--input-shape": wanted.input_shape, "--epochs": wanted.epochs}
    if not accept and (early := [option for option, value in given.items() if value]):
        raise UsageError(f"{early[0]} changes what is expected. Use it with --accept.")

    if wanted.counts_only and wanted.parts:
        asked = ", ".join(wanted.parts)
        raise UsageError(f"--counts-only leaves out what --with asks for ({asked}). Use only one of them.")
    if wanted.epochs is not None and "trained" not in wanted.parts:
        raise UsageError("--epochs sets the length of a training. Use it with --with trained.")
    if wanted.input_shape is not None and (not names or any(name in MODELS for name in names)):
        raise UsageError("--input-shape is only for your own models, because a built-in has its own. Name your models.")


def _place(path: Path) -> _Place:
    """Return what is expected for the installed torch.

    Raises:
        MissingError: torch is not installed, or the file is one for another torch.
    """
    installed = machine.version_of("torch")
    if installed == "missing":
        raise MissingError("torch is not installed. Run 'pip install torch torchvision', then 'cnnbench doctor'.")
    torch = expectation_file.minor_version(installed)
    file = expectation_file.file_for(path, torch)
    if not file.exists():
        return _Place(path=path, torch=torch, file=file, entries={})

    known, entries = expectation_file.load(file)
    if known != torch:
        raise MissingError(
            f"'{file}' is for torch {known}, but torch {torch} is installed. Use another --file, or a folder with one "
            f"file for each torch: {typed_command(['expect', '--file', str(file.parent), '--accept'])}"
        )
    return _Place(path=path, torch=torch, file=file, entries=entries)


def _expected_entries(place: _Place, names: Sequence[str]) -> Mapping[str, Expectation | None]:
    """Return the entries of `names`, or all entries if it is empty.

    Raises:
        MissingError: nothing is expected for this torch or of a model; the message has the command that adds it.
    """
    if not place.entries:
        raise MissingError(
            f"There are no expectations for torch {place.torch}: '{place.file}' does not exist or has no entries. "
            f"If the models are correct, create it with:\n  {place.command(names, '--accept')}"
        )

    lacking = [name for name in names if name not in place.entries]
    if lacking:
        raise MissingError(
            f"'{place.file}' has no entry for {name_list(lacking)}. If the current counts are correct, add them with:\n"
            f"  {place.command(lacking, '--accept')}"
        )
    return {name: place.entries[name] for name in names or place.entries}


def _models(place: _Place, names: Sequence[str]) -> Mapping[str, Expectation | None]:
    """Return the models to accept, each with the entry that says what to look at.

    Without a file for this torch, the entries are those of the newest other torch, or else all built-ins are taken.
    """
    like = place.entries
    if not like and place.path.suffix != ".toml":
        like = next((expectation_file.load(other)[1] for other in expectation_file.others_of(place.file)), {})
    return {name: like.get(name) for name in names or like or MODELS}


def _options_for(name: str, like: Expectation | None, wanted: _Wanted) -> CheckOptions:
    """Return what to look at: what `like` expects, and what `wanted` adds."""
    # A built-in is looked at with its own input, which is compared as well.
    own = None if like is None or name in MODELS else like.input_shape
    trained = None if like is None else like.trained
    compiled = "compiled" in wanted.parts or (like is not None and like.compiled is not None)
    counts = CheckOptions(
        model=name, input_shape=wanted.input_shape or own, compiled=compiled and not wanted.counts_only
    )
    if wanted.counts_only or ("trained" not in wanted.parts and trained is None):
        return counts

    # Epochs and seed of an expected training stay, so that its result can be compared.
    before = (EPOCHS, SEED) if trained is None else (trained.epochs, trained.seed)
    return replace(counts, dataset="digits", epochs=wanted.epochs or before[0], seed=before[1])


def _look(asked: Sequence[CheckOptions]) -> list[Observed]:
    """Return what was found of each model, and show progress on standard error."""
    records: dict[str, list[Record]] = {one.model: [] for one in asked}
    with display() as shown, sigterm_interrupts():
        for record in examine(asked, shown.on_progress):
            records[record.case.model].append(record)
            if record.status not in ("ok", "unsupported"):
                shown.line(record_line(record))
    return [observation_of(one.model, records[one.model], seed=one.seed, epochs=one.epochs) for one in asked]


def _rows(expected: Expectation | None, seen: Observed) -> tuple[Difference, ...]:
    """Return what differs; a model without an entry gives one row."""
    if expected is not None:
        return differences(expected, seen)
    if seen.found is None or seen.broken:
        return tuple(
            Difference(model=seen.model, layer=None, quantity=part, expected="ok", found=reason)
            for part, reason in seen.broken
        )
    new = f"{seen.found.params:,} parameters, {seen.found.macs:,} MACs, {number_of(len(seen.found.layers), 'layer')}"
    return (Difference(model=seen.model, layer=None, quantity="entry", expected=None, found=new),)


def _text(rows: Sequence[Difference], seen: Sequence[Observed], place: _Place, output_format: str) -> str:
    cells = [[getattr(row, name) for name in COLUMNS] for row in rows]
    if output_format in ("csv", "json"):
        return render(COLUMNS, cells, output_format)
    if not rows:
        return _success_text(seen, place.torch)
    models = f"{len({row.model for row in rows})} of {number_of(len(seen), 'model')}"
    said = f"{number_of(len(rows), 'difference')} in {models}, torch {place.torch}."
    if any(row.quantity == "correct" for row in rows):
        said += f" The number of correct test images may differ by {IMAGES_APART}."
    return f"{render(COLUMNS, cells, output_format)}\n\n{said}"


def _success_text(seen: Sequence[Observed], torch: str) -> str:
    found = [one.found for one in seen if one.found is not None]
    counts = {"counted": len(found)} | {part: sum(getattr(one, part) is not None for one in found) for part in PARTS}
    done = ", ".join(f"{count} {what}" for what, count in counts.items() if count)
    return f"All as expected with torch {torch}: {done}."


def _conclude(place: _Place, rows: Sequence[Difference]) -> int:
    """Print how to accept what differs, and return the exit code."""
    if not rows:
        return 0
    models = list(dict.fromkeys(row.model for row in rows))
    click.echo(f"If this is intended, accept it with:\n  {place.command(models, '--accept')}", err=True)
    return EXIT_FAILED


def _accept(place: _Place, seen: Sequence[Observed]) -> int:
    """Write the entries that changed and return the exit code; a model with a failed part keeps its entry."""
    changed: dict[str, Expectation] = {}
    for one in seen:
        before = place.entries.get(one.model)
        if one.found is not None and not one.broken and (entry := merge_expectation(before, one.found)) != before:
            changed[one.model] = entry

    failed = [one.model for one in seen if one.broken or one.found is None]
    if changed:
        expectation_file.save(place.file, place.torch, changed)
        click.echo(f"{len(changed)} {'entry' if len(changed) == 1 else 'entries'} written: {place.file}", err=True)
    else:
        click.echo(f"Nothing was written: {place.file}", err=True)
    if failed:
        click.echo(f"Not accepted, because a part failed: {', '.join(failed)}.", err=True)
    return EXIT_FAILED if failed else 0
