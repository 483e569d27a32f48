"""How fast training is: an epoch of ours, the tutorial's own way, what the arithmetic alone takes; and to an accuracy.

    python bench/training.py epochs --data-dir DATA --output training.jsonl       # every recipe, three rounds
    python bench/training.py epochs --data-dir DATA perceptron one_conv --rounds 1
    python bench/training.py fast --data-dir DATA --output fast.jsonl             # to the accuracy that pages print
    python bench/training.py fast --data-dir DATA --held-out lenet --set learning_rate=0.003 --set epochs=5
    python bench/training.py summary training.jsonl fast.jsonl

`epochs`: an epoch each, in turns, in one process: `ours` as `cnnbench train` makes it, as it is and with channels_last;
`theirs` as the pages do it (a data set of Pillow images with torchvision's transforms, a DataLoader in the main
process, `.item()` after every batch, torch's default optimiser); `floor`: as many of torch's default steps on one batch
that is already there. Each round is one line a recipe, written when it ends.

`fast`: for each seed a training by the dataset's fast recipe, from the model built to the test scored, and before
them the page's whole schedule its own way. With `--held-out` it is trained on the first five sixths of the training
images and scored on the last sixth, which is how a fast recipe is looked for: the test images are not touched.

Nothing else should run on the machine meanwhile.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from cnnbench import data, machine
from cnnbench.clock import wall_clock
from cnnbench.data.batches import Splits, adapt, adapt_splits, batch_count, batches, view_for
from cnnbench.inspection.environment import probe
from cnnbench.models import MODELS
from cnnbench.spec import Recipe
from cnnbench.training.loop import fit
from cnnbench.training.pool_before_relu import pool_first
from cnnbench.training.preprocessing import augmentation_of, load_dataset
from cnnbench.training.recipe_choice import recipe_for
from cnnbench.training.scoring import score
from cnnbench.training.step import Trainer, optimizer_for
from cnnbench.variants import extend_variant, parse_variant, prepare

RECIPES = ("perceptron", "one_conv", "multilayer_cnn", "digit_cnn", "simple_cnn", "lenet", "cifar_cnn")
WAYS = ("ours", "ours_channels_last", "theirs", "floor")


class LabelledImages(Dataset[Any]):
    """Images as torchvision's own data sets give them: a Pillow image made anew each time, then the transforms."""

    def __init__(self, images: torch.Tensor, labels: torch.Tensor, transform: Callable[[Any], torch.Tensor]) -> None:
        self.arrays = images.squeeze(1).numpy() if images.shape[1] == 1 else images.permute(0, 2, 3, 1).numpy()
        self.labels, self.transform = labels.tolist(), transform

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self.labels)

    def __getitem__(self, at: int) -> tuple[torch.Tensor, int]:
        """Return one image, transformed, and its label."""
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


def theirs(name: str, recipe: Recipe, splits: Splits, *, epochs: int = 1, scores: bool = False) -> tuple[float, float]:
    """Return the seconds of so many epochs the page's way, and the share of test images that are right then."""
    dataset = LabelledImages(splits.train.images_NCHW, splits.train.labels_N, transform_of(recipe))
    loader = DataLoader(dataset, batch_size=recipe.batch_size, shuffle=recipe.shuffled)
    model, loss_of = build(name).train(), criterion(recipe)
    optimizer = optimizer_for(model, recipe)
    begin = time.perf_counter()
    for _ in range(epochs):
        total, right = 0.0, 0
        for images, labels in loader:
            optimizer.zero_grad()
            found = model(images)
            loss = loss_of(found, labels)
            loss.backward()
            optimizer.step()
            total += loss.item()
            right += (found.argmax(1) == labels).sum().item()
    spent_s = time.perf_counter() - begin
    if not scores:
        return spent_s, 0.0
    view = view_for(MODELS[name].input_shape, tuple(splits.test.images_NCHW.shape[1:]), recipe.mean, recipe.std)
    return spent_s, score(model, adapt(splits.test, view, "cpu")).top1


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
    pool_first(model, next(batches(prepared.train, 1))[0])
    prepared_model = None
    if channels_last:
        variant = parse_variant("channels_last", device="cpu", threads=torch.get_num_threads())
        prepared_model = prepare(model, variant, "cpu")
    # validation is not timed: one batch of it is enough here
    small = Splits(train=prepared.train, val=prepared.val.part(slice(100)), test=prepared.test)
    fitted = fit(model, small, recipe, epochs=1, seed=0, clock=wall_clock(), prepared=prepared_model)
    return fitted.values_by_epoch("epoch_s")[0]


def measure(options: argparse.Namespace) -> None:
    torch.set_num_threads(machine.default_threads())
    for at in range(options.rounds):
        for name in options.names or RECIPES:
            spec = MODELS[name]
            recipe = spec.recipe
            assert recipe is not None
            dataset = data.find(recipe.dataset)
            shown = load_dataset(spec, dataset, data_dir=options.data_dir)
            splits = shown.splits
            prepared = adapt_splits(splits, shown.view, "cpu", augmentation_of(recipe, dataset))
            warm_up(name, recipe, prepared)
            ways: list[tuple[str, Callable[[], float]]] = [
                ("ours", lambda: ours(name, recipe, prepared, channels_last=False)),  # noqa: B023  # called in this turn
                ("ours_channels_last", lambda: ours(name, recipe, prepared, channels_last=True)),  # noqa: B023
                ("theirs", lambda: theirs(name, recipe, splits)[0]),  # noqa: B023
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


FAST = ("simple_cnn", "one_conv", "lenet")
AIMS = {"simple_cnn": 0.9896, "one_conv": 0.973, "lenet": 0.522}
"""The final accuracies that the pages print."""


def measure_fast(options: argparse.Namespace) -> None:
    torch.set_num_threads(machine.default_threads())
    changes = dict(pair.split("=", 1) for pair in options.set)
    for name in options.names or FAST:
        spec = MODELS[name]
        assert spec.recipe is not None
        dataset = data.find(spec.recipe.dataset)
        shown = load_dataset(spec, dataset, data_dir=options.data_dir)
        recipe = replace(recipe_for(spec, dataset, "fast"), **{key: json.loads(text) for key, text in changes.items()})
        splits = held_out(shown.splits) if options.held_out else shown.splits
        found: dict[str, object] = {"model": name, "held_out": options.held_out, "recipe": asdict(recipe)}
        if not options.held_out:
            spent_s, top1 = theirs(name, spec.recipe, splits, epochs=spec.recipe.epochs, scores=True)
            found |= {"theirs_s": round(spent_s, 2), "theirs_top1": top1}
        prepared = adapt_splits(splits, shown.view, "cpu", augmentation_of(recipe, dataset))
        runs = [train_to_end(name, recipe, prepared, seed) for seed in range(options.seeds)]
        found |= {"ours_s": [round(spent_s, 2) for spent_s, _ in runs], "ours_top1": [top1 for _, top1 in runs]}
        print(found, flush=True)
        with options.output.open("a", encoding="utf-8") as out:
            out.write(json.dumps(found) + "\n")


def held_out(splits: Splits) -> Splits:
    count = len(splits.train) * 5 // 6
    rest = splits.train.part(slice(count, None))
    return Splits(train=splits.train.part(slice(count)), val=rest, test=rest)


def train_to_end(name: str, recipe: Recipe, splits: Splits, seed: int) -> tuple[float, float]:
    """Return the seconds of a fast training and the test after it, and the share that is right."""
    # validation after every epoch is for people to look at: one batch of it is enough here
    small = Splits(train=splits.train, val=splits.val.part(slice(100)), test=splits.test)
    begin = time.perf_counter()
    torch.manual_seed(seed)
    model = MODELS[name].build()
    pool_first(model, next(batches(splits.train, 1))[0])
    eager = parse_variant("eager", device="cpu", threads=torch.get_num_threads())
    more = {"channels_last": recipe.channels_last, "amp": recipe.amp}
    variant = extend_variant(eager, **more, device="cpu", environment=probe())
    prepared = prepare(model, variant, "cpu")
    fit(model, small, recipe, epochs=recipe.epochs, seed=seed, clock=wall_clock(), prepared=prepared)
    top1 = score(model, splits.test).top1
    return time.perf_counter() - begin, top1


def summary(files: list[Path]) -> None:
    for file in files:
        rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
        (summary_of_fast if "ours_top1" in rows[0] else summary_of_epochs)(rows)


def summary_of_fast(rows: list[dict[str, Any]]) -> None:
    print("| model | page prints | its way | accuracy then | fast, median | accuracy, median and range | times less |")
    print("|---|---:|---:|---:|---:|---:|---:|")
    for row in rows:
        tops, ours = row["ours_top1"], statistics.median(row["ours_s"])
        middle = f"{100 * statistics.median(tops):.2f} % ({100 * min(tops):.2f}-{100 * max(tops):.2f})"
        whole = f"{row['theirs_s']:.0f} s | {100 * row['theirs_top1']:.2f} %" if "theirs_s" in row else "- | -"
        less = f"{row['theirs_s'] / ours:.1f}" if "theirs_s" in row else "-"
        print(f"| {row['model']} | {100 * AIMS[row['model']]:.2f} % | {whole} | {ours:.1f} s | {middle} | {less} |")


def summary_of_epochs(rows: list[dict[str, Any]]) -> None:
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
    parser.add_argument("what", choices=["epochs", "fast", "summary"])
    parser.add_argument("names", nargs="*", metavar="MODEL", help="models, all by default; for summary: files")
    parser.add_argument("--data-dir", help="where MNIST and CIFAR-10 lie")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--held-out", action="store_true", help="score on a sixth of the training images")
    parser.add_argument("--set", action="append", default=[], metavar="FIELD=VALUE", help="change the fast recipe")
    parser.add_argument("--output", type=Path, default=Path("training.jsonl"))
    options = parser.parse_intermixed_args()
    if options.what == "summary":
        summary([Path(name) for name in options.names])
    else:
        (measure if options.what == "epochs" else measure_fast)(options)


if __name__ == "__main__":
    main()
