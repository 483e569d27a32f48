"""`cnnbench reproduce`: which models are done, what is trained, what is gone on with, and how it is shown."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from cnnbench.cli.commands import reproduce as module
from cnnbench.cli.main import exit_code
from cnnbench.models import MODELS
from cnnbench.record import Measurement, Record
from cnnbench.spec import MissingError, Request, UsageError
from cnnbench.store import Store
from tests.factories import case, counted, once, record


def test_names_are_tutorials_or_models() -> None:
    assert [spec.name for spec in module.select_models(["runoob"])] == ["simple_cnn"]
    assert [spec.name for spec in module.select_models(["lenet", "runoob", "lenet"])] == ["lenet", "simple_cnn"]
    everything = module.select_models([])
    assert {spec.name for spec in everything} == {name for name, spec in MODELS.items() if spec.printed}
    with pytest.raises(UsageError, match=r"^Unknown tutorial or model 'mslern'\. Did you mean mslearn"):
        module.select_models(["mslern"])
    with pytest.raises(
        UsageError, match=r"^The tutorials print no figures for cifar-cnn, tudui, so nothing can be reproduced\.$"
    ):
        module.select_models(["cifar-cnn", "tudui"])


@pytest.mark.parametrize(
    ("seeds", "expected"),
    [([], []), ([0, 1, 2], [(0, 3)]), ([1, 2], [(1, 2)]), ([0, 2, 3, 5], [(0, 1), (2, 2), (5, 1)])],
)
def test_seeds_that_follow_one_another_are_trained_together(seeds: list[int], expected: list[tuple[int, int]]) -> None:
    assert module.stretches(seeds) == expected


Size = tuple[int, int] | None


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, list[object]]:
    """Pretend to count and to train; return what was asked."""
    asked: dict[str, list[object]] = {"counted": [], "trained": []}

    def count_models(models: Sequence[tuple[str, Size]]) -> list[Record]:
        asked["counted"] += models
        return [
            counted(name, params=MODELS[name].params or 0, macs=1, shape=MODELS[name].input_shape)
            if size is None
            else counted(name, params=1, macs=1, shape=(3, *size))
            for name, size in models
        ]

    def train_seeds(request: Request, *, seeds: int, **_: object) -> Iterator[Record]:
        (model,) = request.sections[0].models
        for seed in range(request.seed, request.seed + seeds):
            asked["trained"].append((model, seed, request.data_dir))
            losses = Measurement(quantity="train_loss", samples=(0.2325, 0.0526, 0.0366, 0.0273, 0.0221))
            made = case(model, task="accuracy", dataset=request.accuracy, seed=seed)
            yield record(
                made, losses, once("trained", 60_000), once("top1", 0.9896 + seed / 1000), notes=("Trained.", "Test.")
            )

    def locate(spec: object, _: object) -> None:
        if getattr(spec, "name", "") != "mnist":
            raise MissingError("it is not there")

    monkeypatch.setattr(module, "count_models", count_models)
    monkeypatch.setattr(module, "train_seeds", train_seeds)
    monkeypatch.setattr("cnnbench.data.locate", locate)
    monkeypatch.chdir(tmp_path)
    return asked


def rows_of(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_a_network_is_counted_and_trained_with_every_seed(
    world: dict[str, list[object]], capsys: pytest.CaptureFixture[str]
) -> None:
    assert exit_code(["reproduce", "simple_cnn", "--data-dir", ".", "--format", "csv", "-o", "out"]) == 0
    out, errors = capsys.readouterr()
    assert world == {"counted": [("simple_cnn", None)], "trained": [("simple_cnn", seed, ".") for seed in range(3)]}
    rows = rows_of(out)
    assert list(rows[0]) == ["model", "quantity", "printed", "measured", "low", "high", "verdict", "note"]
    assert [row["quantity"] for row in rows] == [*(f"train_loss epoch {k}" for k in range(1, 6)), "test_top1"]
    assert {row["verdict"] for row in rows} == {"reproduced"}
    assert errors.endswith("6 reproduced, 0 differs, 0 not run. Records: out\n")
    assert Path("out/reproduction.csv").read_text() == out
    assert Path("out/reproduction.md").read_text().startswith("| model ")


def test_what_is_done_is_not_done_again(world: dict[str, list[object]], capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code(["reproduce", "simple_cnn", "--data-dir", ".", "--seeds", "2", "-o", "out"]) == 0
    world["counted"].clear()
    world["trained"].clear()
    assert exit_code(["reproduce", "simple_cnn", "--data-dir", ".", "--seeds", "3", "-o", "out"]) == 0
    assert world == {"counted": [], "trained": [("simple_cnn", 2, ".")]}
    assert [r.case.seed for r in Store(Path("out")).load().records if r.case.task == "accuracy"] == [0, 1, 2]
    capsys.readouterr()


@pytest.mark.parametrize("other", ["fast", "short"])
def test_fast_or_short_training_does_not_count_as_done(
    world: dict[str, list[object]], capsys: pytest.CaptureFixture[str], other: str
) -> None:
    made = replace(
        case("simple_cnn", task="accuracy", dataset="mnist"), recipe="fast" if other == "fast" else "tutorial"
    )
    losses = Measurement(quantity="train_loss", samples=(0.1,) * (5 if other == "fast" else 2))
    Store(Path("out")).append(record(made, losses, once("top1", 0.99)))
    assert exit_code(["reproduce", "simple_cnn", "--data-dir", ".", "--seeds", "1", "-o", "out"]) == 0
    assert world["trained"] == [("simple_cnn", 0, ".")]
    capsys.readouterr()


def test_without_data_it_says_what_is_missing(
    world: dict[str, list[object]], capsys: pytest.CaptureFixture[str]
) -> None:
    assert exit_code(["reproduce", "lenet", "vgg16_transfer", "vgg16_linear", "--format", "csv", "-o", "out"]) == 0
    rows = rows_of(capsys.readouterr().out)
    assert world["trained"] == []
    assert world["counted"] == [
        ("lenet", None),
        ("vgg16_transfer", None),
        ("vgg16_transfer", (244, 244)),
        ("vgg16_linear", None),
    ]
    notes = {(row["model"], row["quantity"]): row["note"] for row in rows if row["verdict"] == "not run"}
    assert notes["lenet", "val_top1 epoch 3"] == "it is not there"
    assert notes["vgg16_transfer", "val_top1"] == "needs published weights: --weights vgg16=FILE"
    assert notes["vgg16_linear", "train_top1 epoch 1"] == "needs published weights: --weights vgg16=FILE"


@pytest.mark.parametrize("given", ["w.pth", "mobilenet_v2=gone.pth"])
def test_weights_are_named_with_their_network(given: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        module.published_weights([given])
    assert str(caught.value) == (
        f"--weights '{given}': write MODEL=FILE with an existing file, like mobilenet_v2=w.pth."
    )


def test_weights_of_an_unknown_model_name_close_ones(tmp_path: Path) -> None:
    file = tmp_path / "w.pth"
    file.touch()
    assert module.published_weights([f"mobilenet_v2={file}"]) == {"mobilenet_v2": str(file)}
    with pytest.raises(UsageError) as caught:
        module.published_weights([f"mobilenet={file}"])
    assert str(caught.value) == "Unknown published model 'mobilenet'. Did you mean mobilenet_v2?"


def test_transfer_network_trains_with_given_weights(
    world: dict[str, list[object]], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("w.pth").write_text("x")
    weights: list[str] = []

    def train_seeds(request: Request, **_: object) -> Iterator[Record]:
        weights.append(request.weights)
        return iter(())

    monkeypatch.setattr(module, "train_seeds", train_seeds)
    monkeypatch.setattr("cnnbench.data.locate", lambda *_: None)
    line = ["reproduce", "mobilenet_v2_transfer", "lenet", "--weights", "mobilenet_v2=w.pth", "-o", "out"]
    assert exit_code(line) == 0
    assert weights == ["w.pth", "none"]
    capsys.readouterr()


def test_the_architecture_alone_trains_nothing(
    world: dict[str, list[object]], capsys: pytest.CaptureFixture[str]
) -> None:
    assert exit_code(["reproduce", "perceptron", "--architecture-only", "-o", "out"]) == 0
    assert world["trained"] == []
    assert "left out by --architecture-only" in " ".join(capsys.readouterr().out.split())


def test_an_interruption_shows_what_there_is_and_how_to_go_on(
    world: dict[str, list[object]], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    real = vars(module)["train_seeds"]

    def ended(request: Request, **more: object) -> Iterator[Record]:
        yield next(real(request, **more))
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "train_seeds", ended)
    monkeypatch.setattr("sys.argv", ["cnnbench", "reproduce", "simple_cnn", "--data-dir", "."])
    assert exit_code(["reproduce", "simple_cnn", "--data-dir", ".", "--format", "csv", "-o", "out"]) == 130
    out, errors = capsys.readouterr()
    assert {row["note"] for row in rows_of(out)} == {"one seed gives no interval: use --seeds 3"}
    assert errors.endswith("Interrupted. Continue with:\n  cnnbench reproduce simple_cnn --data-dir .\n")


def test_failed_training_gives_reason_and_exit_code_one(
    world: dict[str, list[object]], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def failing(request: Request, **_: object) -> Iterator[Record]:
        made = case("simple_cnn", task="accuracy", dataset="mnist", seed=request.seed)
        yield record(made, status="oom", error="no memory left")

    monkeypatch.setattr(module, "train_seeds", failing)
    assert exit_code(["reproduce", "simple_cnn", "--data-dir", ".", "--format", "csv", "-o", "out"]) == 1
    rows = rows_of(capsys.readouterr().out)
    assert {(row["verdict"], row["note"]) for row in rows} == {("not run", "no memory left")}
