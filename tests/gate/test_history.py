"""The history of gates: rows that are added, and files that are none."""

from __future__ import annotations

from pathlib import Path

import pytest

from cnnbench.gate.history import HISTORY_COLUMNS, Past, append, load
from cnnbench.spec import CnnbenchError, UsageError

HEAD = ",".join(HISTORY_COLUMNS) + "\n"
CELL = {
    "started": "2026-01-01T00:00:00+00:00",
    "model": "net",
    "variant": "eager",
    "batch_size": "1",
    "verdict": "pass",
    "slowdown": "0.021",
    "base": "main (a)",
    "head": "b",
    "cpu": "Example CPU",
}
PAST = Past(**{**CELL, "batch_size": 1, "slowdown": 0.021})  # type: ignore[arg-type]


def row(**changed: str) -> str:
    return ",".join({**CELL, **changed}.get(name, "") for name in HISTORY_COLUMNS) + "\n"


def test_rows_are_added_below_one_head(tmp_path: Path) -> None:
    file = tmp_path / "kept" / "gates.csv"
    assert load(file) == ()
    append(file, HEAD + row())
    file.write_bytes(file.read_bytes().rstrip())
    append(file, HEAD + row(variant="", batch_size="", slowdown="", model="new"))
    assert file.read_text() == HEAD + row() + row(variant="", batch_size="", slowdown="", model="new")
    assert load(file)[0] == PAST
    assert (load(file)[1].variant, load(file)[1].batch_size, load(file)[1].slowdown) == (None, None, None)


def test_an_empty_file_gets_a_head(tmp_path: Path) -> None:
    file = tmp_path / "gates.csv"
    file.touch()
    append(file, HEAD + row())
    assert load(file) == (PAST,)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"model,ms\nnet,1\n", "is not a history of gates: it lacks the header of a gate.csv. Give another file."),
        (b"\xff\xfe\n", "is not a history of gates: 'utf-8' codec can't decode byte 0xff in position 0: "),
        (
            (HEAD + row() + row(slowdown="fast")).encode(),
            ", line 3: not a row of a gate: could not convert string to float: 'fast'. Restore or delete the line.",
        ),
        ((HEAD + "net,eager\n").encode(), ", line 2: not a row of a gate: zip() argument 2 is shorter than "),
    ],
)
def test_a_file_that_is_none_is_named(tmp_path: Path, content: bytes, message: str) -> None:
    file = tmp_path / "gates.csv"
    file.write_bytes(content)
    with pytest.raises(UsageError) as raised:
        load(file)
    assert str(raised.value).startswith(f"'{file}'{'' if message[0] == ',' else ' '}{message}")


def test_a_folder_in_its_place_is_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"^Cannot read '.*': Is a directory\.$"):
        load(tmp_path)


def test_what_cannot_be_written_is_told(tmp_path: Path) -> None:
    with pytest.raises(CnnbenchError) as raised:
        append(tmp_path, HEAD + row())
    assert str(raised.value) == (
        f"Cannot write '{tmp_path}': Is a directory. The verdict stands; its rows are in the run folder's gate.csv."
    )
