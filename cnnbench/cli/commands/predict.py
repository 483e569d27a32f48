"""`cnnbench predict`: name the classes that a trained model predicts for images."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Literal

import click

from cnnbench import checkpoint as checkpoints
from cnnbench import models
from cnnbench.app.option_types import TABLE_FORMATS
from cnnbench.orchestrator.queries import predict_classes
from cnnbench.quantities import show
from cnnbench.record import Outcome
from cnnbench.report.text.listing import render
from cnnbench.spec import UsageError

HEADERS = ("image", "rank", "class", "name", "share")


@click.command("predict", no_args_is_help=True)
@click.argument("model")
@click.argument("images", metavar="IMAGE...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--weights", help="Weights: default (downloads torchvision's), or a file.")
@click.option("--top", type=click.IntRange(1), default=5, show_default=True, help="Classes to show for each image.")
@click.option("--device", type=click.Choice(["cpu", "cuda"]), default="cpu", show_default=True, help="Where to run.")
@click.option("--format", "output_format", type=click.Choice(TABLE_FORMATS), default="table", help="Format to print.")
def command(
    *,
    model: str,
    images: tuple[Path, ...],
    weights: str | None,
    top: int,
    device: Literal["cpu", "cuda"],
    output_format: str,
) -> int:
    """Predict the classes of images: those with the highest scores, and the model's confidence in them.

    MODEL is a model with --weights, or a checkpoint of 'cnnbench train'. Classes have names if the dataset is known,
    and for models with ImageNet's 1,000 classes.

    \b
    Examples:
      cnnbench predict mobilenet_v2 cat.jpg dog.jpg --weights default
      cnnbench predict results/latest/simple_cnn-seed0.safetensors digit.png --top 3
    """  # noqa: D301  # click's mark for a paragraph that keeps its lines
    # A checkpoint is the weights, and names the model that they are for.
    if model.endswith(".safetensors"):
        if weights is not None:
            raise UsageError(f"'{model}' is a checkpoint, which holds its weights. Leave out --weights.")
        model, weights = checkpoints.load(Path(model)).model, model
        models.check_name_in_file(model, weights, f"use: cnnbench predict FILE.py:FACTORY IMAGE --weights {weights}")

    # Check all names and files before a worker starts.
    models.check_name(model)
    if weights in (None, "none"):
        raise UsageError(f"'{model}' needs trained weights. Use --weights default or --weights FILE.")
    if weights != "default" and not Path(weights or "").is_file():
        raise UsageError(f"There is no weight file '{weights}'. Give 'default' or the path of a file.")
    if missing := [str(path) for path in images if not path.is_file()]:
        raise UsageError(f"There is no file {', '.join(missing)}.")

    dataset, names = _trained_on(Path(weights or ""))
    found = predict_classes(model, weights or "", device, tuple(map(str, images)), top=top, dataset=dataset)

    click.echo(text(images, found, names, output_format))
    # The first notes name the classes; those that follow are about the weights.
    for note in found.notes[len(_classes(found)) :]:
        click.echo(f"Note: {note}", err=True)
    return 0


def _trained_on(weights: Path) -> tuple[str | None, tuple[str, ...]]:
    """Return the dataset and the class names of a checkpoint; None and no names for other files of weights."""
    with suppress(UsageError):
        if weights.suffix == ".safetensors":
            info = checkpoints.load(weights)
            return info.dataset, info.class_names
    return None, ()


def _classes(found: Outcome) -> tuple[float, ...]:
    return next(m.samples for m in found.measurements if m.quantity == "top_class")


def text(images: Sequence[Path], found: Outcome, names: Sequence[str], output_format: str) -> str:
    """Return the classes of all images, best first; `names` are the class names in the checkpoint."""
    # The samples are flat: `each` classes of the first image, then those of the next.
    measured = {m.quantity: m for m in found.measurements}
    classes, shares = measured["top_class"].samples, measured["top_share"].samples
    each = measured["top_class"].iterations_per_sample

    # Without a checkpoint, names come from the worker's notes, which are empty where it knows none.
    rows = [
        (str(images[at // each]), at % each + 1, int(k), _name(int(k), names) or found.notes[at] or None, shares[at])
        for at, k in enumerate(classes)
    ]
    if output_format == "table":
        return render(HEADERS, [(*row[:4], show(row[4], "share")) for row in rows], "table")
    return render(HEADERS, rows, output_format)


def _name(number: int, names: Sequence[str]) -> str:
    return names[number] if number < len(names) else ""
