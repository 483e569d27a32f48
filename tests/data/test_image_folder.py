"""Folders and zips of photographs: decoding, what is left out, the cache, and the fixed fifth."""

from __future__ import annotations

import io
import os
import zipfile
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image
from torchvision import transforms
from torchvision.models import get_model_weights

from cnnbench import data
from cnnbench.data import cats_dogs
from cnnbench.data import image_folder as photographs
from cnnbench.data.batches import Augmentation, View, adapt_splits, batches, splits_of
from cnnbench.data.dataset import File, LeftOut, Read, Source, ignore_progress
from cnnbench.data.decode import decode, decode_all
from cnnbench.data.image_folder import entries, read_images
from cnnbench.models.zoo import published_transform
from cnnbench.spec import CnnbenchError, UsageError
from tests.data.files import image, put_pictures

RED, BLUE = (200, 30, 30), (30, 30, 200)
CLASSES = ("Cat", "Dog")


def read(root: Path, cache: Path, shape: tuple[int, int, int] = (3, 16, 16), told: list[float] | None = None) -> Read:
    source = Source(form="a folder", files=(File(path=root),))
    on_progress = ignore_progress if told is None else (lambda _, share: told.append(share))
    return read_images("pets", source, CLASSES, shape, on_progress, top="PetImages", cache=cache)


@pytest.fixture
def pets(tmp_path: Path) -> Path:
    put_pictures(tmp_path / "PetImages", {"Cat": RED, "Dog": BLUE})
    return tmp_path / "PetImages"


def test_pictures_match_their_class_and_fifth_is_held_out(pets: Path, tmp_path: Path) -> None:
    found = read(pets, tmp_path / "cache")
    assert (len(found.train), len(found.test), found.val is found.test) == (16, 4, True)
    assert found.train.images_NCHW.shape == (16, 3, 16, 16)
    for part in (found.train, found.test):
        redder = part.images_NCHW[:, 0].mean(axis=(1, 2)) > part.images_NCHW[:, 2].mean(axis=(1, 2))
        assert (redder == (part.labels_N == 0)).all()
    assert sorted(found.train.labels_N.tolist()) == [0] * 8 + [1] * 8
    assert sorted(found.test.labels_N.tolist()) == [0, 0, 1, 1]
    assert found.train.labels_N.tolist() != sorted(found.train.labels_N.tolist())  # batches hold both


def test_a_zip_gives_the_same_as_the_folder(pets: Path, tmp_path: Path) -> None:
    path = tmp_path / "kagglecatsanddogs_5340.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "x")
        archive.writestr("../PetImages/Cat/evil.jpg", image(BLUE))
        for file in pets.rglob("*.jpg"):
            archive.write(file, file.relative_to(tmp_path).as_posix())
    before = {p.name for p in tmp_path.parent.iterdir()}
    one, other = read(pets, tmp_path / "cache"), read(path, tmp_path / "cache2")
    assert (one.train.images_NCHW == other.train.images_NCHW).all()
    assert (one.test.labels_N == other.test.labels_N).all()
    assert {p.name for p in tmp_path.parent.iterdir()} == before


def test_undecodable_files_are_left_out_by_name_and_kept(pets: Path, tmp_path: Path) -> None:
    bad = {
        "Cat/20.jpg": b"",
        "Dog/21.jpg": b"no image",
        "Dog/22.jpg": image(BLUE)[:400],
    }
    for name, content in bad.items():
        (pets / name).write_bytes(content)
    (pets / "Cat" / "Thumbs.db").write_bytes(b"not an image, and not named like one")
    (pets / "Cat" / "23.jpg").write_bytes(image(RED, kind="PNG"))
    found = read(pets, tmp_path / "cache")
    assert len(found.train) + len(found.test) == 21
    assert {p.name: p.reason for p in found.left_out} == {
        "Cat/20.jpg": "the file is empty, or cannot be read",
        "Dog/21.jpg": "cannot identify image file",
        "Dog/22.jpg": next(p.reason for p in found.left_out if p.name == "Dog/22.jpg"),
    }
    assert "runcated" in next(p.reason for p in found.left_out if p.name == "Dog/22.jpg")
    assert found.misnamed == ("Cat/23.jpg",)
    assert all((pets / name).read_bytes() == content for name, content in bad.items())
    assert found.notes[1].startswith("Left out because they cannot be decoded: ")
    assert read(pets, tmp_path / "cache").left_out == found.left_out  # from the cache


def test_pictures_are_decoded_once_until_a_file_changes(
    pets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded: list[int] = []
    real = decode_all

    def counted(contents: object, count: int, *rest: object) -> tuple[LeftOut, ...]:
        decoded.append(count)
        return real(contents, count, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(photographs, "decode_all", counted)
    first, second = read(pets, tmp_path / "cache"), read(pets, tmp_path / "cache")
    assert (decoded, (first.train.images_NCHW == second.train.images_NCHW).all()) == ([20], True)
    read(pets, tmp_path / "cache", shape=(3, 8, 8))
    (pets / "Cat" / "0.jpg").write_bytes(image(RED, size=(50, 50)))
    read(pets, tmp_path / "cache")
    assert decoded == [20, 20, 20]
    assert len(list((tmp_path / "cache").iterdir())) == 3


def test_the_cache_cannot_be_written_into_and_batches_are_copies(pets: Path, tmp_path: Path) -> None:
    found = read(pets, tmp_path / "cache")
    assert not found.train.images_NCHW.flags.writeable
    before = found.train.images_NCHW.copy()
    splits = adapt_splits(splits_of(found, 2), View(input_shape=(3, 16, 16)), "cpu", Augmentation(flip=True))
    for images, _ in batches(splits.train, 4, augment_rng=torch.Generator().manual_seed(0)):
        images.fill_(7)
    assert (read(pets, tmp_path / "cache").train.images_NCHW == before).all()


def test_dead_leftovers_are_removed_but_live_writers_stay(pets: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    for owner in ("999999999", str(os.getpid()), str(os.getppid())):
        (cache / f".part-{owner}-x").mkdir(parents=True)
    read(pets, cache)
    assert [path.name for path in cache.glob(".part-*")] == [f".part-{os.getppid()}-x"]


def test_broken_link_and_folder_named_jpg_cost_nothing_else(pets: Path, tmp_path: Path) -> None:
    (pets / "Cat" / "folder.jpg").mkdir()
    (pets / "Cat" / "gone.jpg").symlink_to(tmp_path / "nowhere")
    found = read(pets, tmp_path / "cache")
    assert (len(found.train) + len(found.test), found.left_out) == (20, ())


def test_a_cache_that_cannot_be_written_says_what_to_do(pets: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(CnnbenchError) as caught:
        read(pets, tmp_path / "file")
    assert str(caught.value) == (
        f"The decoded images cannot be kept in {tmp_path / 'file'}: File exists. They need 0 MB; make room, or name "
        "another cache folder with XDG_CACHE_HOME."
    )


def test_a_full_disk_leaves_no_half_cache(pets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(photographs, "decode_all", full)
    with pytest.raises(CnnbenchError, match=r"No space left on device\. They need 0 MB; make room"):
        read(pets, tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_class_without_enough_pictures_is_refused(pets: Path, tmp_path: Path) -> None:
    for file in sorted((pets / "Dog").iterdir())[3:]:
        file.unlink()
    with pytest.raises(UsageError) as caught:
        read(pets, tmp_path / "cache")
    assert str(caught.value) == (
        f"{pets} holds too few readable images of Dog. One in 5 images is held out for testing, so a class needs at "
        "least 5."
    )


def test_held_out_fifth_goes_by_number_in_fixed_order() -> None:
    names = [f"{name}/{k}.jpg" for name in CLASSES for k in range(12)]
    found = entries(names[::-1], CLASSES)
    assert {entry.name for entry in found if entry.part == "test"} == {f"{c}/{k}.jpg" for c in CLASSES for k in (4, 9)}
    assert [entry.name for entry in found][:4] == ["Dog/6.jpg", "Cat/6.jpg", "Dog/7.jpg", "Dog/4.jpg"]
    assert entries(names, CLASSES) == found


@pytest.mark.parametrize("size", [(300, 200), (200, 300), (257, 256), (100, 90), (640, 427)])
def test_resizing_and_cutting_is_torchvision_s(size: tuple[int, int]) -> None:
    draw = np.random.default_rng(0)
    held = io.BytesIO()
    Image.fromarray(draw.integers(0, 256, (size[1], size[0], 3)).astype(np.uint8)).save(held, "PNG")
    theirs = transforms.Compose([transforms.Resize(256), transforms.CenterCrop(224), transforms.PILToTensor()])
    with Image.open(held) as opened:
        expected = theirs(opened.convert("RGB"))
    assert torch.equal(torch.from_numpy(decode(held.getvalue(), (3, 224, 224)).copy()), expected)


@pytest.mark.parametrize("name", ["mobilenet_v2", "efficientnet_v2_s", "inception_v3"])
def test_images_are_resized_as_published_weights_expect(name: str) -> None:
    theirs = get_model_weights(name).DEFAULT.transforms()
    size = theirs.crop_size[0]
    draw = np.random.default_rng(0)
    image = Image.fromarray(draw.integers(0, 256, (420, 500, 3)).astype(np.uint8))
    found = torch.from_numpy(decode(encoded(image), (3, size, size), published_transform(name)).copy())
    pixels = (found / 255 - torch.tensor(theirs.mean).view(3, 1, 1)) / torch.tensor(theirs.std).view(3, 1, 1)
    assert torch.allclose(pixels, theirs(image), atol=1e-5)


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    held = io.BytesIO()
    image.save(held, kind, **options)
    return held.getvalue()


@pytest.mark.parametrize("turned", range(1, 9))
def test_photographs_are_upright(turned: int) -> None:
    upright = np.zeros((8, 8), dtype=np.uint8)
    upright[:4] = 240  # the top is bright
    undo = {1: 0, 2: 0, 3: 2, 4: 2, 5: 1, 6: 1, 7: 3, 8: 3}[turned]  # quarter turns, and mirrored or not
    stored = np.rot90(upright, undo)
    tags = Image.Exif()
    tags[0x0112] = turned
    content = encoded(Image.fromarray(np.ascontiguousarray(stored)), "JPEG", exif=tags, quality=95)
    found = decode(content, (1, 8, 8))[0]
    assert found[:3].min() > 200
    assert found[5:].max() < 50


def test_an_image_with_damaged_notes_is_seen_as_it_is_stored() -> None:
    image = Image.new("L", (8, 8), 100)
    content = encoded(image, "JPEG", exif=b"Exif\0\0no header at all", dpi=(72, 72))
    assert decode(content, (1, 8, 8)).tolist() == [[[100] * 8] * 8]


@pytest.mark.parametrize(
    ("pixels", "expected"),
    [
        (np.array([[0, 32768], [257, 65535]], dtype=np.uint16), [[0, 128], [1, 255]]),
        (np.array([[0.0, 0.5], [0.25, 1.0]], dtype=np.float32), [[0, 128], [64, 255]]),
        (np.array([[0.0, 127.6], [64.0, 255.0]], dtype=np.float32), [[0, 128], [64, 255]]),
    ],
    ids=["16 bits", "float to 1", "float to 255"],
)
def test_more_than_8_bits_are_scaled(pixels: npt.NDArray[np.generic], expected: list[list[int]]) -> None:
    content = encoded(Image.fromarray(pixels), "TIFF")
    assert decode(content, (1, 2, 2)).tolist() == [expected]
    assert decode(content, (3, 2, 2)).tolist() == [expected] * 3


def test_values_without_a_known_range_leave_the_image_out(tmp_path: Path) -> None:
    content = encoded(Image.fromarray(np.array([[-3.0, 900.0]], dtype=np.float32)), "TIFF")
    placed: list[int] = []
    left_out = decode_all([("a.tif", content)], 1, (1, 1, 2), lambda at, _: placed.append(at), lambda _: None)
    assert left_out == (LeftOut(name="a.tif", reason="its values go from -3 to 900, and nothing tells which is white"),)
    assert placed == []


def test_transparent_parts_are_white() -> None:
    image = Image.new("RGBA", (4, 4), (10, 20, 30, 255))
    image.paste((0, 0, 0, 0), (0, 2, 4, 4))
    expected = [[[value] * 4] * 2 + [[255] * 4] * 2 for value in (10, 20, 30)]
    assert decode(encoded(image), (3, 4, 4)).tolist() == expected
    palette = Image.new("P", (4, 4), 1)
    palette.putpalette([10, 20, 30, 200, 0, 0])
    palette.putpixel((0, 0), 0)
    found = decode(encoded(palette, "GIF", transparency=1), (3, 4, 4))
    assert [found[:, y, x].tolist() for y, x in ((0, 0), (3, 3))] == [[10, 20, 30], [255] * 3]


@pytest.mark.parametrize("kind", ["GIF", "WEBP"])
def test_first_image_of_an_animation_is_taken(kind: str) -> None:
    images = [Image.new("RGB", (4, 4), colour) for colour in ("red", "blue")]
    content = encoded(images[0], kind, save_all=True, append_images=images[1:], duration=100)
    assert decode(content, (3, 4, 4))[:, 0, 0].tolist() == pytest.approx([255, 0, 0], abs=3)


# Where they lie


def test_cats_and_dogs_are_found_as_folder_or_zip(pets: Path, tmp_path: Path) -> None:
    for place in (tmp_path, pets):
        source = cats_dogs.look((place,))
        assert source is not None
        assert (source.form, source.files[0].path) == ("the folder PetImages", pets)
    alone = tmp_path / "alone"
    alone.mkdir()
    assert cats_dogs.look((alone,)) is None
    with zipfile.ZipFile(alone / "kagglecatsanddogs_3367a.zip", "w"):
        pass
    found = cats_dogs.look((alone,))
    assert found is not None
    assert found.form == "the zip"


def test_a_damaged_zip_says_so(tmp_path: Path) -> None:
    path = tmp_path / "kagglecatsanddogs_5340.zip"
    path.write_bytes(b"PK\x03\x04 cut")
    with pytest.raises(
        UsageError, match=f"^{path} is damaged: File is not a zip file\\. Delete it and fetch it again\\.$"
    ):
        read(path, tmp_path / "cache")


def test_a_folder_of_one_s_own_is_a_dataset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    put_pictures(tmp_path / "own", {"rose": RED, "iris": BLUE})
    (tmp_path / "own" / ".hidden").mkdir()
    spec = data.find(f"folder:{tmp_path / 'own'}")
    assert (spec.classes, spec.class_names) == (2, ("iris", "rose"))
    found = data.read(spec, (3, 32, 32))
    assert found.train.images_NCHW.shape == (16, 3, 32, 32)
    assert [path.name for path in (tmp_path / "cache" / "cnnbench").iterdir()] == ["images"]


def put_parts(root: Path, parts: dict[str, dict[str, int]]) -> data.DatasetSpec:
    """Write images by part and class, each as bright as its number, and return the dataset."""
    for part, classes in parts.items():
        for name, count in classes.items():
            (root / part / name).mkdir(parents=True)
            for at in range(count):
                Image.new("RGB", (8, 8), (at, at, at)).save(root / part / name / f"{at}.png")
    return data.find(f"folder:{root}")


def read_parts(spec: data.DatasetSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Read:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return data.read(spec, (3, 8, 8))


def test_train_val_and_test_are_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parts = {"Train": {"cat": 4, "dog": 3}, "val": {"cat": 2, "dog": 2}, "test": {"cat": 1, "dog": 2}}
    spec = put_parts(tmp_path / "own", parts)
    assert (spec.class_names, spec.description) == (
        ("cat", "dog"),
        "your own images, one folder for each class; Train, test, val",
    )
    found = read_parts(spec, tmp_path, monkeypatch)
    assert [len(part) for part in (found.train, found.val, found.test)] == [7, 4, 3]
    assert [sorted(part.labels_N.tolist()) for part in (found.val, found.test)] == [[0, 0, 1, 1], [0, 1, 1]]
    assert sorted(found.test.images_NCHW[:, 0, 0, 0].tolist()) == [0, 0, 1]
    assert found.notes == ()


@pytest.mark.parametrize("part", ["val", "valid", "test"])
def test_one_part_beside_train_validates_and_tests(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part: str) -> None:
    spec = put_parts(tmp_path / "own", {"train": {"cat": 4, "dog": 3}, part: {"cat": 2, "dog": 1}})
    found = read_parts(spec, tmp_path, monkeypatch)
    assert (len(found.train), len(found.test)) == (7, 3)
    assert found.val is found.test
    assert found.notes == ("The validation images are the test images; nothing is chosen by them.",)


def test_a_class_that_a_part_lacks_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = put_parts(tmp_path / "own", {"train": {"cat": 4}, "val": {"cat": 2, "dog": 1}})
    assert read_parts(spec, tmp_path, monkeypatch).notes == (
        "The validation images are the test images; nothing is chosen by them.",
        "There are no images of dog in train.",
    )


def test_parts_without_images_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = put_parts(tmp_path / "own", {"train": {"cat": 4, "dog": 4}, "val": {"cat": 0, "dog": 0}})
    with pytest.raises(UsageError) as caught:
        read_parts(spec, tmp_path, monkeypatch)
    assert str(caught.value) == f"{tmp_path / 'own'} holds no readable images in one of train, val."


def test_classes_without_readable_images_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = put_parts(tmp_path / "own", {".": {"cat": 0, "dog": 0}})
    with pytest.raises(UsageError, match=r"holds too few readable images of cat, dog\."):
        read_parts(spec, tmp_path, monkeypatch)


def test_folders_of_systems_are_no_classes(tmp_path: Path) -> None:
    for name in ("cat", "dog", "__MACOSX", ".ipynb_checkpoints"):
        (tmp_path / name).mkdir()
    assert data.find(f"folder:{tmp_path}").class_names == ("cat", "dog")


def test_names_that_are_not_utf8_are_written_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = put_parts(tmp_path / "own", {".": {"cat": 5, "dog": 5}})
    (tmp_path / "own" / "cat" / os.fsdecode(b"caf\xe9.jpg")).write_bytes(b"no image")
    (tmp_path / "own" / "cat" / "without_ending").write_bytes((tmp_path / "own" / "cat" / "0.png").read_bytes())
    (tmp_path / "own" / "cat" / "notes.txt").write_bytes(b"no image")
    found = read_parts(spec, tmp_path, monkeypatch)
    assert [image.name for image in found.left_out] == ["cat/caf\\xe9.jpg"]
    assert len(found.train) + len(found.test) == 11


@pytest.mark.parametrize(
    ("made", "said"),
    [
        ((), "none"),
        (("one",), "only 'one'"),
    ],
)
def test_a_folder_with_fewer_than_two_classes_is_refused(tmp_path: Path, made: tuple[str, ...], said: str) -> None:
    for name in made:
        (tmp_path / name).mkdir()
    with pytest.raises(UsageError) as caught:
        data.find(f"folder:{tmp_path}")
    assert str(caught.value) == (
        f"Dataset 'folder:{tmp_path}': the folder must hold one folder of images for each of at least two classes, "
        f"but holds {said}."
    )


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        data.find(f"folder:{tmp_path / 'none'}")
    assert str(caught.value) == (
        f"Dataset 'folder:{tmp_path / 'none'}': there is no folder '{tmp_path / 'none'}'. Give one with a folder for "
        "each class."
    )
