"""Draw datasets and trainings for `cnnbench show`."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from cnnbench import data
from cnnbench.analysis.training_curves import epoch_curves, step_curves, trainings_by_name
from cnnbench.app.progress import display
from cnnbench.image_types import COLOURS, ImageGrid, kernel_colours
from cnnbench.orchestrator.events import Progress
from cnnbench.record import Record
from cnnbench.report.drawing import draw_curves, draw_sheets, draw_steps
from cnnbench.spec import UsageError
from cnnbench.store import load

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

# Default number of images, as many as in the tutorial.
SAMPLES = 24
EDGES = 5

# Most steps whose kernels are shown; they are spread evenly over the training.
MOST_ROWS = 8

LATEST = "results/latest"

# Names of a dataset's parts in titles.
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
    """An image that is ready to be drawn: `encode` returns its bytes in a format, `name` goes into the file name."""

    name: str
    encode: Callable[[str], bytes]


def file_name(text: str) -> str:
    """Return `text`, a name or a path, in a form that fits into the file name of an image."""
    return re.sub(r"[^A-Za-z0-9._]+", "-", Path(text).name.removesuffix(".safetensors")).strip("-.") or "image"


def samples(asked: ShowOptions) -> Drawing:
    """Draw images of a dataset with their class names, spread evenly over the part."""
    name, images, labels = _images(asked, asked.count or SAMPLES)
    names = data.find(name).class_names
    sheet = ImageGrid(
        title=f"{len(images)} of the {PARTS[asked.part]} images, spread evenly over them",
        images=images,
        names=tuple(names[label] if label < len(names) else str(label) for label in labels),
    )
    return Drawing(name=file_name(name), encode=lambda form: draw_sheets(name, [sheet], form))


def edges(asked: ShowOptions) -> Drawing:
    """Draw the first images of a dataset, and the outputs of two edge filters for them."""
    from cnnbench.data.edge_filters import horizontal_edges, vertical_edges

    name, images, _ = _images(asked, asked.count or EDGES, first=True)
    grey = images.mean(axis=3) if images.ndim == 4 else images  # noqa: PLR2004 - N, height, width, colours
    sheets = [
        ImageGrid(title=f"the first {PARTS[asked.part]} images", images=images),
        ImageGrid(title="vertical edges: three rows of -1, 0, 1", images=vertical_edges(grey), kind="values"),
        ImageGrid(title="horizontal edges: rows of -1, 0 and 1", images=horizontal_edges(grey), kind="values"),
    ]
    return Drawing(name=file_name(name), encode=lambda form: draw_sheets(f"Edges in {name}", sheets, form))


def _images(asked: ShowOptions, count: int, *, first: bool = False) -> tuple[str, npt.NDArray[np.float32], list[int]]:
    """Return the dataset's name, its images in the layout of `ImageGrid`, and their labels."""
    import numpy as np

    name = asked.what or asked.dataset or "digits"
    spec = data.find(name)
    with display() as shown:
        # The display says what is being read, without the time that is left.
        def on_progress(text: str, share: float) -> None:
            del share
            shown.on_progress(Progress(text=text, elapsed_s=0.0, remaining_s=0.0))

        read = data.read(spec, spec.shape, data_dir=asked.data_dir, on_progress=on_progress)

    # Evenly spread places show all classes even if the part is sorted by class.
    part = getattr(read, asked.part)
    count = min(count, len(part))
    places = np.arange(count) if first else np.linspace(0, len(part) - 1, count).round().astype(int)

    # Sheets hold (N, H, W, 3) for colours and (N, H, W) for grey, as float32 between 0 and 1.
    chosen = part.images_NCHW[places]
    pixels = chosen.astype(np.float32) / (255 if chosen.dtype == np.uint8 else 1)
    images = pixels.transpose(0, 2, 3, 1) if pixels.shape[1] == COLOURS else pixels[:, 0]
    return name, images, part.labels_N[places].tolist()


def curves(asked: ShowOptions) -> Drawing:
    """Draw the loss and the accuracy of a run's trainings by epoch."""
    groups, run = _load_trainings(asked)
    losses, tops = epoch_curves(groups, "loss"), epoch_curves(groups, "top1")
    title = _title(groups)
    return Drawing(name=_run_name(run), encode=lambda form: draw_curves(title, losses, tops, form))


def steps(asked: ShowOptions) -> Drawing:
    """Draw the error rate of a run's trainings by step."""
    groups, run = _load_trainings(asked)
    tops = step_curves(groups, "top1")
    if not tops:
        raise UsageError(f"{run} has no records within epochs. Train with 'cnnbench train MODEL --log-every 50'.")
    title = _title(groups)
    return Drawing(name=_run_name(run), encode=lambda form: draw_steps(title, tops, form))


def _run_name(run: str) -> str:
    """Return the name of a run's folder for an image file; links are followed, and a file counts as its folder."""
    path = Path(run).resolve()
    return file_name(str(path.parent if path.is_file() else path))


def _title(groups: Mapping[str, list[Record]]) -> str:
    records = [record for group in groups.values() for record in group]
    named = {f"{record.case.model} on {record.case.dataset}" for record in records}
    recipes = {record.case.recipe for record in records}
    recipe = f", {recipes.pop()} recipe" if len(recipes) == 1 else ""
    return f"{named.pop()}{recipe}" if len(named) == 1 else f"{len(groups)} models{recipe}"


def _load_trainings(asked: ShowOptions) -> tuple[dict[str, list[Record]], str]:
    run = asked.what or LATEST
    if not Path(run).exists():
        raise UsageError(f"There is no run '{run}'. Give the folder of a 'cnnbench train' run, or its records.jsonl.")
    groups = trainings_by_name(item for item in load(Path(run)).items if isinstance(item, Record))
    if not groups:
        raise UsageError(f"{run} holds no training that succeeded. Give the folder of a 'cnnbench train' run.")
    return groups, run


def forming_kernels(asked: ShowOptions) -> Drawing:
    """Draw how the first kernels formed, in the first training of a run that recorded them."""
    groups, run = _load_trainings(asked)
    records = [record for group in groups.values() for record in group if record.samples("step_kernels")]
    if not records:
        raise UsageError(f"{run} has no kernels. Train a model with convolutions and 'cnnbench train --log-every 50'.")
    sheet = forming_sheet(records[0])
    title = f"How kernels form: {records[0].case.model} on {records[0].case.dataset}, seed {records[0].case.seed}"
    return Drawing(name=_run_name(run), encode=lambda form: draw_sheets(title, [sheet], form))


def forming_sheet(record: Record) -> ImageGrid:
    """Return the first kernels of a training at the recorded steps, one row per step."""
    import numpy as np

    # `shape` is (kernels, inputs, height, width); `every` has the recorded steps as one more axis in front.
    shape = tuple(int(side) for side in record.samples("kernel_shape"))
    every = np.array(record.samples("step_kernels"), dtype=np.float32).reshape(-1, *shape)

    # The kernels belong to the last recorded steps: a training on cached features sees no convolution at first.
    numbers = record.samples("step_step")[-len(every) :]
    chosen = np.unique(np.linspace(0, len(every) - 1, min(MOST_ROWS, len(every))).round().astype(int))

    # Kernels over three inputs are shown as colours; of others only the first input's weights are shown.
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
