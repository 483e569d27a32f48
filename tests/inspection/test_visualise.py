"""Looks into hand-made models, whose kernels, features and answers are known."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from cnnbench.clock import wall_clock
from cnnbench.image_types import ImageGrid, VisualRequest
from cnnbench.inspection import visualise as look
from cnnbench.inspection.filter_images import kernel_sheets
from cnnbench.jobs import Assignment, Job
from cnnbench.models import MODELS
from cnnbench.models.find_convolutions import kept_kernels
from cnnbench.spec import CnnbenchError, ModelSpec, Shape, UnsupportedError, UsageError
from tests.data.files import image
from tests.factories import case


def small(channels: int = 1, second: int = 3) -> nn.Sequential:
    """Return a model of two convolutions, whose weights are 0, 1, 2 ... over a hundred."""
    model = nn.Sequential(
        nn.Conv2d(channels, 2, 3),
        nn.BatchNorm2d(2),
        nn.ReLU(),
        nn.Conv2d(2, second, 2),
        nn.Flatten(),
        nn.LazyLinear(10),
    )
    model(torch.zeros(2, channels, 8, 8))
    for layer in (model[0], model[3]):
        assert isinstance(layer, nn.Conv2d)
        layer.weight.data = torch.arange(layer.weight.numel()).reshape(layer.weight.shape) / 100 - 0.05
    return model


def seen(
    model: nn.Module, wanted: VisualRequest, *, shape: Shape = (1, 8, 8), dataset: str | None = None
) -> tuple[ImageGrid, ...]:
    spec = ModelSpec(name="m", family="f", source="s", input_shape=shape, classes=10, build=lambda: model)
    return look.run(
        Assignment(
            spec=spec,
            job=Job(case=replace(case("m", shape=shape), role="look", dataset=dataset), scratch="", look=wanted),
            build=lambda: model,
            clock=wall_clock(),
            on_message=lambda *_: None,
        )
    ).sheets


def test_first_kernels_of_grey_pictures_are_numbers() -> None:
    (sheet,) = kernel_sheets(small(), "m", ())
    assert (sheet.title, sheet.kind, sheet.axes) == ("0: 2 kernels of 1x3x3", "values", None)
    np.testing.assert_allclose(sheet.images, np.arange(18).reshape(2, 3, 3) / 100 - 0.05, rtol=1e-6)


def test_kernels_of_three_inputs_are_colours_with_grey_as_0() -> None:
    model = small(3)
    layer = model[0]
    assert isinstance(layer, nn.Conv2d)
    layer.weight.data = torch.zeros(2, 3, 3, 3)
    layer.weight.data[0, 0, 0, 0], layer.weight.data[0, 1, 2, 2] = 4.0, -2.0
    (sheet,) = kernel_sheets(model, "m", ("1",))
    assert (sheet.title, sheet.kind, sheet.images.shape) == (
        "0: 2 kernels of 3x3x3, as colours",
        "pixels",
        (2, 3, 3, 3),
    )
    assert sheet.images[0, 0, 0].tolist() == [1.0, 0.5, 0.5]
    assert sheet.images[0, 2, 2].tolist() == [0.5, 0.25, 0.5]
    assert set(sheet.images[1].flatten().tolist()) == {0.5}


def test_later_kernels_have_tile_per_input_output_pair() -> None:
    (sheet,) = kernel_sheets(small(), "m", ("2",))
    assert (sheet.title, sheet.columns, sheet.axes) == ("3: 3 kernels of 2x2x2", 2, ("input", "output"))
    np.testing.assert_allclose(sheet.images, np.arange(24).reshape(6, 2, 2) / 100 - 0.05, rtol=1e-5)


def test_of_large_layers_the_first_pairs_are_shown() -> None:
    (sheet,) = kernel_sheets(nn.Sequential(nn.Conv2d(40, 20, 1)), "m", ())
    assert sheet.title == "0: 20 kernels of 40x1x1, the first 16 inputs and outputs"
    assert (sheet.images.shape, sheet.columns) == ((256, 1, 1), 16)


def test_a_dot_names_a_module_whose_name_is_a_number() -> None:
    assert kernel_sheets(small(), "m", (".3",))[0].title == "3: 3 kernels of 2x2x2"


def test_layers_that_are_none_are_told() -> None:
    with pytest.raises(UsageError) as error:
        kernel_sheets(small(), "m", ("3",))
    assert str(error.value) == "There is no convolution 3 in m. Give a number from 1 to 2."
    with pytest.raises(UsageError) as error:
        kernel_sheets(small(), "m", (".2",))
    assert str(error.value) == "Unknown convolution '2'. Known: 0, 3. You can also give a number from 1 to 2."
    with pytest.raises(UnsupportedError) as unsupported:
        kernel_sheets(nn.Sequential(nn.Linear(2, 2)), "mlp", ())
    assert str(unsupported.value) == "mlp has no convolution, so it has no kernels."


def test_a_training_keeps_the_first_kernels() -> None:
    kept = kept_kernels(nn.Sequential(nn.Conv2d(5, 40, 3)))
    assert kept is not None
    assert kept.shape == (16, 3, 3, 3)
    assert kept_kernels(nn.Linear(2, 2)) is None


def test_features_come_after_activation_of_prepared_picture() -> None:
    model = small()
    image, first, second = seen(model, VisualRequest(kind="features", index=2), dataset="digits")
    assert image.title.startswith("test image 2 of digits: predicted ")
    assert (image.images.shape, image.kind) == ((1, 8, 8), "pixels")
    assert (first.title, second.title) == ("2: 2 feature maps of 6x6", "3: 3 feature maps of 5x5")
    with torch.no_grad():
        expected = model.eval()[:3](torch.from_numpy(image.images)[None])[0]
    np.testing.assert_allclose(first.images, expected.numpy(), rtol=1e-5)
    assert first.images.min() >= 0


def test_modules_are_taken_by_name_as_they_are() -> None:
    _, before = seen(small(), VisualRequest(kind="features", layers=(".0",)), dataset="digits")
    assert before.title == "0: 2 feature maps of 6x6"
    assert before.images.min() < 0


def test_a_moved_picture_comes_after_the_picture() -> None:
    sheets = seen(small(), VisualRequest(kind="features", layers=("1",), moves=((0, 0), (-2, 1))), dataset="digits")
    assert [sheet.title.partition(":")[0] for sheet in sheets] == [
        "test image 0 of digits",
        "2",
        "test image 0 of digits, moved 2 to the left 1 down",
        "2",
    ]
    still, moved = sheets[0].images[0], sheets[2].images[0]
    np.testing.assert_array_equal(moved[1:, :-2], still[:-1, 2:])
    assert moved[0].max() == 0


def test_a_file_is_a_picture_too(tmp_path: Path) -> None:
    file = tmp_path / "red.png"
    file.write_bytes(image((200, 0, 0), kind="PNG"))
    sheet, _ = seen(small(3), VisualRequest(kind="features", layers=("1",), image=str(file)), shape=(3, 8, 8))
    assert sheet.title.startswith("red.png: predicted class ")
    np.testing.assert_allclose(sheet.images[0].mean(axis=(0, 1)), [200 / 255, 0, 0], atol=0.01)


def test_default_photograph_serves_colour_networks_only() -> None:
    sheet, _ = seen(small(3), VisualRequest(kind="features", layers=("1",)), shape=(3, 8, 8))
    assert sheet.title.startswith("a photograph that comes with scikit-learn: predicted class ")
    with pytest.raises(UsageError) as error:
        seen(small(), VisualRequest(kind="features"))
    assert str(error.value) == "m takes grey images. Give one with --image, or a dataset with --dataset."


def test_pictures_and_layers_that_do_not_exist_are_told() -> None:
    with pytest.raises(UsageError) as error:
        seen(small(), VisualRequest(kind="features", index=359), dataset="digits")
    assert str(error.value) == "There is no test image 359 in digits, only 0 to 358."
    with pytest.raises(UsageError) as error:
        seen(small(), VisualRequest(kind="features", layers=("conv",)), dataset="digits")
    assert str(error.value).startswith("Unknown layer 'conv'. ")
    with pytest.raises(UnsupportedError) as unsupported:
        seen(small(), VisualRequest(kind="features", layers=(".4",)), dataset="digits")
    assert str(unsupported.value) == "The output of layer '4' is 75, not maps of height and width."
    with pytest.raises(UnsupportedError) as unsupported:
        seen(MODELS["vgg16_linear"].build(), VisualRequest(kind="kernels"), shape=(512, 7, 7))
    assert str(unsupported.value) == "The input of m is not an image, because an image has 1 or 3 channels."


class Always(nn.Module):
    """Takes every image for the same class."""

    def __init__(self, label: int) -> None:
        super().__init__()
        self.label = label

    def forward(self, images: Tensor) -> Tensor:
        return nn.functional.one_hot(torch.full((len(images),), self.label), 10).float()


def test_predictions_name_the_class_and_mark_the_wrong_ones() -> None:
    (sheet,) = seen(Always(4), VisualRequest(kind="predictions", count=9), dataset="digits")
    assert len(sheet.images) == 9
    labels = [4 if name == "4" else int(name.removeprefix("4\nis ")) for name in sheet.names]
    assert sheet.wrong == tuple(label != 4 for label in labels)
    assert sheet.title == f"test images of digits and their predicted classes: {sum(sheet.wrong)} of 9 wrong"


def test_wrong_predictions_only_go_on_until_there_are_enough() -> None:
    (sheet,) = seen(Always(4), VisualRequest(kind="predictions", count=40, wrong=True), dataset="digits")
    assert sheet.wrong == (True,) * 40
    assert "4" not in sheet.names


class Knows(nn.Module):
    """Is always right, because it looks the image up."""

    def forward(self, images: Tensor) -> Tensor:
        from cnnbench.data.digits import SPEC

        read = SPEC.read(SPEC.look(()), SPEC.shape, lambda *_: None)  # type: ignore[arg-type]
        table = {image.tobytes(): label for image, label in zip(read.test.images_NCHW, read.test.labels_N, strict=True)}
        found = [int(table[image.tobytes()]) for image in images.numpy()]
        return nn.functional.one_hot(torch.tensor(found), 10).float()


def test_where_none_is_wrong_that_is_said() -> None:
    with pytest.raises(CnnbenchError) as error:
        seen(Knows(), VisualRequest(kind="predictions", count=5, wrong=True), dataset="digits")
    assert str(error.value) == "All 359 test images of digits are predicted correctly. None is wrong."
