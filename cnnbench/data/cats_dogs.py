"""Cats and dogs: photographs of Microsoft's Asirra, as the folder `PetImages` or the zip that holds it."""

from __future__ import annotations

from cnnbench.data.dataset import DatasetSpec, Download, Fast, File, OnProgress, Places, Read, Source
from cnnbench.spec import Shape

CLASS_NAMES = ("Cat", "Dog")
_TOP = "PetImages"
_ZIP = "kagglecatsanddogs_5340.zip"
_ABOVE = ("", "cats_dogs", "cats-dogs")


def look(where: Places) -> Source | None:
    """Return the folder that holds `Cat` and `Dog`, or else the zip, from the first place that has one of them."""
    for folder in (place / above for place in where for above in _ABOVE):
        # `Cat` and `Dog` may also lie there without the folder that the zip has around them.
        for path in (folder / _TOP, folder):
            if all((path / name).is_dir() for name in CLASS_NAMES):
                return Source(form=f"the folder {_TOP}", files=(File(path=path),), home=_TOP)
        if zips := sorted(folder.glob("kagglecatsanddogs*.zip")):
            return Source(form="the zip", files=(File(path=zips[0]),))
    return None


def read(source: Source, wanted: Shape, on_progress: OnProgress) -> Read:
    """Return the photographs (N, 3, height, width; uint8), class 0 for cats."""
    from cnnbench.data.image_folder import read_images

    return read_images("cats_dogs", source, CLASS_NAMES, (3, *wanted[1:]), on_progress, top=_TOP)


# The recipe of mobilenet_v2_transfer with more epochs, which cost almost nothing on features. Chosen without a search.
FAST = Fast(optimizer="adam", learning_rate=0.01, batch_size=32, epochs=10, cache_features=True)


SPEC = DatasetSpec(
    name="cats_dogs",
    classes=len(CLASS_NAMES),
    class_names=CLASS_NAMES,
    shape=(3, 224, 224),
    counts=None,
    source="J. Elson, J. Douceur, J. Howell and J. Saul, Asirra (2007), the part published as Kaggle's cats and dogs",
    description="photographs of cats and dogs, resized and cut to each model's input; a fifth held out",
    look=look,
    read=read,
    fast=FAST,
    needs=f"the folder {_TOP} with {' and '.join(CLASS_NAMES)}, or {_ZIP}",
    downloads=(
        Download(
            name=_ZIP,
            urls=(f"https://download.microsoft.com/download/3/E/1/3E1C3F21-ECDB-4869-8368-6DEBA77B919F/{_ZIP}",),
        ),
    ),
)
