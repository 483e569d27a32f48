"""How fast training is: an epoch of ours, the tutorial's own way, and what the arithmetic alone takes.

    python bench/training.py --data-dir DATA --output training.jsonl            # every recipe, three rounds
    python bench/training.py --data-dir DATA perceptron one_conv --rounds 1
    python bench/training.py summary training.jsonl

An epoch each, in turns, in one process: `ours` as `cnnbench train` makes it, as it is and with channels_last; `theirs`
as the pages do it (a data set of Pillow pictures with torchvision's transforms, a DataLoader in the main process,
`.item()` after every batch, torch's default optimiser); `floor`: as many of torch's default steps on one batch that is
already there. Each round is one line a recipe, written when it ends. Nothing else should run on the machine meanwhile.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from cnnbench import data, machine
from cnnbench.clock import wall_clock
from cnnbench.data.batches import Splits, adapted, batch_count, batches
from cnnbench.models import MODELS
from cnnbench.runners.datasets import augmentation_of, wanted
from cnnbench.runners.fit import fit
from cnnbench.runners.train import Trainer, optimizer_for
from cnnbench.spec import Recipe

RECIPES = ("perceptron", "one_conv", "multilayer_cnn", "digit_cnn", "simple_cnn", "lenet", "cifar_cnn")
WAYS = ("ours", "ours_channels_last", "theirs", "floor")


class Pictures(Dataset[Any]):
    """Pictures as torchvision's own data sets give them: a Pillow picture made anew each time, then the transforms."""

    def __init__(self, images: torch.Tensor, labels: torch.Tensor, transform: Callable[[Any], torch.Tensor]) -> None:
        self.arrays = images.squeeze(1).numpy() if images.shape[1] == 1 else images.permute(0, 2, 3, 1).numpy()
        self.labels, self.transform = labels.tolist(), transform

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self.labels)

    def __getitem__(self, at: int) -> tuple[torch.Tensor, int]:
        """Return one picture, transformed, and its label."""
        return self.transform(Image.fromarray(self.arrays[at])), self.labels[at]


def transform_of(recipe: Recipe) -> Callable[[Any], torch.Tensor]:
    steps: list[Any] = []
    if recipe.flip:
        steps.append(transforms.RandomHorizontalFlip())
    if recipe.crop_padding:
        steps.append(transforms.RandomCrop(32, padding=recipe.crop_padding))
    steps.append(transforms.ToTensor())
    if recipe.mean:
        steps.append(transforms.Normalize(recipe.mean, recipe.std))
    return transforms.Compose(steps)


def build(name: str) -> nn.Module:
    torch.manual_seed(0)
    return MODELS[name].build()


def criterion(recipe: Recipe) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
    return nn.NLLLoss() if recipe.loss == "nll" else nn.CrossEntropyLoss()


def theirs(name: str, recipe: Recipe, splits: Splits) -> float:
    pictures = Pictures(splits.train.images_NCHW, splits.train.labels_N, transform_of(recipe))
    loader = DataLoader(pictures, batch_size=recipe.batch_size, shuffle=recipe.shuffled)
    model, loss_of = build(name).train(), criterion(recipe)
    optimizer = optimizer_for(model, recipe)
    begin = time.perf_counter()
    total, right = 0.0, 0
    for images, labels in loader:
        optimizer.zero_grad()
        scores = model(images)
        loss = loss_of(scores, labels)
        loss.backward()
        optimizer.step()
        total += loss.item()
        right += (scores.argmax(1) == labels).sum().item()
    return time.perf_counter() - begin


def floor(name: str, recipe: Recipe, prepared: Splits) -> float:
    images, labels = next(batches(prepared.train, recipe.batch_size))
    steps = batch_count(len(prepared.train), recipe.batch_size)
    model, loss_of = build(name).train(), criterion(recipe)
    optimizer = optimizer_for(model, recipe)
    begin = time.perf_counter()
    for _ in range(steps):
        optimizer.zero_grad()
        loss_of(model(images), labels).backward()
        optimizer.step()
    return time.perf_counter() - begin


def ours(name: str, recipe: Recipe, prepared: Splits, *, channels_last: bool) -> float:
    model = build(name)
    if channels_last:
        model = model.to(memory_format=torch.channels_last)
    # validation is not timed: one batch of it is enough here
    small = Splits(train=prepared.train, val=prepared.val.part(slice(100)), test=prepared.test)
    return fit(model, small, recipe, epochs=1, seed=0, clock=wall_clock()).by_epoch("epoch_s")[0]


def measure(options: argparse.Namespace) -> None:
    torch.set_num_threads(machine.default_threads())
    for at in range(options.rounds):
        for name in options.names or RECIPES:
            spec = MODELS[name]
            recipe = spec.recipe
            assert recipe is not None
            dataset = data.find(recipe.dataset)
            shown = wanted(spec, dataset, data_dir=options.data_dir)
            splits = shown.splits
            prepared = adapted(splits, shown.view, "cpu", augmentation_of(recipe, dataset))
            warm_up(name, recipe, prepared)
            ways: list[tuple[str, Callable[[], float]]] = [
                ("ours", lambda: ours(name, recipe, prepared, channels_last=False)),  # noqa: B023  # called in this turn
                ("ours_channels_last", lambda: ours(name, recipe, prepared, channels_last=True)),  # noqa: B023
                ("theirs", lambda: theirs(name, recipe, splits)),  # noqa: B023
                ("floor", lambda: floor(name, recipe, prepared)),  # noqa: B023
            ]
            if at % 2:
                ways.reverse()
            found = {"model": name, **{way: round(take(), 3) for way, take in ways}}
            print(f"{at + 1}/{options.rounds}: {found}", flush=True)
            with options.output.open("a", encoding="utf-8") as out:
                out.write(json.dumps(found) + "\n")


def warm_up(name: str, recipe: Recipe, prepared: Splits) -> None:
    images, labels = next(batches(prepared.train, recipe.batch_size))
    trainer = Trainer(build(name).train(), recipe)
    for _ in range(50):
        trainer.step(images, labels)


def summary(file: Path) -> None:
    rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    print("| recipe | ours | ours, channels_last | theirs | floor | theirs / ours | ours / floor |")
    print("|---|---:|---:|---:|---:|---:|---:|")
    for name in dict.fromkeys(row["model"] for row in rows):
        own = [row for row in rows if row["model"] == name]
        middle = {way: statistics.median(row[way] for row in own) for way in WAYS}
        gain = statistics.median(row["theirs"] / row["ours"] for row in own)
        over = statistics.median(row["ours"] / row["floor"] for row in own)
        cells = " | ".join(f"{middle[way]:.1f} s" for way in WAYS)
        print(f"| {name} | {cells} | {gain:.2f} | {over:.2f} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="MODEL", help="recipes, all by default; or: summary FILE")
    parser.add_argument("--data-dir", help="where MNIST and CIFAR-10 lie")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--output", type=Path, default=Path("training.jsonl"))
    options = parser.parse_args()
    if options.names[:1] == ["summary"]:
        summary(Path(options.names[1]))
    else:
        measure(options)


if __name__ == "__main__":
    main()
