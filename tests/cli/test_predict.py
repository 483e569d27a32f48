"""`cnnbench predict`: what is checked first, and how the classes are shown."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from cnnbench.checkpoint import CheckpointInfo
from cnnbench.cli.commands import predict as module
from cnnbench.cli.main import exit_code
from cnnbench.record import Measurement, Outcome
from cnnbench.spec import UsageError

FOUND = Outcome(
    measurements=(
        Measurement(quantity="top_class", samples=(281.0, 282.0, 7.0, 281.0), iterations_per_sample=2),
        Measurement(quantity="top_share", samples=(0.75, 0.125, 0.5, 0.25)),
    ),
    notes=("tabby", "tiger cat", "", "tabby"),
)


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[tuple[object, ...]]:
    """Have two images and a weight file to name, and return what was asked of the model."""
    asked: list[tuple[object, ...]] = []

    def predict_classes(*arguments: object, **options: object) -> Outcome:
        asked.append((*arguments, *options.values()))
        if "bad.pth" in arguments:
            raise UsageError("b.jpg is no image")
        return replace(FOUND, notes=(*FOUND.notes, "Weights of w.pth: 'module.' taken off."))

    monkeypatch.setattr(module, "predict_classes", predict_classes)
    monkeypatch.chdir(tmp_path)
    for name in ("a.jpg", "b.jpg", "w.pth", "bad.pth"):
        (tmp_path / name).write_text("x")
    return asked


def test_classes_are_shown_by_picture(files: list[tuple[object, ...]], capsys: pytest.CaptureFixture[str]) -> None:
    line = ["predict", "mobilenet_v2", "a.jpg", "b.jpg", "--weights", "w.pth", "--top", "2"]
    assert exit_code(line) == 0
    said = capsys.readouterr()
    assert said.err == "Note: Weights of w.pth: 'module.' taken off.\n"
    assert said.out == (
        "image      rank    class  name       share\n"
        "-------  ------  -------  ---------  -------\n"
        "a.jpg         1      281  tabby      75.0 %\n"
        "a.jpg         2      282  tiger cat  12.5 %\n"
        "b.jpg         1        7  -          50.0 %\n"
        "b.jpg         2      281  tabby      25.0 %\n"
    )
    assert files == [("mobilenet_v2", "w.pth", "cpu", ("a.jpg", "b.jpg"), 2, None)]
    assert exit_code([*line, "--format", "json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert rows[2] == {"image": "b.jpg", "rank": 1, "class": 7, "name": None, "share": 0.5}


@pytest.mark.parametrize(
    ("line", "code", "said"),
    [
        (
            "predict lenet a.jpg",
            2,
            "Error: 'lenet' needs trained weights. Use --weights default or --weights FILE.\n",
        ),
        ("predict lenett a.jpg --weights w.pth", 2, "Error: Unknown model 'lenett'. Did you mean lenet"),
        ("predict lenet none.jpg --weights w.pth", 2, "Error: There is no file none.jpg.\n"),
        ("predict lenet a.jpg --weights gone.pth", 2, "Error: There is no weight file 'gone.pth'. Give 'default'"),
        ("predict gone.safetensors a.jpg", 2, "Error: There is no checkpoint file gone.safetensors.\n"),
        (
            "predict c.safetensors a.jpg --weights default",
            2,
            "Error: 'c.safetensors' is a checkpoint, which holds its weights. Leave out --weights.\n",
        ),
        ("predict lenet a.jpg --weights bad.pth", 2, "Error: b.jpg is no image\n"),
    ],
)
@pytest.mark.usefixtures("files")
def test_what_is_wrong_is_said(line: str, code: int, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code(line.split()) == code
    assert capsys.readouterr().err.startswith(said)


def test_a_checkpoint_names_its_classes_itself(
    files: list[tuple[object, ...]], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    info = CheckpointInfo(
        model="lenet",
        input_shape=(3, 32, 32),
        classes=10,
        dataset="folder:gone",
        class_names=tuple("abcdefgh"),
        cnnbench="0",
        torch="0",
    )
    monkeypatch.setattr("cnnbench.checkpoint.load", lambda _: info)
    Path("mine.safetensors").write_text("x")
    assert exit_code(["predict", "mine.safetensors", "a.jpg", "b.jpg", "--format", "csv"]) == 0
    names = [line.split(",")[3] for line in capsys.readouterr().out.splitlines()[1:]]
    assert names == ["tabby", "tiger cat", "h", "tabby"]  # classes beyond those of the checkpoint keep their own
    asked = ("lenet", "mine.safetensors", "cpu", ("a.jpg", "b.jpg"), 5, "folder:gone")
    assert exit_code(["predict", "lenet", "a.jpg", "b.jpg", "--weights", "mine.safetensors"]) == 0
    assert files == [asked, asked]
