"""What a model takes images for, with hand-made models whose answers are known."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from cnnbench.clock import wall_clock
from cnnbench.image_types import ImageTransform
from cnnbench.inspection import predict
from cnnbench.jobs import Assignment, Job
from cnnbench.models.vgg import IMAGENET_MEAN, IMAGENET_STD
from cnnbench.spec import DEFAULT_RECIPE, ModelSpec, Shape, UnsupportedError
from tests.data.files import image
from tests.factories import case

SHAPE = (3, 16, 16)


class Brightest(nn.Module):
    """Scores red, green and blue by their mean, and remembers what it saw."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Tensor] = []

    def forward(self, images: Tensor) -> Tensor:
        self.seen.append(images)
        return images.mean(dim=(2, 3)) * 10


def assigned(model: nn.Module, images: list[Path], *, top: int = 2, shape: Shape = SHAPE, **spec: Any) -> Assignment:
    made = ModelSpec(name="m", family="f", source="s", input_shape=shape, build=lambda: model)
    made = replace(made, **spec)
    asked = replace(case("m", shape=shape), role="predict")
    return Assignment(
        job=Job(case=asked, scratch="", images=tuple(map(str, images)), top=top),
        spec=made,
        build=lambda: model,
        clock=wall_clock(),
        on_message=lambda *_: None,
    )


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / "blue.jpg", tmp_path / "green.png"]
    paths[0].write_bytes(image((60, 10, 200)))
    paths[1].write_bytes(image((10, 200, 60), kind="PNG"))
    return paths


def test_classes_come_best_first_picture_after_picture(files: list[Path]) -> None:
    found = predict.run(assigned(Brightest(), files))
    classes, shares = found.measurements
    assert (classes.quantity, classes.samples, classes.iterations_per_sample) == ("top_class", (2.0, 0.0, 1.0, 2.0), 2)
    expected = torch.tensor([60.0, 10.0, 200.0]).div(25.5).softmax(0)
    assert shares.samples[:2] == pytest.approx([float(expected[2]), float(expected[0])], rel=0.1)
    assert found.notes == ("", "", "", "")


def test_many_pictures_are_taken_in_batches(files: list[Path]) -> None:
    model = Brightest()
    found = predict.run(assigned(model, files * 10, top=1))
    assert [len(images) for images in model.seen] == [16, 4]
    assert found.measurements[0].samples == (2.0, 1.0) * 10


def test_locally_trained_network_gets_no_imagenet_scaling(files: list[Path]) -> None:
    model = Brightest()
    asked = assigned(model, files[1:], pretrained="resnet18")
    predict.run(replace(asked, job=replace(asked.job, case=replace(asked.case, dataset="folder:x"))))
    assert model.seen[0][0, :, 8, 8].tolist() == pytest.approx([10 / 255, 200 / 255, 60 / 255])


def test_imagenet_s_classes_are_known_by_their_number() -> None:
    names = predict.class_names(1000)
    assert (len(names), names[281], names[282]) == (1000, "tabby", "tiger cat")
    assert predict.class_names(999) == ()


@pytest.mark.parametrize(
    ("spec", "mean", "std"),
    [
        ({}, (0.0,) * 3, (1.0,) * 3),
        ({"pretrained": "resnet18"}, IMAGENET_MEAN, IMAGENET_STD),
        (
            {"transform": ImageTransform(mean=(0.5,) * 3, std=(0.25,) * 3, resize=1.0), "pretrained": "resnet18"},
            (0.5,) * 3,
            (0.25,) * 3,
        ),
        ({"recipe": replace(DEFAULT_RECIPE, mean=(0.5,) * 3, std=(0.25,) * 3)}, (0.5,) * 3, (0.25,) * 3),
    ],
    ids=["nothing known", "published", "its own", "recipe"],
)
def test_pictures_are_normalised_as_the_network_learnt_them(
    files: list[Path], spec: dict[str, Any], mean: tuple[float, ...], std: tuple[float, ...]
) -> None:
    model = Brightest()
    predict.run(assigned(model, files[1:], **spec))
    seen = model.seen[0][0, :, 8, 8]
    expected = [(value / 255 - m) / s for value, m, s in zip((10, 200, 60), mean, std, strict=True)]
    assert seen.tolist() == pytest.approx(expected, abs=1e-5)


def test_a_file_that_is_no_picture_is_named(tmp_path: Path) -> None:
    (tmp_path / "x.jpg").write_bytes(b"nothing")
    with pytest.raises(UnsupportedError) as caught:
        predict.run(assigned(Brightest(), [tmp_path / "x.jpg"]))
    assert str(caught.value) == (f"{tmp_path / 'x.jpg'} cannot be decoded as an image: UnidentifiedImageError.")


def test_a_network_of_features_takes_no_pictures(files: list[Path]) -> None:
    with pytest.raises(UnsupportedError) as caught:
        predict.run(assigned(Brightest(), files, shape=(512, 7, 7)))
    assert str(caught.value) == "The input of m is not an image, because an image has 1 or 3 channels."
