"""`cnnbench show`: draw images of datasets, models and trainings, as PNG or SVG files."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Literal

import click

from cnnbench.app.option_types import Words, data_dir_option
from cnnbench.atomic_write import replace_file, write_error
from cnnbench.cli.show import datasets as images
from cnnbench.cli.show import models as looked
from cnnbench.cli.show.datasets import Drawing, ShowOptions
from cnnbench.report.drawing import FORMATS
from cnnbench.spec import UsageError

# Every kind of image by its name on the command line; read-only.
KINDS: Mapping[str, Callable[[ShowOptions], Drawing]] = MappingProxyType(
    {
        "samples": images.samples,
        "edges": images.edges,
        "kernels": looked.kernels,
        "features": looked.features,
        "predictions": looked.predictions,
        "confusion": looked.confusion_drawing,
        "shift": looked.shift,
        "curves": images.curves,
        "steps": images.steps,
    }
)

HELP = """Draw an image, write it as a PNG or SVG file, and print the name of the file.

\b
KIND          WHAT                              the image
samples       a dataset (digits)                images with their classes
edges         a dataset (digits)                images after two fixed edge filters
kernels       a model, checkpoint or run        kernels of a convolution; for a run, how they form
features      a model or checkpoint             outputs of layers for an image
predictions   a checkpoint                      test images with predicted classes, wrong ones marked
confusion     a checkpoint                      true classes against predicted classes
shift         a checkpoint                      accuracy on images moved in each direction
curves        a run (results/latest)            loss and accuracy by epoch; several seeds as a band
steps         a run (results/latest)            error rate by step ('cnnbench train --log-every')

A model has the weights of --checkpoint FILE or --weights (default or a file), otherwise its initial weights. A layer
is the number of a convolution, counted from 1, or a name that 'cnnbench describe MODEL' shows. Put a dot in front of a
name that is a number (.3).

\b
Examples:
  cnnbench show samples mnist --count 40
  cnnbench show edges mnist
  cnnbench show kernels lenet-seed0.safetensors --layer 2
  cnnbench show features lenet-seed0.safetensors --index 7 --move 4,0
  cnnbench show features vgg16 --weights default --image cat.jpg --layer features
  cnnbench show predictions lenet-seed0.safetensors --wrong
  cnnbench show curves results/latest --output curves.svg
"""


@click.command("show", help=HELP, no_args_is_help=True)
@click.argument("kind", type=click.Choice(tuple(KINDS)))
@click.argument("what", required=False)
@click.option("--checkpoint", metavar="FILE", help="Checkpoint of 'cnnbench train'. WHAT may also name it.")
@click.option("--weights", help="Weights: default (downloads torchvision's), or a file.")
@click.option("--layer", "layers", type=Words(), default=(), help="Layers, like 1,2.  [default: see above]")
@click.option("--image", metavar="FILE", help="Image file for features, instead of an image of the dataset.")
@click.option("--index", type=click.IntRange(0), default=0, show_default=True, help="Number of the test image.")
@click.option(
    "--move", metavar="RIGHT,DOWN", help="Also show features of the image moved by these pixels; -2,0 moves it left."
)
@click.option("--count", type=click.IntRange(1, 200), help="How many images.  [default: 24; edges: 5]")
@click.option("--wrong", is_flag=True, help="Show only wrong predictions.")
@click.option(
    "--max-shift", type=click.IntRange(1), default=6, show_default=True, help="Largest move for shift, in pixels."
)
@click.option("--dataset", help="Dataset to use, instead of the one that the checkpoint was trained on.")
@data_dir_option
@click.option(
    "--split",
    "part",
    type=click.Choice(["train", "val", "test"]),
    default="test",
    show_default=True,
    help="Part of the dataset, for samples, edges, confusion and shift.",
)
@click.option("-o", "--output", type=click.Path(path_type=Path), help="A .png or .svg file.  [default: KIND-WHAT.png]")
def command(
    kind: str,
    what: str | None,
    *,
    checkpoint: str | None,
    weights: str | None,
    layers: tuple[str, ...],
    image: str | None,
    index: int,
    move: str | None,
    count: int | None,
    wrong: bool,
    max_shift: int,
    dataset: str | None,
    data_dir: str | None,
    part: Literal["train", "val", "test"],
    output: Path | None,
) -> int:
    """Draw an image; the help says which."""
    # Drawing may take minutes, so wrong file names are found first.
    form = _form(output)
    if image is not None and not Path(image).is_file():
        raise UsageError(f"There is no image file {image}.")

    asked = ShowOptions(
        what=what,
        checkpoint=checkpoint,
        weights=weights,
        layers=layers,
        image=image,
        index=index,
        move=_moves(move),
        count=count,
        wrong=wrong,
        max_shift=max_shift,
        dataset=dataset,
        data_dir=data_dir,
        part=part,
    )

    drawn = KINDS[kind](asked)
    path = output or Path(f"{kind}-{drawn.name}.png")
    write(path, drawn.encode(form))
    click.echo(str(path))
    return 0


def _form(output: Path | None) -> str:
    if output is None:
        return FORMATS[0]
    form = output.suffix.removeprefix(".").lower()
    if form not in FORMATS:
        endings = " or ".join(f".{name}" for name in FORMATS)
        raise UsageError(f"'{output}' is not an image file. Use a name that ends in {endings}.")
    return form


def _moves(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None

    # A single number moves the image to the right only.
    words = text.split(",")
    try:
        right, down = (int(word) for word in (words if len(words) > 1 else (*words, "0")))
    except ValueError:
        raise UsageError(f"--move '{text}' is not RIGHT,DOWN in pixels. Write it like 4,0 or -2,3.") from None
    return right, down


def write(path: Path, content: bytes) -> None:
    """Write an image, whole or not at all.

    Raises:
        CnnbenchError: the file cannot be written.
    """
    try:
        replace_file(path, content)
    except OSError as error:
        raise write_error(path, error) from error
