"""CI recipes: they are valid, may do little, and every command that they name exists."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from cnnbench.cli.main import cli

ROOT = Path(__file__).parent.parent
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
DOCUMENTED = ROOT / "docs" / "ci.md"


def read(path: Path) -> dict[Any, Any]:
    found: dict[Any, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return found


def snippets() -> list[dict[Any, Any]]:
    """Return the workflows that the documentation shows."""
    blocks = re.findall(r"```yaml\n(.*?)```", DOCUMENTED.read_text(encoding="utf-8"), flags=re.DOTALL)
    return [yaml.safe_load(block) for block in blocks]


EVERY = [
    *(pytest.param(read(path), id=path.name) for path in WORKFLOWS),
    *(pytest.param(s, id="docs/ci.md") for s in snippets()),
]


def steps(workflow: dict[Any, Any]) -> Iterator[dict[str, Any]]:
    for job in workflow["jobs"].values():
        yield from job["steps"]


def commands(workflow: dict[Any, Any]) -> list[list[str]]:
    """Return the words of each command, without what a shell takes for itself."""
    lines = [line for step in steps(workflow) if "run" in step for line in step["run"].splitlines()]
    return [shlex.split(re.split(r" [|>]", line)[0], comments=True) for line in lines]


def test_there_are_workflows_for_the_tests_and_for_the_gate() -> None:
    assert [path.name for path in WORKFLOWS] == ["ci.yml", "gate.yml"]
    assert len(snippets()) == 1


@pytest.mark.parametrize("workflow", EVERY)
def test_a_workflow_may_only_read_and_ends(workflow: dict[Any, Any]) -> None:
    assert workflow["permissions"] == {"contents": "read"}
    assert workflow["concurrency"]["cancel-in-progress"] is True
    assert all("permissions" not in job for job in workflow["jobs"].values())
    assert all(1 <= job["timeout-minutes"] <= 60 for job in workflow["jobs"].values())
    triggers = workflow[True]  # YAML 1.1 takes the key `on` for a truth
    assert "pull_request" in triggers
    assert "pull_request_target" not in triggers


@pytest.mark.parametrize("workflow", EVERY)
def test_actions_are_those_of_github_at_a_major_version(workflow: dict[Any, Any]) -> None:
    used = {step["uses"] for step in steps(workflow) if "uses" in step}
    assert used == {"actions/checkout@v5", "actions/setup-python@v6"}


@pytest.mark.parametrize("workflow", EVERY)
def test_no_text_from_outside_is_put_into_a_command(workflow: dict[Any, Any]) -> None:
    assert [step["run"] for step in steps(workflow) if "${{" in step.get("run", "")] == []


def targets() -> set[str]:
    return set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE))


def check_command(words: list[str]) -> None:
    """Check the words after `cnnbench`: a subcommand that takes them."""
    parent = click.Context(cli, **cli.context_settings)
    command = cli.get_command(parent, words[0])
    assert command is not None, words
    command.make_context(words[0], words[1:], parent)  # raises where an option or its value is wrong


@pytest.mark.parametrize("workflow", EVERY)
def test_every_command_exists(workflow: dict[Any, Any]) -> None:
    found = commands(workflow)
    assert found
    for words in found:
        if words[0] == "make":
            assert {word for word in words[1:] if "=" not in word} <= targets(), words
        elif "cnnbench" in words and words[0] != "pip":
            check_command(words[words.index("cnnbench") + 1 :])
        else:
            assert words[:2] in (["pip", "install"],), words


def test_what_ci_runs_here_is_what_the_makefile_has() -> None:
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    made = set(re.findall(r"step make ([a-z-]+)", script))
    assert made <= targets()
    assert {"expect", "bench-suite"} <= made
    for line in re.findall(r"step \.venv/bin/python -m cnnbench (.*)", script):
        check_command(shlex.split(line.replace("$runs", "runs").removesuffix("\\")))


def test_tests_are_run_on_every_python_that_is_promised() -> None:
    promised = re.findall(r"Python :: (3\.\d+)", (ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert read(ROOT / ".github" / "workflows" / "ci.yml")["jobs"]["test"]["strategy"]["matrix"]["python"] == promised
