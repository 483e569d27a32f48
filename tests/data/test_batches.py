from __future__ import annotations

import pytest
import torch
from torch import Tensor

from cnnbench.data import batches as module
from cnnbench.data.batches import Augmentation, Split, Splits, View, adapt_splits, batch_count, batches, view_for
from cnnbench.spec import UnsupportedError, UsageError


def numbered(count: int) -> Split:
    """Images of 1x2x2 that are filled with their own label, a quarter of it in brightness."""
    labels = torch.arange(count)
    images = (labels / 4).reshape(-1, 1, 1, 1).expand(-1, 1, 2, 2).contiguous()
    return Split(images_NCHW=images, labels_N=labels, classes=count)


def labels_of(split: Split, size: int, seed: int | None = None, *, keep_single: bool = True) -> list[list[int]]:
    shuffle_rng = None if seed is None else torch.Generator().manual_seed(seed)
    return [labels.tolist() for _, labels in batches(split, size, shuffle_rng=shuffle_rng, keep_single=keep_single)]


def test_enlarging_is_bilinear_without_smoothing() -> None:
    image = torch.tensor([[[[0.0, 1.0], [0.0, 1.0]]]])
    assert View(input_shape=(1, 2, 4))(image).tolist() == [[[[0.0, 0.25, 0.75, 1.0]] * 2]]


def test_shrinking_smooths() -> None:
    stripes = torch.tensor([1.0, 0.0, 0.0, 0.0]).repeat(4).expand(1, 1, 16, 16)
    seen = View(input_shape=(1, 4, 4))(stripes)
    plain = torch.nn.functional.interpolate(stripes, size=(4, 4), mode="bilinear")
    assert plain.max() == 0.0
    assert float(seen.mean()) == pytest.approx(0.25, abs=0.02)


def test_bytes_become_shares_and_grey_becomes_all_channels() -> None:
    image = torch.tensor([[[[0, 51], [102, 255]]]], dtype=torch.uint8)
    plane = torch.tensor([[0.0, 0.2], [0.4, 1.0]])
    assert torch.equal(View(input_shape=(3, 2, 2))(image), plane.expand(1, 3, 2, 2))


def test_normalising_is_per_channel() -> None:
    image = torch.full((1, 1, 1, 1), 0.5)
    view = View(input_shape=(3, 1, 1), mean=(0.5, 0.0, 1.0), std=(1.0, 0.5, 0.25))
    assert view(image).flatten().tolist() == [0.0, 1.0, -2.0]
    assert View(input_shape=(1, 1, 1), mean=(0.25,), std=(0.5,))(image).flatten().tolist() == [0.5]


@pytest.mark.parametrize(("shape", "text"), [((512, 7, 7), "512x7x7"), ((784,), "784")])
def test_an_input_that_is_no_picture_is_refused(shape: tuple[int, ...], text: str) -> None:
    with pytest.raises(UnsupportedError) as caught:
        view_for(shape, (1, 8, 8), (), ())
    assert str(caught.value) == f"The model's input {text} is not an image, because an image has 1 or 3 channels."


def test_colour_does_not_fit_a_grey_network() -> None:
    with pytest.raises(UnsupportedError) as caught:
        view_for((1, 28, 28), (3, 32, 32), (), ())
    assert str(caught.value) == "The model's input 1x28x28 is grey, but the dataset's images are in colour."


def test_means_must_fit_the_channels() -> None:
    with pytest.raises(UsageError) as caught:
        view_for((3, 32, 32), (1, 8, 8), (0.5, 0.5), (0.5, 0.5))
    assert str(caught.value) == (
        "The recipe gives 2 means and 2 deviations for 3 channels; give one of each per channel, one for all, or none."
    )


def test_small_splits_adapt_at_once_and_large_ones_by_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    view = View(input_shape=(3, 5, 7), mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.4))
    raw = Splits(train=numbered(6), val=numbered(3), test=numbered(2))
    held = adapt_splits(raw, view, "cpu")
    monkeypatch.setattr(module, "HELD_BYTES", 3 * 3 * 5 * 7 * 4)
    mixed = adapt_splits(raw, view, "cpu")
    assert (held.train.view, mixed.train.view, mixed.val.view, mixed.test.view) == (None, view, None, None)
    assert mixed.train.images_NCHW.shape == (6, 1, 2, 2)

    def batches_of(split: Split) -> list[Tensor]:
        return [images for images, _ in batches(split, 4)]

    assert all(map(torch.equal, batches_of(held.train), batches_of(mixed.train)))
    assert [tuple(images.shape) for images in batches_of(mixed.train)] == [(4, 3, 5, 7), (2, 3, 5, 7)]


def test_stored_order_is_kept_without_a_generator() -> None:
    assert labels_of(numbered(7), 3) == [[0, 1, 2], [3, 4, 5], [6]]


def test_pictures_stay_with_their_labels() -> None:
    for images, labels in batches(numbered(9), 4, shuffle_rng=torch.Generator().manual_seed(1)):
        assert torch.equal(images[:, 0, 0, 0] * 4, labels.to(torch.float32))


def test_shuffling_follows_the_seed_and_changes_with_each_pass() -> None:
    split = numbered(20)
    assert labels_of(split, 6, seed=3) == labels_of(split, 6, seed=3)
    assert labels_of(split, 6, seed=3) != labels_of(split, 6, seed=4)
    shuffle_rng = torch.Generator().manual_seed(3)
    first = [label for _, labels in batches(split, 6, shuffle_rng=shuffle_rng) for label in labels.tolist()]
    second = [label for _, labels in batches(split, 6, shuffle_rng=shuffle_rng) for label in labels.tolist()]
    assert first != second
    assert sorted(first) == sorted(second) == list(range(20))


@pytest.mark.parametrize(
    ("count", "size", "kept", "dropped"),
    [(7, 3, [3, 3, 1], [3, 3]), (8, 3, [3, 3, 2], [3, 3, 2]), (3, 1, [1, 1, 1], [1, 1, 1]), (1, 4, [1], [1])],
)
def test_a_single_last_picture_can_be_left_out(count: int, size: int, kept: list[int], dropped: list[int]) -> None:
    split = numbered(count)
    assert [len(labels) for labels in labels_of(split, size)] == kept
    assert [len(labels) for labels in labels_of(split, size, keep_single=False)] == dropped
    assert batch_count(count, size) == len(kept)
    assert batch_count(count, size, keep_single=False) == len(dropped)


def bytes_of(count: int, side: int = 6) -> Split:
    augment_rng = torch.Generator().manual_seed(0)
    images = torch.randint(256, (count, 3, side, side), generator=augment_rng, dtype=torch.uint8)
    return Split(images_NCHW=images, labels_N=torch.arange(count), classes=count)


def test_right_sized_bytes_stay_bytes_and_normalise_by_batch() -> None:
    raw = Splits(train=bytes_of(6), val=bytes_of(3), test=bytes_of(2))
    view = View(input_shape=(3, 6, 6), mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.4))
    held = adapt_splits(raw, view, "cpu")
    assert held.train.images_NCHW is raw.train.images_NCHW
    images = next(batches(held.train, 4))[0]
    plain = raw.train.images_NCHW[:4].to(torch.float32) / 255
    mean, std = (torch.tensor(values).reshape(1, -1, 1, 1) for values in (view.mean, view.std))
    assert torch.equal(images, (plain - mean) / std)
    assert adapt_splits(raw, View(input_shape=(3, 8, 8)), "cpu").train.view is None


@pytest.mark.parametrize("split", [bytes_of(6), numbered(6)], ids=["bytes", "floats"])
@pytest.mark.parametrize("seed", [None, 1])
def test_changing_batch_in_place_leaves_pictures_alone(split: Split, seed: int | None) -> None:
    before = split.images_NCHW.clone()
    shuffle_rng = None if seed is None else torch.Generator().manual_seed(seed)
    for images, _ in batches(split, 4, shuffle_rng=shuffle_rng):
        images.fill_(1)
    assert torch.equal(split.images_NCHW, before)


def test_padding_cuts_a_window_out_of_the_picture_between_black() -> None:
    image = torch.arange(1, 10, dtype=torch.uint8).reshape(1, 1, 3, 3).expand(200, 1, 3, 3)
    padded = torch.nn.functional.pad(image[0, 0], [2] * 4)
    windows = {padded[top : top + 3, left : left + 3].numpy().tobytes() for top in range(5) for left in range(5)}
    cut = Augmentation(padding=2)(image, torch.Generator().manual_seed(0))
    assert {one[0].numpy().tobytes() for one in cut} == windows  # each of the 25 places, and nothing else
    assert (cut.dtype, cut.shape) == (torch.uint8, image.shape)


def test_flipping_mirrors_about_half() -> None:
    image = torch.arange(4.0).reshape(1, 1, 2, 2).expand(400, 1, 2, 2)
    flipped = Augmentation(flip=True)(image, torch.Generator().manual_seed(0))
    mirrored = [torch.equal(one, image[0].flip(2)) for one in flipped]
    assert all(torch.equal(one, image[0]) for one, mirror in zip(flipped, mirrored, strict=True) if not mirror)
    assert 150 < sum(mirrored) < 250


def test_augmentation_follows_its_seed_and_is_for_training_only() -> None:
    raw = Splits(train=bytes_of(9), val=bytes_of(3), test=bytes_of(2))
    split = adapt_splits(raw, View(input_shape=(3, 6, 6)), "cpu", Augmentation(flip=True, padding=2)).train

    def seen(seed: int | None) -> list[Tensor]:
        augment_rng = None if seed is None else torch.Generator().manual_seed(seed)
        return [images for images, _ in batches(split, 4, augment_rng=augment_rng)]

    plain = [View(input_shape=(3, 6, 6))(images) for images in torch.split(raw.train.images_NCHW, 4)]
    assert all(map(torch.equal, seen(1), seen(1)))
    assert not all(map(torch.equal, seen(1), seen(2)))
    assert all(map(torch.equal, seen(None), plain))
