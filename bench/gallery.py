"""Make docs/gallery.md: one real image of each kind that cnnbench draws, from trainings and a comparison made now.

    python bench/gallery.py                    # with MNIST, CIFAR-10 and photographs where CNNBENCH_DATA has them
    python bench/gallery.py --output elsewhere

Without MNIST the digits that come with scikit-learn stand in for it; images of datasets that are not there are left
out. It takes some five minutes on two cores.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from cnnbench import data
from cnnbench.data.locations import ENVIRONMENT

ROOT = Path(__file__).parent.parent
COMPARED = ("perceptron", "mlp", "lenet", "multilayer_cnn", "simple_cnn")
"""Models of the comparison: of few and of many parameters, and all of them trained on digits within their share."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Shot:
    """An image of the gallery: its title, what it shows, the words after `cnnbench show`, and its file's name."""

    title: str
    says: str
    words: tuple[str, ...]
    file: str


def cnnbench(*words: str) -> None:
    print("cnnbench", *words, flush=True)
    done = subprocess.run([sys.executable, "-m", "cnnbench", *words], check=False)
    if done.returncode:
        sys.exit(done.returncode)


def has_dataset(name: str) -> bool:
    return data.find(name).look(data.places(None)) is not None


def shots(dataset: str, digits: Path, colours: Path | None) -> list[Shot]:
    """Return the images to make; `digits` and `colours` are run folders of trainings."""
    weights = str(next(digits.glob("*-seed0.safetensors")))
    found = [
        Shot(
            title="Samples",
            says="Images of a dataset with their classes.",
            words=("samples", dataset),
            file="samples",
        ),
        Shot(title="Edges", says="Digits after two fixed 3x3 edge filters.", words=("edges", dataset), file="edges"),
        Shot(
            title="Curves",
            says="Loss and accuracy by epoch. The band goes from the lowest to the highest of three seeds.",
            words=("curves", str(digits)),
            file="curves",
        ),
        Shot(
            title="Error rate by step",
            says="The error rate within epochs, as `cnnbench train --log-every` records it.",
            words=("steps", str(digits)),
            file="steps",
        ),
        Shot(
            title="Kernels of the first layer",
            says="The kernels of a convolution, here of a model for handwritten digits.",
            words=("kernels", weights),
            file="kernels",
        ),
        Shot(
            title="Kernels of the second layer",
            says="One tile for each pair of input and output.",
            words=("kernels", weights, "--layer", "2"),
            file="kernels-second",
        ),
        Shot(
            title="How kernels form",
            says="The first layer's kernels at several steps of a training.",
            words=("kernels", str(digits)),
            file="forming",
        ),
        Shot(
            title="Features",
            says="The outputs of two layers for a digit, and for the same digit moved to the right.",
            words=("features", weights, "--move", "5,0"),
            file="features",
        ),
        Shot(
            title="Predictions",
            says="Wrong predictions, each with the true class of the image.",
            words=("predictions", weights, "--wrong", "--count", "16"),
            file="predictions",
        ),
        Shot(
            title="Confusion",
            says="How often the model takes one class for another.",
            words=("confusion", weights),
            file="confusion",
        ),
        Shot(
            title="Robustness to shifts",
            says="The accuracy when all test images are moved.",
            words=("shift", weights),
            file="shift",
        ),
    ]
    if colours is not None:
        trained = str(next(colours.glob("*.safetensors")))
        found += [
            Shot(
                title="Kernels for colours",
                says="Kernels of a model for CIFAR-10. Grey is 0.",
                words=("kernels", trained),
                file="kernels-colours",
            ),
            Shot(
                title="Predictions of photographs",
                says="Predictions of the same model.",
                words=("predictions", trained, "--count", "16"),
                file="predictions-colours",
            ),
        ]
    if has_dataset("cats_dogs"):
        words = ("samples", "cats_dogs", "--count", "16")
        found.append(
            Shot(
                title="Photographs",
                says="Photographs, resized and cut to a model's input.",
                words=words,
                file="photographs",
            )
        )
    photograph = ("features", "vgg16", "--layer", "1,3")
    says = (
        "The outputs of two layers of VGG-16 for a photograph, before any training. `--weights default` fetches "
        "torchvision's weights."
    )
    return [*found, Shot(title="Features of VGG-16", says=says, words=photograph, file="features-vgg16")]


def charts(folder: Path, into: Path) -> list[tuple[str, str]]:
    """Compare some models and return title and file of each chart of the report, copied to `into`."""
    cnnbench("compare", *COMPARED, "--accuracy", "digits", "--budget", "120s", "--output", str(folder))
    lines = (folder / "report.md").read_text(encoding="utf-8").splitlines()
    found = [line.removeprefix("![").removesuffix(")").split("](") for line in lines if line.startswith("![")]
    for _, file in found:
        shutil.copy(folder / file, into / file)
    return [(title, file) for title, file in found]


def page(made: list[Shot], compared: list[tuple[str, str]], runs: Path) -> str:
    """Return the gallery; commands name a run's files as a reader would."""

    def command(shot: Shot) -> str:
        words = [word.replace(f"{runs}/", "results/") for word in shot.words]
        return f"cnnbench show {' '.join(words)}"

    parts = [
        "# Gallery",
        "One image of each kind that cnnbench draws. All are from real trainings and a real comparison. `make gallery` "
        "makes them again.",
        "## Images of datasets, models and trainings",
    ]
    for shot in made:
        parts += [
            f"### {shot.title}",
            f"{shot.says}\n\n```\n{command(shot)}\n```",
            f"![{shot.title}](gallery/{shot.file}.png)",
        ]
    parts += [
        "## Charts of a report",
        f"From `cnnbench compare {' '.join(COMPARED)} --accuracy digits --budget 120s`. `report.md` in the run folder "
        "has them as images, and `report.html` as interactive charts.",
    ]
    parts += [f"### {title}\n\n![{title}](gallery/{file})" for title, file in compared]
    return "\n\n".join(parts) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=ROOT / "docs")
    folder = parser.parse_args().output
    into = folder / "gallery"
    into.mkdir(parents=True, exist_ok=True)
    dataset = "mnist" if has_dataset("mnist") else "digits"
    if dataset != "mnist":
        print(f"MNIST is not where {ENVIRONMENT} says: digits stand in for it.")
    with tempfile.TemporaryDirectory() as scratch:
        runs = Path(scratch)
        digits = runs / "digits"
        cnnbench(
            *("train", "digit_cnn", "--dataset", dataset, "--recipe", "fast", "--epochs", "4", "--seeds", "3"),
            *("--log-every", "100" if dataset == "mnist" else "20", "--output", str(digits)),
        )
        colours = None
        if has_dataset("cifar10"):
            colours = runs / "colours"
            cnnbench("train", "cifar_cnn", "--dataset", "cifar10", "--recipe", "fast", "--output", str(colours))
        made = shots(dataset, digits, colours)
        for shot in made:
            cnnbench("show", *shot.words, "--output", str(into / f"{shot.file}.png"))
        compared = charts(runs / "compared", into)
        (folder / "gallery.md").write_text(page(made, compared, runs), encoding="utf-8")


if __name__ == "__main__":
    main()
