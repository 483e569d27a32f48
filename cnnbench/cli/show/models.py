"""Draw models for `cnnbench show`."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from cnnbench import checkpoint as checkpoints
from cnnbench import data, machine, models
from cnnbench.analysis.training_curves import moved
from cnnbench.app.progress import display
from cnnbench.checkpoint import CheckpointInfo
from cnnbench.cli.commands.evaluate import confusion, evaluation_request, recipe_name_of
from cnnbench.cli.show.datasets import PARTS, SAMPLES, Drawing, ShowOptions, file_name, forming_kernels
from cnnbench.image_types import VisualRequest
from cnnbench.models.external import is_outside
from cnnbench.orchestrator.events import Progress
from cnnbench.orchestrator.queries import ONE_ANSWER, look_into
from cnnbench.orchestrator.training import test_weights
from cnnbench.quantities import show
from cnnbench.record import Record
from cnnbench.report.drawing import draw_confusion, draw_sheets, draw_shift
from cnnbench.spec import CnnbenchError, Request, Section, UsageError
from cnnbench.variants import parse_variant


@dataclass(frozen=True, kw_only=True, slots=True)
class _Model:
    """A model with its weights, the metadata of its checkpoint (`info`), and a title that names them (`says`)."""

    model: str
    weights: str
    info: CheckpointInfo | None
    says: str


def _model(asked: ShowOptions) -> _Model:
    """Return the model that the options name, with its weights.

    Raises:
        UsageError: no model is named, the file does not exist, or it holds the weights of another model.
    """
    file = asked.checkpoint
    model = asked.what

    # WHAT may be a checkpoint itself, which then says of which model it is.
    if model is not None and model.endswith(".safetensors"):
        if file is not None:
            raise UsageError(f"'{model}' and --checkpoint {file} are two checkpoints. Give only one of them.")
        model, file = None, model

    if file is not None:
        if asked.weights is not None:
            raise UsageError(f"'{file}' is a checkpoint, which holds its weights. Leave out --weights.")
        info = checkpoints.load(Path(file))
        if model is None:
            advice = f"name it, and give the file with --checkpoint: FILE.py:FACTORY --checkpoint {file}."
            models.check_name_in_file(info.model, file, advice)
        elif model != info.model and not is_outside(model):
            raise UsageError(f"{file} holds weights of {info.model}, not of {model}.")
        else:  # a file of the user's, whose path may be written in another way than in the training
            models.check_name(model)
            info = replace(info, model=model)
        top1 = "" if info.top1 is None else f" ({show(info.top1, 'share')} of the test images right)"
        says = f"{info.model}, trained on {info.dataset}{top1}"
        return _Model(model=info.model, weights=file, info=info, says=says)

    if model is None:
        raise UsageError("Name a model or a checkpoint: cnnbench show kernels lenet-seed0.safetensors.")

    models.check_name(model)
    weights = asked.weights or "none"
    if weights not in ("none", "default") and not Path(weights).is_file():
        raise UsageError(f"There is no weight file '{weights}'. Give 'default' or the path of a file.")

    says = f"{model}, untrained" if weights == "none" else f"{model} with weights {Path(weights).name}"
    return _Model(model=model, weights=weights, info=None, says=says)


def kernels(asked: ShowOptions) -> Drawing:
    """Draw the kernels of convolutions; for a run, draw how the first ones formed."""
    if asked.what is not None and Path(asked.what).exists() and not asked.what.endswith(".safetensors"):
        return forming_kernels(asked)
    return _draw_visuals(asked, VisualRequest(kind="kernels", layers=asked.layers), "Kernels of {}", dataset=None)


def features(asked: ShowOptions) -> Drawing:
    """Draw the outputs of layers for an image, and for the same image moved."""
    moves = ((0, 0),) if asked.move is None else ((0, 0), asked.move)
    image = None if asked.image is None else str(Path(asked.image))
    look = VisualRequest(kind="features", layers=asked.layers, image=image, index=asked.index, moves=moves)
    return _draw_visuals(asked, look, "Features of {}", dataset=asked.dataset)


def predictions(asked: ShowOptions) -> Drawing:
    """Draw test images with the classes that a checkpoint predicts."""
    model = _model(asked)
    dataset = asked.dataset or (model.info.dataset if model.info else None)
    if model.weights == "none" or dataset is None:
        raise UsageError("Predictions need a checkpoint of 'cnnbench train', or --weights and --dataset.")
    look = VisualRequest(kind="predictions", count=asked.count or SAMPLES, wrong=asked.wrong)
    return _draw_visuals(asked, look, "Predictions of {}", dataset=dataset)


def _draw_visuals(asked: ShowOptions, look: VisualRequest, heading: str, *, dataset: str | None) -> Drawing:
    model = _model(asked)
    info = model.info

    # Kernels need no dataset. For the rest, a missing dataset ends the command before a worker starts.
    if look.kind != "kernels":
        dataset = dataset or (info.dataset if info else None)
        if dataset is not None and look.image is None:
            data.locate(data.find(dataset), data.places(asked.data_dir))

    # A checkpoint decides how its model is built: by which recipe, and for which input shape.
    request = Request(
        title="show",
        sections=(Section(models=(model.model,), variants=("eager",)),),
        accuracy=dataset,
        recipe=recipe_name_of(info) if info else "tutorial",
        data_dir=asked.data_dir,
        weights=model.weights,
        input_shape=info.input_shape if info else None,
        budget=ONE_ANSWER,
    )

    with display() as shown:
        sheets = look_into(
            request, look, lambda news: shown.on_progress(Progress(text=news.text, elapsed_s=0.0, remaining_s=0.0))
        )

    title = heading.format(model.says)
    name = file_name(asked.what or asked.checkpoint or model.model)
    return Drawing(name=name, encode=lambda form: draw_sheets(title, sheets, form))


def confusion_drawing(asked: ShowOptions) -> Drawing:
    """Draw how often a checkpoint takes one class for another."""
    model, record, dataset = _test_checkpoint(asked, shift=0)
    table = confusion(record)
    names = data.find(dataset).class_names or tuple(map(str, range(len(table))))
    title = f"{model.says}: classes of {round(record.samples('tested')[0])} {PARTS[asked.part]} images of {dataset}"
    return Drawing(name=file_name(model.weights), encode=lambda form: draw_confusion(title, table, names, form))


def shift(asked: ShowOptions) -> Drawing:
    """Draw the accuracy of a checkpoint on moved images."""
    model, record, dataset = _test_checkpoint(asked, shift=asked.max_shift)
    title = f"{model.says}: {PARTS[asked.part]} images of {dataset}, moved"
    lines = moved(record)
    return Drawing(name=file_name(model.weights), encode=lambda form: draw_shift(title, lines, form))


def _test_checkpoint(asked: ShowOptions, *, shift: int) -> tuple[_Model, Record, str]:
    model = _model(asked)
    if model.info is None:
        raise UsageError("This needs a checkpoint of 'cnnbench train': cnnbench show shift lenet-seed0.safetensors.")

    dataset = asked.dataset or model.info.dataset
    if dataset is None:
        raise UsageError(f"{model.weights} does not say what it was trained on. Give --dataset.")

    # One variant is enough for an image, so the checkpoint is tested under eager on the CPU only.
    data.locate(data.find(dataset), data.places(asked.data_dir))
    request = evaluation_request(Path(model.weights), model.info, dataset, data_dir=asked.data_dir)
    eager = parse_variant("eager", device="cpu", threads=machine.default_threads())
    with display() as shown:
        (record,) = test_weights(request, [eager], asked.part, shift=shift, on_progress=shown.on_progress)

    if record.status != "ok":
        raise CnnbenchError(record.error or record.status)

    return model, record, dataset
