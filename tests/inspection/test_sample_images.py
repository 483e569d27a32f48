"""Real images for any input: shapes, seeds, scale, and that they are images and no noise."""

from __future__ import annotations

import pytest
import torch

from cnnbench.inspection.sample_images import real_images
from cnnbench.spec import Shape, UnsupportedError


@pytest.mark.parametrize("shape", [(1, 28, 28), (1, 4, 6), (3, 32, 32), (3, 224, 100), (3, 600, 700), (5, 7, 7)])
def test_pictures_have_the_shape_asked_for_and_unit_scale(shape: Shape) -> None:
    images = real_images(shape, 6, 0)
    assert (tuple(images.shape), images.dtype, images.is_contiguous()) == ((6, *shape), torch.float32, True)
    assert float(images.mean()) == pytest.approx(0.0, abs=1e-4)
    assert float(images.std()) == pytest.approx(1.0, abs=1e-4)


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 64, 64)])
def test_the_seed_alone_decides_which_pictures_come(shape: Shape) -> None:
    images = real_images(shape, 8, 3)
    assert torch.equal(images, real_images(shape, 8, 3))
    assert not torch.equal(images, real_images(shape, 8, 4))
    assert len(torch.unique(images.flatten(1), dim=0)) == 8


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 64, 64)])
def test_neighbouring_pixels_are_alike_as_in_pictures(shape: Shape) -> None:
    images = real_images(shape, 16, 0)
    pairs = torch.stack([images[..., 1:].flatten(), images[..., :-1].flatten()])
    assert float(torch.corrcoef(pairs)[0, 1]) > 0.8


def test_colours_take_turns_where_there_are_more_channels() -> None:
    images = real_images((5, 9, 9), 2, 0)
    assert torch.equal(images[:, 3:], images[:, :2])
    assert not torch.equal(images[:, 0], images[:, 1])


def test_an_input_that_is_no_picture_is_refused() -> None:
    with pytest.raises(UnsupportedError) as caught:
        real_images((784,), 1, 0)
    assert str(caught.value) == "The model's input 784 is not an image with channels, height and width."
