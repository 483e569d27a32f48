"""What `cnnbench show` draws of datasets and trainings, from what is asked to what is drawn."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from cnnbench import data
from cnnbench.analysis.curves import by_epoch, by_step, trained
from cnnbench.app.progress import display
from cnnbench.orchestrator.events import Progress
from cnnbench.record import Record
from cnnbench.report.drawing import draw_curves, draw_sheets, draw_steps
from cnnbench.spec import UsageError
from cnnbench.store import load
from cnnbench.visuals import COLOURS, ImageGrid, kernel_colours

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

# As many images as in the tutorial.
SAMPLES = 24
EDGES = 5

# Steps whose kernels are shown, spread evenly over the training. Our choice.
MOST_ROWS = 8

LATEST = "results/latest"

# The parts of a dataset in words.
PARTS = {"train": "training", "val": "validation", "test": "test"}


@dataclass(frozen=True, kw_only=True, slots=True)
class ShowOptions:
    """The options of the command; `what` is a dataset, a model, a checkpoint or a run."""

    what: str | None = None
    checkpoint: str | None = None
    weights: str | None = None
    layers: tuple[str, ...] = ()
    image: str | None = None
    index: int = 0
    move: tuple[int, int] | None = None
    count: int | None = None
    wrong: bool = False
    max_shift: int = 6
    dataset: str | None = None
    data_dir: str | None = None
    part: Literal["train", "val", "test"] = "test"


@dataclass(frozen=True, kw_only=True, slots=True)
class Drawing:
    """An image that is ready to be drawn: `encode` gives the bytes of a format, `name` is for the file."""

    name: str
    encode: Callable[[str], bytes]


def file_name(text: str) -> str:
    """Return what stands for `text`, a name or a path, in the name of an image."""
    return re.sub(r"[^A-Za-z0-9._]+", "-", Path(text).name.removesuffix(".safetensors")).strip("-.") or "image"


def samples(asked: ShowOptions) -> Drawing:
    """Draw images of a dataset, spread evenly over the part, with the names of their classes."""
    name, images, labels = _images(asked, asked.count or SAMPLES)
    names = data.find(name).class_names
    sheet = ImageGrid(
        title=f"{len(images)} of the {PARTS[asked.part]} images, spread evenly over them",
        images=images,
        names=tuple(names[label] if label < len(names) else str(label) for label in labels),
    )
    return Drawing(name=file_name(name), encode=lambda form: draw_sheets(name, [sheet], form))


def edges(asked: ShowOptions) -> Drawing:
    """Draw the first images of a dataset as two edge filters see them."""
    from cnnbench.data.edges import horizontal_edges, vertical_edges

    name, images, _ = _images(asked, asked.count or EDGES, first=True)
    grey = images.mean(axis=3) if images.ndim == 4 else images  # noqa: PLR2004 - N, height, width, colours
    sheets = [
        ImageGrid(title=f"the first {PARTS[asked.part]} images", images=images),
        ImageGrid(title="vertical edges: three rows of -1, 0, 1", images=vertical_edges(grey), kind="values"),
        ImageGrid(title="horizontal edges: rows of -1, 0 and 1", images=horizontal_edges(grey), kind="values"),
    ]
    return Drawing(name=file_name(name), encode=lambda form: draw_sheets(f"Edges in {name}", sheets, form))


def _images(asked: ShowOptions, count: int, *, first: bool = False) -> tuple[str, npt.NDArray[np.float32], list[int]]:
    """Return the dataset's name, images as sheets hold them, and their labels."""
    import numpy as np

    name = asked.what or asked.dataset or "digits"
    spec = data.find(name)
    with display() as shown:

        def on_progress(text: str, share: float) -> None:
            del share
            shown.on_progress(Progress(text=text, elapsed_s=0.0, remaining_s=0.0))

        read = data.read(spec, spec.shape, data_dir=asked.data_dir, on_progress=on_progress)
    part = getattr(read, asked.part)
    count = min(count, len(part))
    places = np.arange(count) if first else np.linspace(0, len(part) - 1, count).round().astype(int)
    chosen = part.images_NCHW[places]
    pixels = chosen.astype(np.float32) / (255 if chosen.dtype == np.uint8 else 1)
    images = pixels.transpose(0, 2, 3, 1) if pixels.shape[1] == COLOURS else pixels[:, 0]
    return name, images, part.labels_N[places].tolist()


def curves(asked: ShowOptions) -> Drawing:
    """Draw loss and accuracy of a run's trainings by epoch."""
    groups, run = _trained(asked)
    losses, tops = by_epoch(groups, "loss"), by_epoch(groups, "top1")
    title = _title(groups)
    return Drawing(name=_run_name(run), encode=lambda form: draw_curves(title, losses, tops, form))


def steps(asked: ShowOptions) -> Drawing:
    """Draw the error rate of a run's trainings by step."""
    groups, run = _trained(asked)
    tops = by_step(groups, "top1")
    if not tops:
        raise UsageError(f"{run} has no records within epochs. Train with 'cnnbench train MODEL --log-every 50'.")
    title = _title(groups)
    return Drawing(name=_run_name(run), encode=lambda form: draw_steps(title, tops, form))


def _run_name(run: str) -> str:
    """Return what stands for a run in the name of an image: its folder's name, behind a link or above its file."""
    path = Path(run).resolve()
    return file_name(str(path.parent if path.is_file() else path))


def _title(groups: Mapping[str, list[Record]]) -> str:
    records = [record for group in groups.values() for record in group]
    named = {f"{record.case.model} on {record.case.dataset}" for record in records}
    recipes = {record.case.recipe for record in records}
    recipe = f", {recipes.pop()} recipe" if len(recipes) == 1 else ""
    return f"{named.pop()}{recipe}" if len(named) == 1 else f"{len(groups)} models{recipe}"


def _trained(asked: ShowOptions) -> tuple[dict[str, list[Record]], str]:
    run = asked.what or LATEST
    if not Path(run).exists():
        raise UsageError(f"There is no run '{run}'. Name the folder of a 'cnnbench train', or its records.jsonl.")
    groups = trained(item for item in load(Path(run)).items if isinstance(item, Record))
    if not groups:
        raise UsageError(f"{run} holds no training that ended well. Name the folder of a 'cnnbench train'.")
    return groups, run


def forming(asked: ShowOptions) -> Drawing:
    """Draw how the first kernels of a run's first training with records within epochs formed."""
    groups, run = _trained(asked)
    records = [record for group in groups.values() for record in group if record.samples("step_kernels")]
    if not records:
        raise UsageError(f"{run} kept no kernels. Train a model with convolutions by 'cnnbench train --log-every 50'.")
    sheet = forming_sheet(records[0])
    title = f"How kernels form: {records[0].case.model} on {records[0].case.dataset}, seed {records[0].case.seed}"
    return Drawing(name=_run_name(run), encode=lambda form: draw_sheets(title, [sheet], form))


def forming_sheet(record: Record) -> ImageGrid:
    """Return the first kernels of a training in the steps that were recorded, a row a step."""
    import numpy as np

    shape = tuple(int(side) for side in record.samples("kernel_shape"))
    every = np.array(record.samples("step_kernels"), dtype=np.float32).reshape(-1, *shape)
    numbers = record.samples("step_step")[-len(every) :]
    chosen = np.unique(np.linspace(0, len(every) - 1, min(MOST_ROWS, len(every))).round().astype(int))
    colours = shape[1] == COLOURS
    tiles = every[chosen].reshape(-1, *shape[1:])
    return ImageGrid(
        title=f"the first {shape[0]} kernels of the first convolution{', as colours' if colours else ''}",
        images=kernel_colours(tiles) if colours else tiles[:, 0],
        kind="pixels" if colours else "values",
        columns=shape[0],
        axes=("kernel", "step"),
        rows=tuple(f"{numbers[at]:.0f}" for at in chosen),
    )
