"""The command that a record keeps, and the one that can be typed again."""

import pytest

from cnnbench.app.command_line import program, recorded_command, typed_command

INSIDE = "/somewhere/cnnbench/__main__.py"


@pytest.mark.parametrize(
    ("argv", "orig_argv", "expected"),
    [
        ([INSIDE, "list", "-h"], [".venv/bin/python", "-m", "cnnbench", "list", "-h"], ".venv/bin/python -m cnnbench"),
        ([INSIDE], ["python3", "-X", "dev", "-mcnnbench"], "python3 -X dev -mcnnbench"),
        ([".venv/bin/cnnbench", "list"], ["/v/bin/python", ".venv/bin/cnnbench", "list"], ".venv/bin/cnnbench"),
        (["/found/bin/cnnbench", "list"], ["/v/bin/python", "/found/bin/cnnbench", "list"], "cnnbench"),
        (["notebook.py"], ["python", "notebook.py"], "cnnbench"),
        ([""], ["python"], "cnnbench"),
    ],
)
def test_the_program_is_named_as_it_was_started(
    argv: list[str], orig_argv: list[str], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cnnbench.app.command_line.shutil.which", lambda name: f"/found/bin/{name}")
    assert " ".join(program(argv, orig_argv)) == expected


def test_commands_are_quoted_and_recorded_without_interpreter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", [INSIDE, "run", "my plan.toml"])
    monkeypatch.setattr("sys.orig_argv", ["my python", "-m", "cnnbench", "run", "my plan.toml"])
    assert recorded_command() == "cnnbench run 'my plan.toml'"
    assert typed_command() == "'my python' -m cnnbench run 'my plan.toml'"
    assert typed_command(["train", "a b"]) == "'my python' -m cnnbench train 'a b'"
