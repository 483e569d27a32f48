"""`show`: what is asked of a look, files that are written, and what is wrong said before anything is measured."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from torch import nn

from cnnbench import checkpoint as checkpoints
from cnnbench.checkpoint import CheckpointInfo
from cnnbench.cli.main import exit_code
from cnnbench.cli.show import models as looked
from cnnbench.cli.show.datasets import forming_sheet
from cnnbench.image_types import ImageGrid, VisualRequest
from cnnbench.record import Measurement, Record
from cnnbench.spec import Request, UsageError
from cnnbench.store import Store
from tests.analysis.test_training_curves import training
from tests.factories import case, record, run

SHEET = ImageGrid(title="s", images=np.zeros((2, 3, 3), dtype=np.float32))
Asked = list[tuple[Request, VisualRequest]]


@pytest.fixture(autouse=True)
def at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Asked:
    """Have a worker that gives one sheet, and return what is asked of it."""
    found: Asked = []

    def look_into(request: Request, look: VisualRequest, on_message: object) -> tuple[ImageGrid, ...]:
        found.append((request, look))
        return (SHEET,)

    monkeypatch.setattr(looked, "look_into", look_into)
    return found


@pytest.fixture
def trained() -> Path:
    path = Path("one_conv-seed0.safetensors")
    info = CheckpointInfo(
        model="one_conv",
        input_shape=(1, 28, 28),
        classes=10,
        dataset="digits",
        class_names=tuple("0123456789"),
        top1=0.95,
        cnnbench="1",
        torch="2",
    )
    checkpoints.save(path, nn.Linear(2, 2), info)
    return path


def size(path: str) -> tuple[int, int]:
    with Image.open(path) as opened:
        return opened.size


def test_samples_and_edges_need_no_network(asked: Asked, capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code(["show", "samples"]) == 0
    assert exit_code(["show", "edges", "digits", "--count", "3", "-o", "deep/edges.svg"]) == 0
    assert capsys.readouterr().out == "samples-digits.png\ndeep/edges.svg\n"
    assert size("samples-digits.png")[0] == 935
    assert Path("deep/edges.svg").read_text(encoding="utf-8").startswith("<?xml")
    assert asked == []


def test_a_model_is_looked_into_with_its_first_weights(asked: Asked) -> None:
    assert exit_code(["show", "kernels", "lenet", "--layer", "1,2"]) == 0
    ((request, look),) = asked
    assert (request.sections[0].models, request.weights, request.accuracy) == (("lenet",), "none", None)
    assert look == VisualRequest(kind="kernels", layers=("1", "2"))
    assert Path("kernels-lenet.png").is_file()


def test_a_checkpoint_says_which_network_and_dataset(asked: Asked, trained: Path) -> None:
    assert exit_code(["show", "features", str(trained), "--index", "7", "--move", "-2,3"]) == 0
    assert exit_code(["show", "predictions", "one_conv", "--checkpoint", str(trained), "--wrong", "--count", "5"]) == 0
    (one, features), (other, predictions) = asked
    assert (one.sections[0].models, one.weights, one.accuracy) == (("one_conv",), str(trained), "digits")
    assert one == other
    assert features == VisualRequest(kind="features", index=7, moves=((0, 0), (-2, 3)))
    assert predictions == VisualRequest(kind="predictions", count=5, wrong=True)
    assert Path("features-one_conv-seed0.png").is_file()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["kernels"], "Name a model or a checkpoint: cnnbench show kernels lenet-seed0.safetensors."),
        (["kernels", "lenett"], "Unknown model 'lenett'. Did you mean lenet?"),
        (["kernels", "lenet", "-o", "a.gif"], "'a.gif' is not an image file. Use a name that ends in .png or .svg."),
        (["features", "lenet", "--image", "no.jpg"], "There is no image file no.jpg."),
        (["features", "lenet", "--move", "a"], "--move 'a' is not RIGHT,DOWN in pixels. Write it like 4,0 or -2,3."),
        (["features", "lenet", "--weights", "w"], "There is no weight file 'w'. Give 'default' or the path of a file."),
        (["predictions", "lenet"], "Predictions need a checkpoint of 'cnnbench train', or --weights and --dataset."),
        (["confusion", "lenet"], "This needs a checkpoint of 'cnnbench train'"),
        (
            ["shift", "lenet", "--checkpoint", "one_conv-seed0.safetensors"],
            "holds weights of one_conv, not of lenet",
        ),
        (
            ["kernels", "one_conv-seed0.safetensors", "--weights", "default"],
            "'one_conv-seed0.safetensors' is a checkpoint, which holds its weights. Leave out --weights.",
        ),
        (
            ["kernels", "one_conv-seed0.safetensors", "--checkpoint", "b.safetensors"],
            "'one_conv-seed0.safetensors' and --checkpoint b.safetensors are two checkpoints. Give only one of them.",
        ),
        (["curves", "nowhere"], "There is no run 'nowhere'. Give the folder of a 'cnnbench train' run, or its records"),
        (["samples", "mnits"], "Unknown dataset 'mnits'. Did you mean mnist?"),
    ],
)
def test_wrong_words_are_told(
    words: list[str], said: str, asked: Asked, trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert exit_code(["show", *words]) == 2
    assert said in capsys.readouterr().err
    assert asked == []
    assert list(Path().glob("*.png")) == []


def test_what_a_worker_says_ends_the_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def look_into(*_: object) -> tuple[ImageGrid, ...]:
        raise UsageError("There is no convolution 9.")

    monkeypatch.setattr(looked, "look_into", look_into)
    assert exit_code(["show", "kernels", "lenet", "--layer", "9"]) == 2
    assert capsys.readouterr().err.strip() == "Error: There is no convolution 9."


def test_a_file_that_cannot_be_written_is_told(asked: Asked, capsys: pytest.CaptureFixture[str]) -> None:
    Path("taken").write_text("x")
    assert exit_code(["show", "kernels", "lenet", "-o", "taken/k.png"]) == 1
    assert capsys.readouterr().err.startswith("Error: Cannot write 'taken/k.png': ")


def kept(*records: Record) -> None:
    store = Store(Path("runs/one"))
    store.append(run())
    for one in records:
        store.append(one)


def test_a_run_has_curves_and_steps(capsys: pytest.CaptureFixture[str]) -> None:
    kept(training((0.5, 0.25), steps=True), training((0.4, 0.2), seed=1, steps=True))
    assert exit_code(["show", "curves", "runs/one"]) == 0
    assert exit_code(["show", "steps", "runs/one/records.jsonl"]) == 0
    assert capsys.readouterr().out == "curves-one.png\nsteps-one.png\n"


def test_a_run_without_what_is_shown_says_how_to_get_it(capsys: pytest.CaptureFixture[str]) -> None:
    kept(training((0.5, 0.25)))
    assert exit_code(["show", "steps", "runs/one"]) == 2
    assert exit_code(["show", "kernels", "runs/one"]) == 2
    assert capsys.readouterr().err == (
        "Error: runs/one has no records within epochs. Train with 'cnnbench train MODEL --log-every 50'.\n"
        "Error: runs/one has no kernels. Train a model with convolutions and 'cnnbench train --log-every 50'.\n"
    )


def forming(steps: int, shape: tuple[int, ...] = (2, 1, 2, 2)) -> Record:
    numbers = np.arange(steps * np.prod(shape)) / 10
    return replace(
        training((0.5,)),
        measurements=(
            *training((0.5,)).measurements,
            Measurement(quantity="step_step", samples=tuple(50.0 * (at + 1) for at in range(steps))),
            Measurement(
                quantity="step_kernels", samples=tuple(numbers.tolist()), iterations_per_sample=int(np.prod(shape))
            ),
            Measurement(quantity="kernel_shape", samples=tuple(map(float, shape))),
        ),
    )


def test_kernels_of_a_run_form_row_by_row() -> None:
    sheet = forming_sheet(forming(3))
    assert (sheet.columns, sheet.axes, sheet.rows) == (2, ("kernel", "step"), ("50", "100", "150"))
    np.testing.assert_allclose(sheet.images.flatten(), np.arange(24) / 10, rtol=1e-6)
    assert len(forming_sheet(forming(100)).rows) == 8
    assert forming_sheet(forming(100)).rows[-1] == "5000"
    assert forming_sheet(forming(2, (4, 3, 2, 2))).images.shape == (8, 2, 2, 3)
    kept(forming(3))
    assert exit_code(["show", "kernels", "runs/one"]) == 0


def test_confusion_and_shift_are_of_a_test(
    trained: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shifts: list[Any] = []

    def test_weights(request: Request, *_: object, shift: int, **__: object) -> Iterator[Record]:
        shifts.append((request.weights, request.accuracy, shift))
        found = {
            "correct": (9.0,),
            "tested": (10.0,),
            "class_total": (5.0, 5.0),
            "confusion": (5.0, 0.0, 1.0, 4.0),
            "shift_correct": (8.0, 7.0) * 4,
        }
        yield record(
            case("one_conv", task="accuracy"),
            *(Measurement(quantity=name, samples=samples) for name, samples in found.items()),
        )

    monkeypatch.setattr(looked, "test_weights", test_weights)
    assert exit_code(["show", "confusion", str(trained)]) == 0
    assert exit_code(["show", "shift", str(trained), "--max-shift", "2"]) == 0
    assert shifts == [(str(trained), "digits", 0), (str(trained), "digits", 2)]
    assert capsys.readouterr().out == "confusion-one_conv-seed0.png\nshift-one_conv-seed0.png\n"


def test_a_test_that_fails_says_why(
    trained: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    failed = record(case("one_conv", task="accuracy"), status="oom", error="no memory left")
    monkeypatch.setattr(looked, "test_weights", lambda *_, **__: iter([failed]))
    assert exit_code(["show", "confusion", str(trained)]) == 1
    assert capsys.readouterr().err == "Error: no memory left\n"
