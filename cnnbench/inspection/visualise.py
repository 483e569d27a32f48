"""Look inside a model: its kernels, the features of an image, predictions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from cnnbench import data
from cnnbench.data.batches import Split, View, adapt, batches, shift_images
from cnnbench.data.dataset import DatasetSpec
from cnnbench.image_types import COLOURS, ImageGrid, Move, VisualRequest
from cnnbench.inspection.filter_images import MOST_TILES, first_text, kernel_sheets
from cnnbench.inspection.layer_hooks import tensors
from cnnbench.inspection.predict import check_takes_images, class_names, pixels_of, transform_of, view_of_files
from cnnbench.inspection.sample_images import photograph
from cnnbench.jobs import Assignment
from cnnbench.models.find_convolutions import convolution, convolutions, module_name
from cnnbench.record import Outcome
from cnnbench.spec import CnnbenchError, UnsupportedError, UsageError, unknown_name
from cnnbench.training.preprocessing import Wanted, load_dataset
from cnnbench.training.recipe_choice import recipe_for
from cnnbench.training.scoring import fitting_batch, main_logits

# The convolutions whose features are shown if the user names none, as in the tutorials.
FIRST_LAYERS = ("1", "2")

_MAPS_DIMENSIONS = 4

# Modules that may stand between a convolution and its activation, and the activations.
_BETWEEN = (nn.BatchNorm2d, nn.Identity, nn.Dropout, nn.Dropout2d)
_ACTIVATIONS = (nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.ELU, nn.GELU, nn.SiLU, nn.Hardswish, nn.Sigmoid, nn.Tanh)


def run(assignment: Assignment) -> Outcome:
    """Return the sheets that the assignment's look asks for; the model runs in evaluation mode, in fp32.

    Raises:
        UnsupportedError: the model has nothing of that kind, or does not take images.
        UsageError: the look asks for a layer or a test image that does not exist.
        CnnbenchError: the look asks for wrong predictions, and there are none.
    """
    look = assignment.job.look
    assert look is not None
    check_takes_images(assignment.spec)
    model = assignment.build().eval()

    # Kernels need the weights alone, features one image, and predictions a dataset.
    with torch.no_grad():
        if look.kind == "kernels":
            sheets = kernel_sheets(model, assignment.spec.name, look.layers)
        elif look.kind == "features":
            sheets = _feature_sheets(assignment, look, model)
        else:
            sheets = [_prediction_sheet(assignment, look, model)]
    return Outcome(sheets=tuple(sheets))


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _ShownImage:
    """An image as a dataset holds it, how the model sees it, and what is known of it: words, label, class names."""

    split: Split
    view: View
    says: str
    label: int | None = None
    names: tuple[str, ...] = ()


def _feature_sheets(assignment: Assignment, look: VisualRequest, model: nn.Module) -> list[ImageGrid]:
    image = _image(assignment, look)
    layers = _layers(model, assignment.spec.name, look.layers)
    sheets: list[ImageGrid] = []

    # Each move of the image gives a sheet of it and a sheet of every layer.
    for move in look.moves:
        right, down = move
        moved = shift_images(image.split, right=right, down=down) if any(move) else image.split
        seen = image.view(moved.images_NCHW)
        scores, maps = outputs_of(model, seen, layers)
        sheets.append(_seen_sheet(image, moved, scores, move))
        sheets += [_map_sheet(name, maps[name]) for name in layers]
    return sheets


def _image(assignment: Assignment, look: VisualRequest) -> _ShownImage:
    spec, case = assignment.spec, assignment.case
    if look.image is None and case.dataset is not None:
        # A test image, with the label that the dataset has for it.
        dataset, shown = _dataset(assignment)
        test = shown.splits.test
        if not 0 <= look.index < len(test):
            raise UsageError(f"There is no test image {look.index} in {dataset.name}, only 0 to {len(test) - 1}.")
        one = test.part(slice(look.index, look.index + 1))
        label = int(one.labels_N[0])
        says = f"test image {look.index} of {dataset.name}"
        return _ShownImage(split=one, view=shown.view, says=says, label=label, names=dataset.class_names)

    # A file of the user, or a photograph: neither has a label.
    transform = transform_of(spec) if case.dataset is None else None
    view = view_of_files(spec, transform)
    if look.image is not None:
        pixels, says = torch.from_numpy(pixels_of(look.image, spec, transform)), look.image.rpartition("/")[2]
    else:
        pixels, says = photograph((COLOURS, *spec.input_shape[1:])), "a photograph that comes with scikit-learn"
        if spec.input_shape[0] < COLOURS:
            raise UsageError(f"{spec.name} takes grey images. Give one with --image, or a dataset with --dataset.")

    names = data.find(case.dataset).class_names if case.dataset else class_names(spec.classes or 0)
    # A split must have labels, so it gets a 0 that nothing reads.
    split = Split(images_NCHW=pixels[None], labels_N=torch.zeros(1, dtype=torch.int64), classes=1)
    return _ShownImage(split=split, view=view, says=says, names=names)


def _dataset(assignment: Assignment) -> tuple[DatasetSpec, Wanted]:
    """Return the case's dataset, and the same dataset as the model wants it."""
    case = assignment.case
    dataset = data.find(case.dataset or "")
    recipe = recipe_for(assignment.spec, dataset, case.recipe)
    return dataset, load_dataset(
        assignment.spec,
        dataset,
        data_dir=assignment.job.data_dir,
        recipe=recipe,
        on_progress=lambda text, _: assignment.on_message(text, 0.0),
    )


def _layers(model: nn.Module, model_name: str, asked: Sequence[str]) -> list[str]:
    """Return the names of the modules whose outputs are shown; for a numbered convolution, its activation."""
    every = dict(model.named_modules())
    found: list[str] = []

    # Without convolutions one number is kept: looking it up raises the error that says so.
    for layer in asked or FIRST_LAYERS[: max(1, len(convolutions(model)))]:
        name = module_name(layer)
        if layer.isdecimal():
            found.append(_activation_after(model, convolution(model, model_name, layer)[0]))
        elif name and name in every:
            found.append(name)
        else:
            raise unknown_name("layer", layer, filter(None, every), more="Or give the number of a convolution.")
    return found


def _activation_after(model: nn.Module, name: str) -> str:
    """Return the activation that follows the convolution `name` in the order of modules, or `name` if none does."""
    leaves: list[tuple[str, nn.Module]] = [(own, m) for own, m in model.named_modules() if not list(m.children())]
    after = [own for own, _ in leaves].index(name) + 1
    for own, module in leaves[after:]:
        if isinstance(module, _ACTIVATIONS):
            return own
        if not isinstance(module, _BETWEEN):
            break
    return name


def outputs_of(model: nn.Module, images_NCHW: Tensor, layers: Sequence[str]) -> tuple[Tensor, dict[str, Tensor]]:  # noqa: N803  # a tensor's axes are part of its name
    """Return the scores (images, classes), and the outputs that the modules in `layers` give when first called.

    Raises:
        UnsupportedError: a module is not called, or its output is not maps (images, maps, height, width).
    """
    found: dict[str, Tensor] = {}
    modules = dict(model.named_modules())

    # A module that a pass calls several times, such as a shared ReLU, shows its first output.
    def taker(name: str) -> RemovableHandle:
        def take(_module: nn.Module, _given: object, output: object) -> None:
            if name not in found:
                found[name] = next(tensors(output)).detach().float().cpu().clone()  # what follows may work in place

        handle: RemovableHandle = modules[name].register_forward_hook(take)
        return handle

    # A layer that is named twice needs one hook.
    handles = [taker(name) for name in dict.fromkeys(layers)]
    try:
        scores = main_logits(model(images_NCHW)).float().cpu()
    finally:
        for handle in handles:
            handle.remove()

    # Only after the pass is it known which modules were not called.
    for name in layers:
        if name not in found:
            raise UnsupportedError(f"The layer '{name}' is not called in a forward pass.")
        if found[name].ndim != _MAPS_DIMENSIONS:
            shape = "x".join(map(str, found[name].shape[1:]))
            raise UnsupportedError(f"The output of layer '{name}' is {shape}, not maps of height and width.")
    return scores, found


def _seen_sheet(image: _ShownImage, moved: Split, scores: Tensor, move: Move) -> ImageGrid:
    share, best = (value.item() for value in scores.softmax(dim=1).max(dim=1))
    right = image.label is None or int(best) == image.label
    is_ = "" if image.label is None else f", it is {_name(image.label, image.names)}"
    title = f"{image.says}{_move_text(move)}: predicted {_name(int(best), image.names)} ({100 * share:.1f} %){is_}"
    # People see the image without the model's normalisation.
    pixels = View(input_shape=image.view.input_shape)(moved.images_NCHW)
    return ImageGrid(title=title, images=drawable_images(pixels), wrong=(not right,))


def _move_text(move: Move) -> str:
    right, down = move
    parts = []
    if right:
        parts.append(f" {abs(right)} to the {'right' if right > 0 else 'left'}")
    if down:
        parts.append(f" {abs(down)} {'down' if down > 0 else 'up'}")
    return f", moved{''.join(parts)}" if parts else ""


def _name(label: int, names: Sequence[str]) -> str:
    return names[label] if label < len(names) else f"class {label}"


def _map_sheet(name: str, maps: Tensor) -> ImageGrid:
    count, height, width = maps.shape[1:]
    return ImageGrid(
        title=f"{name}: {count} feature maps of {height}x{width}{first_text(MOST_TILES, count)}",
        images=maps[0, :MOST_TILES].numpy(),
        kind="values",
    )


def drawable_images(images_NCHW: Tensor) -> npt.NDArray[np.float32]:  # noqa: N803
    """Return images (bytes, or floats in [0, 1]) as a sheet holds them: (N, H, W), or (N, H, W, 3) for colours."""
    shown = images_NCHW.to(torch.float32)
    if images_NCHW.dtype == torch.uint8:
        shown = shown / 255
    if shown.shape[1] == COLOURS:
        return shown.permute(0, 2, 3, 1).contiguous().numpy()
    return shown[:, 0].numpy()


def _prediction_sheet(assignment: Assignment, look: VisualRequest, model: nn.Module) -> ImageGrid:
    dataset, shown = _dataset(assignment)
    test = shown.splits.test
    chosen, predicted = _pick_predictions(model, adapt(test, shown.view, "cpu"), look, assignment)
    if not chosen:
        raise CnnbenchError(f"All {len(test)} test images of {dataset.name} are predicted correctly. None is wrong.")

    labels = [int(test.labels_N[at]) for at in chosen]
    wrong = tuple(a != b for a, b in zip(predicted, labels, strict=True))
    # Under an image stands its predicted class, and below that the true one if they differ.
    names = tuple(
        _name(a, dataset.class_names) + (f"\nis {_name(b, dataset.class_names)}" if a != b else "")
        for a, b in zip(predicted, labels, strict=True)
    )
    said = "wrong" if look.wrong else f"{sum(wrong)} of {len(wrong)} wrong"

    return ImageGrid(
        title=f"test images of {dataset.name} and their predicted classes: {said}",
        images=drawable_images(test.images_NCHW[chosen]),
        names=names,
        wrong=wrong,
    )


def _pick_predictions(
    model: nn.Module, split: Split, look: VisualRequest, assignment: Assignment
) -> tuple[list[int], list[int]]:
    """Return the numbers of a part's first `count` images, or of the first wrong ones, and their predicted classes."""
    chosen: list[int] = []
    predicted: list[int] = []
    at = 0

    for images, labels in batches(split, fitting_batch(split)):
        best = main_logits(model(images)).argmax(dim=1).tolist()
        # Every image moves `at` on, shown or not: it is the image's number in the part.
        for label, found in zip(labels.tolist(), best, strict=True):
            if (not look.wrong or found != label) and len(chosen) < look.count:
                chosen.append(at)
                predicted.append(found)
            at += 1
        assignment.on_message(f"{at} test images", at / len(split))
        # Wrong images may be rare, so it can take the whole part to find enough.
        if len(chosen) == look.count:
            break

    return chosen, predicted
