"""`cnnbench data`: what is found where, what a dataset holds, and what is said about what is wrong."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cnnbench.cli.main import exit_code
from cnnbench.data import mnist
from tests.data.files import FILES, put_mnist, put_pictures

RED, BLUE = (200, 30, 30), (30, 30, 200)


@pytest.fixture(autouse=True)
def at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "home").mkdir()
    monkeypatch.chdir(tmp_path / "home")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("CNNBENCH_DATA", raising=False)


def call(line: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    code = exit_code(line.split())
    out, errors = capsys.readouterr()
    return code, out, errors


def test_the_list_says_what_is_where(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    put_mnist(tmp_path / "d" / "MNIST" / "raw", monkeypatch)
    put_pictures(tmp_path / "e" / "PetImages", {"Cat": RED, "Dog": BLUE}, count=1)
    monkeypatch.setenv("CNNBENCH_DATA", str(tmp_path / "e"))
    code, out, errors = call(f"data list --data-dir {tmp_path / 'd'} --format json", capsys)
    assert (code, errors) == (0, "")
    assert {row["name"]: (row["found"], row["place"]) for row in json.loads(out)} == {
        "digits": ("needs no files", None),
        "mnist": ("gzipped files", str(tmp_path / "d" / "MNIST" / "raw")),
        "fashion_mnist": (None, None),
        "cifar10": (None, None),
        "cats_dogs": ("the folder PetImages", str(tmp_path / "e" / "PetImages")),
        "synthetic": ("needs no files", None),
    }


def test_what_a_dataset_holds_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    put_mnist(tmp_path / "d", monkeypatch)
    code, out, errors = call(f"data verify mnist --data-dir {tmp_path / 'd'}", capsys)
    assert code == 0
    lines = [line.split() for line in out.splitlines()]
    assert out.startswith("mnist: gzipped files\nSource: Y. LeCun")
    assert [str(tmp_path / "d" / f"{FILES[0]}.gz"), mnist.MNIST.gzipped[0], "yes"] in lines
    assert ["train", "6", "1x28x28", "0", "to", "255"] in lines
    assert out.endswith("nothing is chosen by them.\n0 corrupt images are left out.\n")
    assert "[0:00" in errors  # progress


def test_verify_marks_altered_file_and_reads_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    put_mnist(tmp_path / "d" / "MNIST", monkeypatch)
    (tmp_path / "d" / "MNIST" / f"{FILES[2]}.gz").write_bytes(b"another")
    code, out, _ = call(f"data verify mnist --data-dir {tmp_path / 'd'}", capsys)
    assert code == 1
    assert [line.split()[-1] for line in out.splitlines()[5:9]] == ["yes", "yes", "NO", "yes"]
    assert out.endswith(
        "\nThe dataset was not read, because a file is damaged or is not the published one.\n"
        "Delete that file and run 'cnnbench data fetch mnist'.\n"
    )


def test_corrupt_pictures_are_named_and_stay(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    put_pictures(tmp_path / "own", {"rose": RED, "iris": BLUE})
    bad = tmp_path / "own" / "rose" / "666.jpg"
    bad.write_bytes(b"")
    code, out, _ = call(f"data verify folder:{tmp_path / 'own'}", capsys)
    assert code == 0
    assert out.endswith("1 corrupt images are left out:\n  rose/666.jpg: the file is empty, or cannot be read\n")
    assert bad.exists()
    code, out, _ = call(f"data verify folder:{tmp_path / 'own'} --format json", capsys)
    found = json.loads(out)
    assert (code, found["class_names"], found["left_out"]) == (
        0,
        ["iris", "rose"],
        [{"name": "rose/666.jpg", "reason": "the file is empty, or cannot be read"}],
    )
    assert found["parts"][0]["by_class"] == [8, 8]


@pytest.mark.parametrize(
    ("line", "code", "said"),
    [
        (
            "data verify mnist",
            3,
            "Error: Dataset 'mnist' is not in data (--data-dir, CNNBENCH_DATA, ./data). Get it with",
        ),
        ("data verify mnits", 2, "Error: Unknown dataset 'mnits'. Did you mean mnist"),
        ("data verify mnist --data-dir nowhere", 2, "Error: There is no data folder 'nowhere'."),
        ("data fetch synthetic", 2, "Error: There is nothing to fetch for 'synthetic': it needs no files."),
        (
            "data import digits .",
            2,
            "Error: 'digits' cannot be imported: it needs no files, or its name is its folder. Use it as it is.",
        ),
        ("data import mnist nowhere", 2, "Error: There is no folder 'nowhere'. Give the folder that holds the four"),
        ("data import mnist .", 2, "Error: '.' does not hold the four files of MNIST"),
        ("train lenet --dataset cifar10", 3, "Error: Dataset 'cifar10' is not in data"),
        ("compare lenet --accuracy mnist --data-dir nowhere", 2, "Error: There is no data folder 'nowhere'."),
    ],
)
def test_what_is_wrong_is_said_before_anything_starts(
    line: str, code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    found, out, errors = call(line, capsys)
    assert (found, out) == (code, "")
    assert errors.startswith(said)
    assert list(Path().iterdir()) == []


def test_files_are_imported_after_they_were_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    put_mnist(tmp_path / "d", monkeypatch)
    code, out, _ = call(f"data import mnist {tmp_path / 'd'}", capsys)
    assert (code, out.split()) == (0, [f"data/MNIST/raw/{name}.gz" for name in FILES])
    assert call("data verify mnist", capsys)[0] == 0
    path = tmp_path / "d" / f"{FILES[1]}.gz"
    path.write_bytes(path.read_bytes()[:-3])
    code, _, errors = call(f"data import mnist {tmp_path / 'd'} --data-dir other", capsys)
    assert code == 2
    assert f"Error: {path} is damaged or not the published file" in errors
    assert not Path("other").exists()
