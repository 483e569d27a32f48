"""CIFAR-10: the published archive, its batches, or JPEG archives of the same images."""

from __future__ import annotations

import lzma
import math
import tarfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from cnnbench.data.dataset import (
    Counts,
    DatasetSpec,
    Download,
    Fast,
    File,
    OnProgress,
    Places,
    Read,
    Source,
    check_labels,
)
from cnnbench.data.locations import check_md5, md5_of
from cnnbench.data.mnist import SAME_NOTE
from cnnbench.spec import Shape, UsageError

if TYPE_CHECKING:
    from cnnbench.data.dataset import LabelledImages

CLASS_NAMES = ("plane", "car", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
SHAPE = (3, 32, 32)
COUNTS = Counts(train=50_000, val=10_000, test=10_000)
ARCHIVE = "cifar-10-python.tar.gz"
ARCHIVE_MD5 = "c58f30108f718f92721af3b95e74349a"
_FOLDER = "cifar-10-batches-py"
_BATCHES = {
    "data_batch_1": "c99cafc152244af753f735de768cd75f",
    "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
    "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
    "data_batch_4": "634d18415352ddfa80567beed471001a",
    "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
    "test_batch": "40351d587109b95175f43aff81a1287e",
}
_JPEG_FILES = ("cifar10_jpeg_train.npz", "cifar10_jpeg_test.npz")

JPEG_FORM = "JPEG-compressed CIFAR-10"
JPEG_NOTE = (
    "JPEG-compressed CIFAR-10: the images of CIFAR-10 after lossy compression, so accuracies are near to those on "
    "CIFAR-10 and not the same."
)

# Folders below a data folder that may hold the files.
_ABOVE = ("", "cifar10", "CIFAR10", "cifar-10")


def look(where: Places) -> Source | None:
    """Return where CIFAR-10 is, in the first place that has it: as batches, else as the archive, else as JPEG."""
    for place in where:
        for find in (_find_batches, _find_archive, _find_jpeg):
            for above in _ABOVE:
                if (found := find(place / above)) is not None:
                    return found
    return None


def _find_batches(place: Path) -> Source | None:
    # Unpacking the archive into a folder of the same name nests that folder once more.
    for folder in (place / _FOLDER, place / _FOLDER / _FOLDER, place):
        if all((folder / name).is_file() for name in _BATCHES):
            files = tuple(File(path=folder / name, md5=md5) for name, md5 in _BATCHES.items())
            return Source(form="unpacked batches", files=files, home=_FOLDER)
    return None


def _find_archive(place: Path) -> Source | None:
    path = place / ARCHIVE
    return Source(form="the archive", files=(File(path=path, md5=ARCHIVE_MD5),)) if path.is_file() else None


def _find_jpeg(place: Path) -> Source | None:
    for folder in (place / "cifar-10-jpeg", place):
        if all((folder / name).is_file() for name in _JPEG_FILES):
            files = tuple(File(path=folder / name) for name in _JPEG_FILES)
            return Source(form=JPEG_FORM, files=files, home="cifar-10-jpeg")
    return None


def read(source: Source, _: Shape, on_progress: OnProgress) -> Read:
    """Return CIFAR-10 (N, 3, 32, 32; uint8).

    Raises:
        UsageError: a file is damaged, is not the published one, or holds something that is not admitted.
    """
    # Nobody publishes checksums of the JPEG archives, so these are checked by their content.
    if source.form == JPEG_FORM:
        train, test = (_read_jpeg_part(source.files[at], on_progress, at) for at in range(2))
        return Read(train=train, val=test, test=test, notes=(SAME_NOTE, JPEG_NOTE))

    for file in source.files:
        check_md5(file, "cifar10")

    parts: dict[str, LabelledImages] = {}
    for name, content in _contents(source):
        on_progress(f"reading cifar10: {name}", len(parts) / len(_BATCHES))
        parts[name] = _read_batch(content, f"{source.files[0].path.parent.name}/{name}")

    # Unpacked batches are complete, or they would not have been found; an archive may lack some.
    if missing := [name for name in _BATCHES if name not in parts]:
        raise UsageError(f"{source.files[0].path} lacks {', '.join(missing)}.")

    # The batches are joined in the order of their numbers, whatever their order in the archive.
    test = parts.pop("test_batch")
    return Read(train=_join_parts([parts[name] for name in sorted(parts)]), val=test, test=test, notes=(SAME_NOTE,))


def _contents(source: Source) -> Iterator[tuple[str, bytes]]:
    """Yield the name and content of every batch; an archive is read in memory and never unpacked to the disk."""
    if len(source.files) > 1:
        for file in source.files:
            yield file.path.name, file.path.read_bytes()
        return

    path = source.files[0].path
    try:
        with tarfile.open(path) as archive:
            for member in archive:
                name = PurePosixPath(member.name)
                # Nothing is written to the disk, but a path that leads elsewhere shows a manipulated archive.
                if name.is_absolute() or ".." in name.parts:
                    raise UsageError(
                        f"{path} holds '{member.name}', which lies outside its folder; nothing was unpacked."
                    )
                content = archive.extractfile(member) if member.isfile() and name.name in _BATCHES else None
                if content is not None:
                    yield name.name, content.read()
    except (tarfile.TarError, EOFError, OSError, zlib.error, lzma.LZMAError) as error:
        raise UsageError(f"{path} is damaged: {error}") from error


def _read_batch(content: bytes, where: str) -> LabelledImages:
    import numpy as np

    from cnnbench.data.dataset import LabelledImages
    from cnnbench.data.unpickle import load_pickle

    # The batches were written by Python 2, whose strings are read as bytes.
    held: Any = load_pickle(content, where)
    try:
        pixels, labels = held[b"data"], [int(label) for label in held[b"labels"]]
    except (TypeError, KeyError, ValueError, IndexError, OverflowError) as error:
        raise UsageError(f"{where} is not a batch of CIFAR-10, because it lacks valid 'data' or 'labels'.") from error

    # An image is one row of bytes: 1,024 of red, then 1,024 of green, then 1,024 of blue.
    if not isinstance(pixels, np.ndarray) or pixels.dtype != np.uint8 or pixels.shape != (len(labels), 3 * 32 * 32):
        raise UsageError(f"{where} does not hold an array with 3,072 bytes for each of its {len(labels)} labels.")
    check_labels(labels, len(CLASS_NAMES), Path(where))
    return LabelledImages(images_NCHW=pixels.reshape(-1, *SHAPE), labels_N=np.array(labels, dtype=np.int64))


def _join_parts(parts: list[LabelledImages]) -> LabelledImages:
    import numpy as np

    from cnnbench.data.dataset import LabelledImages

    images = np.concatenate([part.images_NCHW for part in parts])
    return LabelledImages(images_NCHW=images, labels_N=np.concatenate([part.labels_N for part in parts]))


def _read_jpeg_part(file: File, on_progress: OnProgress, at: int) -> LabelledImages:
    """Return the images of one JPEG archive, which are decoded once and kept in the user's cache folder.

    In the archive, `jpeg` holds all streams one after the other; image k begins at offsets[k].
    """
    import numpy as np

    from cnnbench.data.cache import PIXELS, cache_folder, key_of, map_pixels
    from cnnbench.data.dataset import LabelledImages

    count = (COUNTS.train, COUNTS.test)[at]
    try:
        with np.load(file.path, allow_pickle=False) as held:
            stream, offsets, labels = (np.asarray(held[name]) for name in ("jpeg", "offsets", "labels"))
    except Exception as error:  # a damaged archive makes numpy raise nearly anything, also for lack of memory
        said = str(error) or type(error).__name__
        raise UsageError(f"{file.path} is damaged or is not an archive of JPEG images: {said}") from error

    _check_streams(file.path, stream, offsets, labels, count)
    check_labels(labels.tolist(), len(CLASS_NAMES), file.path)

    # The key holds the file's checksum, so another archive of the same name is decoded anew.
    folder = cache_folder() / key_of([b"cifar10", md5_of(file.path).encode(), str(count).encode()])
    if not (folder / PIXELS).is_file():
        # Each of the two archives is half of the progress.
        _decode(
            file.path,
            stream,
            offsets,
            folder,
            lambda share: on_progress(f"decoding {file.path.name}", (at + share) / 2),
        )
    return LabelledImages(images_NCHW=map_pixels(folder, count, SHAPE), labels_N=labels.astype(np.int64))


def _decode(path: Path, stream: Any, offsets: Any, folder: Path, on_progress: Callable[[float], None]) -> None:
    """Decode all images of an archive into a cache folder."""
    from cnnbench.data.cache import PIXELS, atomic_folder
    from cnnbench.data.decode import decode_all

    # Slices of a memoryview copy nothing.
    count, streams = len(offsets) - 1, memoryview(stream)
    contents = ((str(k), streams[offsets[k] : offsets[k + 1]]) for k in range(count))
    with atomic_folder(folder, count * math.prod(SHAPE)) as part, (part / PIXELS).open("wb") as out:
        wrong = decode_all(contents, count, SHAPE, lambda _, pixels: out.write(pixels.tobytes()), on_progress)
        # Labels belong to images by position, so an archive with a gap is refused.
        if wrong:
            raise UsageError(f"{path}: image {wrong[0].name} cannot be decoded: {wrong[0].reason}")


def _check_streams(path: Path, stream: Any, offsets: Any, labels: Any, count: int) -> None:  # any array
    fits = offsets.shape == (count + 1,) and labels.shape == (count,) and stream.ndim == 1
    if not fits or str(stream.dtype) != "uint8" or offsets.dtype.kind not in "iu" or labels.dtype.kind not in "iu":
        raise UsageError(f"{path} does not hold bytes, {count + 1} offsets and {count} labels, as whole numbers.")
    if offsets[0] != 0 or offsets[-1] != len(stream) or (offsets[1:] < offsets[:-1]).any():
        raise UsageError(f"{path}: the offsets do not match the {len(stream)} bytes of its images.")


# Tuned on the first five sixths of the training images, and scored on the last sixth (`bench/training.py fast
# --held-out`, three seeds): `lenet` reaches 53.5 to 55.8 %, and 56.8 to 58.2 % after three epochs.
FAST = Fast(optimizer="adam", learning_rate=0.004, batch_size=128, epochs=2, channels_last=True, amp=True)

SPEC = DatasetSpec(
    name="cifar10",
    classes=len(CLASS_NAMES),
    class_names=CLASS_NAMES,
    shape=SHAPE,
    counts=COUNTS,
    source="A. Krizhevsky, Learning multiple layers of features from tiny images (2009)",
    description="60,000 colour images of ten kinds of things, 32x32",
    look=look,
    read=read,
    fast=FAST,
    needs=f"{ARCHIVE}, the folder {_FOLDER}, or {' and '.join(_JPEG_FILES)}",
    downloads=(Download(name=ARCHIVE, urls=(f"https://www.cs.toronto.edu/~kriz/{ARCHIVE}",), md5=ARCHIVE_MD5),),
)
