"""Files of expectations: their text, what stays when an entry is written anew, and files that are none."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from cnnbench import expectation_file as expectations
from cnnbench.expectation_file import Compiled, Trained, file_for, load, minor_version, others_of, save
from cnnbench.models import MODELS
from cnnbench.spec import CnnbenchError, UsageError
from tests.factories import a_layer, an_expectation

ROOT = Path(__file__).parent.parent
HEAD = (
    "# What counting, compiling and a short training of each model must give with this torch. `cnnbench expect` "
    "compares,\n# and `cnnbench expect MODEL --accept` writes a model's entry anew.\n"
    'format = 1\ntorch = "2.15"\n'
)
DEEP = msgspec.structs.replace(
    an_expectation(),
    compiled=Compiled(graphs=1, graph_breaks=0, recompiles=0),
    trained=Trained(dataset="digits", epochs=3, seed=0, correct=340, tested=359),
)
TEXT = """
[models.lenet]
input_shape = [3, 4, 4]
params = 400
trainable_params = 300
macs = 3000
operator_calls = 7
weight_bytes = 1600
compiled = { graphs = 1, graph_breaks = 0, recompiles = 0 }
trained = { dataset = "digits", epochs = 3, seed = 0, correct = 340, tested = 359 }
layers = [
  { name = "0", kind = "Conv2d", output_shape = [1, 8, 4, 4], params = 100, macs = 2000 },
  { name = "1", kind = "Linear", output_shape = [1, 10], params = 300, macs = 1000 },
]
"""


@pytest.mark.parametrize(
    ("version", "expected"), [("2.15.0+cpu", "2.15"), ("2.9.1", "2.9"), ("3.0.0a0+git1", "3.0"), ("missing", "missing")]
)
def test_a_torch_version_without_patch_level(version: str, expected: str) -> None:
    assert minor_version(version) == expected


def test_folder_holds_file_per_torch_and_file_is_itself() -> None:
    assert file_for(Path("bench/expected"), "2.15") == Path("bench/expected/torch-2.15.toml")
    assert file_for(Path("mine.toml"), "2.15") == Path("mine.toml")


def test_other_versions_come_newest_first(tmp_path: Path) -> None:
    for name in ("torch-2.9.toml", "torch-2.15.toml", "torch-2.11.toml", "notes.toml"):
        (tmp_path / name).touch()
    assert [path.name for path in others_of(tmp_path / "torch-2.15.toml")] == ["torch-2.11.toml", "torch-2.9.toml"]


def test_a_new_file_has_a_line_for_each_layer(tmp_path: Path) -> None:
    file = tmp_path / "new" / "torch-2.15.toml"
    save(file, "2.15", {"lenet": DEEP})
    assert file.read_text(encoding="utf-8") == HEAD + TEXT
    assert load(file) == ("2.15", {"lenet": DEEP})
    assert [path.name for path in file.parent.iterdir()] == ["torch-2.15.toml"]


def test_other_entries_stay_to_the_letter(tmp_path: Path) -> None:
    file = tmp_path / "torch-2.15.toml"
    odd = TEXT.replace("[models.lenet]", '[models."./a.py:f"]   ').replace("params = 400", "params=400 # four hundred")
    file.write_text(f"{HEAD}# mine\n{odd}\n# about the next one\n{TEXT}# the end\n", encoding="utf-8")
    changed = an_expectation(params=401)
    save(file, "2.15", {"lenet": changed, "mlp": DEEP})
    alone = expectations.entry_text("lenet", changed)
    new = TEXT.replace("models.lenet", "models.mlp")
    assert file.read_text(encoding="utf-8") == f"{HEAD}# mine\n{odd}\n# about the next one\n\n{alone}\n# the end\n{new}"
    assert load(file)[1] == {"./a.py:f": DEEP, "lenet": changed, "mlp": DEEP}


def test_a_comment_before_an_entry_outlives_the_entry_above_it(tmp_path: Path) -> None:
    file = tmp_path / "torch-2.15.toml"
    save(file, "2.15", {"lenet": DEEP, "mlp": DEEP})
    text = file.read_text(encoding="utf-8")
    file.write_text(text.replace("[models.mlp]", "# why mlp is here\n[models.mlp]"), encoding="utf-8")
    save(file, "2.15", {"lenet": an_expectation()})
    assert "]\n\n# why mlp is here\n[models.mlp]\n" in file.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ['a "b".py:f', "ü.py:f", "a\\b.py:f", "a\x7f.py:f", "a\u2028b.py:f", "timm:x.y"])
def test_any_name_of_a_model_is_kept(name: str, tmp_path: Path) -> None:
    file = tmp_path / "torch-2.15.toml"
    layer = a_layer(name, "Conv2d", (1, 2), params=1, macs=1)
    entry = msgspec.structs.replace(an_expectation(), layers=(layer,))
    for _ in range(2):  # into a new file, and in place of itself
        save(file, "2.15", {name: entry})
        assert load(file)[1] == {name: entry}


def test_a_file_that_cannot_be_written_is_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(CnnbenchError) as caught:
        save(tmp_path / "file" / "torch-2.15.toml", "2.15", {"lenet": DEEP})
    assert str(caught.value) == (
        f"Cannot write '{tmp_path / 'file' / 'torch-2.15.toml'}': File exists. The file is unchanged."
    )


def test_an_interrupted_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "torch-2.15.toml"
    save(file, "2.15", {"lenet": DEEP})
    before = file.read_bytes()

    def interrupted(_: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("os.fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        save(file, "2.15", {"lenet": an_expectation()})
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [before]


REPAIR = "Restore it, or delete it and create it with --accept."


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("format = 1", "Object missing required field `torch`."),
        (f"{HEAD}[models.a]\nparms = 1\n", "Object contains unknown field `parms` - at `$.models[...]`."),
        (
            f"{HEAD}{TEXT.replace('macs = 3000', 'macs = 1.5')}",
            "Expected `int`, got `float` - at `$.models[...].macs`.",
        ),
    ],
)
def test_what_is_no_such_file_names_the_field(text: str, said: str, tmp_path: Path) -> None:
    file = tmp_path / "torch-2.15.toml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(UsageError) as caught:
        load(file)
    assert str(caught.value) == f"'{file}' is not a file of expectations: {said} {REPAIR}"


def test_a_newer_format_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "torch-2.15.toml"
    file.write_text('format = 2\nelse = "x"\n', encoding="utf-8")
    with pytest.raises(UsageError) as caught:
        load(file)
    assert str(caught.value) == (
        f"'{file}' has format 2, written by a newer cnnbench; this one reads up to 1. "
        "Upgrade: `pip install --upgrade cnnbench`."
    )


def committed() -> list[Path]:
    return sorted((ROOT / "bench" / "expected").glob("torch-*.toml"))


def test_there_are_committed_files() -> None:
    assert committed()


@pytest.mark.parametrize("file", committed(), ids=lambda path: path.stem)
def test_a_committed_file_has_every_built_in_as_it_is_declared(file: Path) -> None:
    torch, entries = load(file)
    assert file.name == f"torch-{torch}.toml"
    assert set(entries) == set(MODELS)
    for name, entry in entries.items():
        spec = MODELS[name]
        declared = (spec.input_shape, spec.params, spec.trainable_params, spec.macs)
        assert declared == (entry.input_shape, entry.params, entry.trainable_params, entry.macs), name
        assert sum(layer.macs for layer in entry.layers) == entry.macs, name
        assert sum(layer.params for layer in entry.layers) == entry.params, name
    assert {name for name, entry in entries.items() if entry.compiled and entry.trained} >= {"lenet", "simple_cnn"}


@pytest.mark.parametrize("file", committed(), ids=lambda path: path.stem)
def test_a_committed_file_is_as_it_would_be_written(file: Path, tmp_path: Path) -> None:
    torch, entries = load(file)
    save(tmp_path / "again.toml", torch, entries)
    assert (tmp_path / "again.toml").read_text(encoding="utf-8") == file.read_text(encoding="utf-8")
