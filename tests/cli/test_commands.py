"""Help, listings, mistakes on the command line with their whole messages, and exit codes."""

import csv
import io
import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import click
import pytest

from cnnbench._version import __version__
from cnnbench.cli.main import cli, exit_code
from cnnbench.data import DATASETS
from cnnbench.models import MODELS
from cnnbench.plans import list_plans
from cnnbench.quantities import QUANTITIES
from cnnbench.spec import CnnbenchError, MissingError, UsageError
from cnnbench.variants import VARIANTS

COMMANDS = (
    "list",
    "describe",
    "compare",
    "run",
    "train",
    "evaluate",
    "predict",
    "show",
    "reproduce",
    "expect",
    "diff",
    "data",
    "report",
    "gate",
    "doctor",
    "selftest",
)


def examples(text: str) -> list[list[str]]:
    """Return the words of each example in a help text, without what a shell takes for itself."""
    after = text.partition("Examples:\n")[2].partition("\n\n")[0]
    return [shlex.split(line.partition(" >")[0]) for line in after.splitlines()]


def test_the_commands_are_these() -> None:
    assert tuple(cli.list_commands(click.Context(cli))) == COMMANDS


@pytest.mark.parametrize("arguments", [(), *((name,) for name in COMMANDS)])
@pytest.mark.parametrize("flag", ["--help", "-h"])
def test_help_holds_examples_that_can_be_parsed(
    arguments: tuple[str, ...], flag: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert exit_code([*arguments, flag]) == 0
    shown, errors = capsys.readouterr()
    assert shown.startswith(f"Usage: cnnbench {' '.join((*arguments, '[OPTIONS]'))}")
    assert errors == ""
    found = examples(shown)
    assert len(found) >= 2
    parent = click.Context(cli, **cli.context_settings)
    for words in found:
        assert words[: 1 + len(arguments)] == ["cnnbench", *arguments]
        command = cli.get_command(parent, words[1])
        assert command is not None
        command.make_context(words[1], words[2:], parent)  # raises where an option or its value is wrong


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code(["--version"]) == 0
    assert capsys.readouterr() == (f"cnnbench, version {__version__}\n", "")


FORMS = "A model is a built-in, one from a plugin, torchvision:NAME, timm:NAME or FILE.py:FACTORY."


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("compare lenett", f"Unknown model 'lenett'. Did you mean lenet? {FORMS}"),
        ("describe lenett", f"Unknown model 'lenett'. Did you mean lenet? {FORMS}"),
        ("train lenett", f"Unknown model 'lenett'. Did you mean lenet? {FORMS}"),
        ("doctor --model lenett", f"Unknown model 'lenett'. Did you mean lenet? {FORMS}"),
        (
            "compare lenet --reference lenett/eager",
            f"Unknown model 'lenett'. Did you mean lenet? {FORMS}",
        ),
        (
            "compare lenet --variants eagr",
            "Unknown variant 'eagr'. Did you mean eager? Variants can be combined: channels_last+compile.",
        ),
        (
            "compare lenet --sort latency",
            "Unknown column 'latency'. Did you mean latency_s, latency_p99_s, latency_p95_s?",
        ),
        (
            "compare lenet --accuracy digit",
            "Unknown dataset 'digit'. Did you mean digits? "
            "Or use folder:PATH, with one folder of images for each class.",
        ),
        (
            "train lenet --dataset digit",
            "Unknown dataset 'digit'. Did you mean digits? "
            "Or use folder:PATH, with one folder of images for each class.",
        ),
        ("run quik", "Unknown plan 'quik'. Did you mean quick? You can also give the path of a plan file."),
        (
            "compare lenet --weights gone.pt",
            "There is no weight file 'gone.pt'. Give 'none', 'default' or the path of a file.",
        ),
        (
            "train lenet --weights gone.pt",
            "There is no weight file 'gone.pt'. Give 'none', 'default' or the path of a file.",
        ),
        (
            "compare lenet --output x.jsonl",
            "Output 'x.jsonl' cannot be a folder: it has the name of a record file. Give a folder for the records and "
            "reports.",
        ),
        (
            "compare lenet --reference lenet/eagr",
            "Unknown variant 'eagr'. Did you mean eager? Variants can be combined: channels_last+compile.",
        ),
        (
            "run full --sort latency_z",
            "Unknown column 'latency_z'. Did you mean latency_s, latency_p99_s, latency_p95_s?",
        ),
        ("doctor --model lenet --largest 0", "--largest 0 leaves no batch to try. Give 1 or more."),
        ("evaluate gone.safetensors", "There is no checkpoint file gone.safetensors."),
        (
            "report gone",
            "'gone' does not exist. Give a run folder or a records.jsonl; "
            "`cnnbench compare MODEL... --output gone` writes one.",
        ),
    ],
)
def test_a_wrong_name_is_answered_with_close_ones(
    line: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert exit_code(line.split()) == 2
    assert capsys.readouterr() == ("", f"Error: {message}\n")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("line", "usage", "message"),
    [
        ("compar lenet", "[OPTIONS] COMMAND [ARGS]...", "Unknown command 'compar'. Did you mean compare?"),
        (
            "xyz",
            "[OPTIONS] COMMAND [ARGS]...",
            "Unknown command 'xyz'. Known: compare, data, describe, diff, doctor, evaluate, expect, gate, list, "
            "predict, report, reproduce, run, selftest, show, train.",
        ),
        (
            "compare lenet --format cvs",
            "compare [OPTIONS] MODEL...",
            "Invalid value for '--format': 'cvs' is not one of 'table', 'markdown', 'csv', 'json'.",
        ),
        (
            "compare lenet --budget 5x",
            "compare [OPTIONS] MODEL...",
            "Invalid value for '--budget': '5x' is not a time above zero. Write it like 20ms, 90s, 8m30s or 1h.",
        ),
        (
            "train lenet --timeout soon",
            "train [OPTIONS] MODEL",
            "Invalid value for '--timeout': 'soon' is not a time above zero. Write it like 20ms, 90s, 8m30s or 1h.",
        ),
        (
            "compare lenet --batch-size 0",
            "compare [OPTIONS] MODEL...",
            "Invalid value for '--batch-size': '0' is not a list of positive whole numbers. Write it like 1,8.",
        ),
        (
            "compare lenet --task test",
            "compare [OPTIONS] MODEL...",
            "Invalid value for '--task': 'test' is not valid. Use one or more of infer, train.",
        ),
        (
            "list model",
            "list [OPTIONS] [models|variants|datasets|plans|quantities]",
            "Invalid value for '[models|variants|datasets|plans|quantities]': 'model' is not one of 'models', "
            "'variants', 'datasets', 'plans', 'quantities'.",
        ),
        (
            "report run --format cvs",
            "report [OPTIONS] RUN...",
            "Invalid value for '--format': 'cvs' is not valid. Use one or more of table, markdown, html, csv, json.",
        ),
    ],
)
def test_a_wrong_value_is_answered_with_what_is_allowed(
    line: str, usage: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert exit_code(line.split()) == 2
    name = line.partition(" ")[0]
    own = f" {name}" if name in COMMANDS else ""
    hint = f"Usage: cnnbench {usage}\nTry 'cnnbench{own} --help' for help.\n\n"
    assert capsys.readouterr() == ("", f"{hint}Error: {message}\n")


@pytest.mark.parametrize("name", ["compare", "describe", "train", "evaluate", "report", "diff", "run"])
def test_a_command_alone_shows_its_help(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code([name]) == 2
    shown, errors = capsys.readouterr()
    assert shown == ""
    assert "Examples:\n" in errors


NAMES = {
    "models": tuple(MODELS),
    "variants": tuple(VARIANTS),
    "datasets": tuple(DATASETS),
    "plans": tuple(list_plans()),
    "quantities": tuple(QUANTITIES),
}


@pytest.mark.parametrize(("kind", "names"), NAMES.items())
def test_a_listing_has_the_same_names_in_every_format(
    kind: str, names: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert exit_code(["list", kind, "--format", "csv"]) == 0
    rows = list(csv.reader(io.StringIO(capsys.readouterr().out)))
    assert (rows[0][0], tuple(row[0] for row in rows[1:])) == ("name", names)
    assert exit_code(["list", kind, "--format", "json"]) == 0
    parsed = json.loads(capsys.readouterr().out)
    assert tuple(row["name"] for row in parsed) == names
    assert [["" if v is None else str(v) for v in row.values()] for row in parsed] == rows[1:]
    assert exit_code(["list", kind]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split()[0] == "name"
    assert tuple(line.split()[0] for line in lines[2:]) == names


def test_seventeen_models_are_built_in(capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code(["list", "--format", "csv"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 1 + 17
    assert lines[0] == "name,family,input,classes,params,macs,source"
    assert "lenet,lenet,3x32x32,10,59386,649120,mslearn 5.3" in lines


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (UsageError("Take another."), 2, "Error: Take another.\n"),
        (MissingError("Install it."), 3, "Error: Install it.\n"),
        (CnnbenchError("It broke."), 1, "Error: It broke.\n"),
        (KeyboardInterrupt(), 130, "Interrupted.\n"),
        (click.Abort(), 130, "Interrupted.\n"),
    ],
)
def test_errors_become_exit_codes(
    error: BaseException,
    code: int,
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def failing(*args: object, **kwargs: object) -> None:
        raise error

    monkeypatch.setattr(cli, "main", failing)
    assert exit_code([]) == code
    assert capsys.readouterr() == ("", said)


def test_a_reader_that_has_gone_is_no_traceback() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "cnnbench", "list", "quantities"]
    done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, text=True, check=False, timeout=60)
    os.close(writer)
    assert (done.returncode, done.stderr) == (1, "")


def test_a_plan_file_that_is_none_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('description = "x"\nbudget = 5\n[[measure]]\nmodels = ["lenet"]\n', encoding="utf-8")
    assert exit_code(["run", str(path)]) == 2
    assert capsys.readouterr() == (
        "",
        f"Error: '{path}' is not a plan: Expected `str`, got `int` - at `$.budget`. "
        "'bench/plans/quick.toml' is an example.\n",
    )
