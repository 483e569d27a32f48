"""A checkpoint may come from anywhere: the model that it names must not run code that the file chose."""

import os
import pickle
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from torch import nn

from cnnbench import checkpoint as checkpoints
from cnnbench.checkpoint import CheckpointInfo
from cnnbench.cli.commands import evaluate
from cnnbench.cli.main import exit_code
from cnnbench.record import Record
from cnnbench.spec import Request

INFO = CheckpointInfo(
    model="lenet", input_shape=(1, 32, 32), classes=10, dataset="digits", cnnbench="0.1.0", torch="2.15.0"
)


class Payload:
    """Leaves a file behind when it is unpickled."""

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, ("ran",)


@pytest.fixture(params=["saved:evil.pickle", "evil.py:build", "tree:.::evil.py:build"])
def file(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Return a checkpoint whose model is code beside it."""
    monkeypatch.chdir(tmp_path)
    Path("evil.pickle").write_bytes(pickle.dumps(Payload()))
    Path("evil.py").write_text("import os\nos.mkdir('ran')\n\n\ndef build():\n    pass\n")
    Path("a.png").write_bytes(b"")
    checkpoints.save(Path("c.safetensors"), nn.Linear(2, 2), replace(INFO, model=request.param))
    return str(request.param)


@pytest.mark.parametrize(
    ("line", "advice"),
    [
        ("evaluate c.safetensors", "give it with --model FILE.py:FACTORY."),
        ("predict c.safetensors a.png", "use: cnnbench predict FILE.py:FACTORY IMAGE --weights c.safetensors"),
        *(
            (
                f"show {kind} c.safetensors",
                "name it, and give the file with --checkpoint: FILE.py:FACTORY --checkpoint c.safetensors.",
            )
            for kind in ("kernels", "features", "predictions", "confusion", "shift")
        ),
    ],
)
def test_name_in_a_file_runs_nothing(file: str, line: str, advice: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code(line.split()) == 2
    assert capsys.readouterr().err.strip() == (
        f"Error: 'c.safetensors' names the model '{file}', and a name in a file must not run code. "
        f"If the model is yours, {advice}"
    )
    assert not Path("ran").exists()


def test_installed_models_may_be_named_by_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert [request.sections[0].models for request in evaluated(monkeypatch, "lenet", [])] == [("lenet",)]
    published = "torchvision:resnet18"
    assert [request.sections[0].models for request in evaluated(monkeypatch, published, [])] == [(published,)]


def test_own_model_is_named_by_the_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine.py").write_text("def build():\n    pass\n")
    (request,) = evaluated(monkeypatch, "./mine.py:build", ["--model", "mine.py:build"])
    assert (request.sections[0].models, request.weights) == (("mine.py:build",), "c.safetensors")


def evaluated(monkeypatch: pytest.MonkeyPatch, model: str, more: list[str]) -> list[Request]:
    """Return the requests of `evaluate` for a checkpoint that names `model`."""
    seen: list[Request] = []

    def test_weights(request: Request, *_: object, **__: object) -> Iterator[Record]:
        seen.append(request)
        return iter(())

    monkeypatch.setattr(evaluate, "test_weights", test_weights)
    monkeypatch.setattr(evaluate, "_text", lambda *_: "")
    checkpoints.save(Path("c.safetensors"), nn.Linear(2, 2), replace(INFO, model=model))
    assert exit_code(["evaluate", "c.safetensors", *more]) == 0
    return seen
