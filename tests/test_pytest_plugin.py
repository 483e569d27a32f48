"""The pytest plugin: its options, what it makes of a verdict, and that it costs those nothing who do not use it."""

import subprocess
import sys
import tomllib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from cnnbench.gate.fixture import Settings
from cnnbench.gate.verdict import GateCell, GateReport, Question, gate_report
from cnnbench.spec import UsageError
from cnnbench.stats import Slowdown
from tests.factories import MACHINE

pytest_plugins = ["pytester"]

SPEED = Slowdown(center=0.0, low=-0.01, high=0.01)
FINE = GateCell(model="make", variant="eager", batch_size=1, verdict="pass", first=SPEED, sentence="make: fine: PASS")
SLOW = replace(FINE, verdict="fail", sentence="make: slow: FAIL")
UNCLEAR = replace(FINE, verdict="inconclusive", sentence="make: unclear: INCONCLUSIVE")
NEW = GateCell(model="make", verdict="pass", sentence="make: new: PASS")

TEST = """
def make():
    pass

def test_speed(cnnbench):
    report = cnnbench.check(make, (1, 3, 4, 4), baseline="main"{more})
    assert report.cells[0].model == "make"
"""


def report(*cells: GateCell, inconclusive_fails: bool = False) -> GateReport:
    question = Question(base="main", head="now", threshold=0.05, inconclusive_fails=inconclusive_fails)
    return gate_report(question, cells, notes=(), environment=MACHINE, started="2026-01-02T03:04:05Z", wall_s=1.0)


Runs = Callable[..., pytest.RunResult]


@pytest.fixture
def seen() -> list[tuple[object, ...]]:
    """Return the list that holds what checks were asked."""
    return []


@pytest.fixture
def runs(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, seen: list[tuple[object, ...]]) -> Runs:
    """Return what runs pytest on one test with the plugin, and answers its check with a report or an error."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")

    def run(answer: GateReport | Exception, *arguments: str, more: str = "", ini: str = "") -> pytest.RunResult:
        def check(model: object, example: object, baseline: object, settings: Settings) -> GateReport:
            seen.append((example, baseline, settings))
            if isinstance(answer, Exception):
                raise answer
            return answer

        monkeypatch.setattr("cnnbench.gate.fixture.check", check)
        pytester.makepyfile(TEST.replace("{more}", more))
        # a process of its own would not know that this suite makes errors of warnings
        arguments = arguments if "-W" in arguments else ("-W", "default", *arguments)
        if ini:
            pytester.makeini(f"[pytest]\n{ini}")
        return pytester.runpytest_inprocess("-p", "cnnbench.pytest_plugin", "-p", "no:cacheprovider", *arguments)

    return run


def test_a_pass_passes_without_a_word(runs: Runs, seen: list[tuple[object, ...]]) -> None:
    runs(report(FINE), "-W", "error").assert_outcomes(passed=1)
    assert seen == [((1, 3, 4, 4), "main", Settings())]


def test_a_fail_fails_with_the_sentence_and_the_table(runs: Runs) -> None:
    result = runs(report(SLOW))
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            "make: slow: FAIL",
            "FAIL: make eager batch 1 is worse in now than in main.",
            "*- Captured cnnbench call -*",
            "Model*Verdict*",
        ]
    )
    result.stdout.no_fnmatch_line("*Traceback*")
    result.stdout.no_fnmatch_line("*def test_speed*")


@pytest.mark.parametrize("cell", [UNCLEAR, NEW])
def test_what_was_not_judged_passes_with_a_warning(runs: Runs, cell: GateCell) -> None:
    result = runs(report(cell))
    result.assert_outcomes(passed=1, warnings=1)
    result.stdout.fnmatch_lines([f"*test_*.py:5: NotJudgedWarning: {cell.sentence}"])


def test_inconclusive_can_fail(runs: Runs) -> None:
    result = runs(report(UNCLEAR, inconclusive_fails=True))
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["make: unclear: INCONCLUSIVE", "FAIL: *, and inconclusive cells count as failures."])


def test_a_mistake_is_an_error_of_its_own(runs: Runs) -> None:
    result = runs(UsageError("'gone' is no revision."))
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["E*UsageError: 'gone' is no revision."])


def test_command_line_beats_ini_and_test_beats_both(runs: Runs, seen: list[tuple[object, ...]]) -> None:
    ini = "cnnbench_budget = 50s\ncnnbench_threshold = 7%\ncnnbench_inconclusive = fail\ncnnbench_variants = amp"
    runs(report(FINE), ini=ini).assert_outcomes(passed=1)
    line = ("--cnnbench-budget", "20s", "--cnnbench-variants", "eager,amp", "--cnnbench-same-environment")
    runs(report(FINE), *line, ini=ini).assert_outcomes(passed=1)
    own = ", budget_s=5, threshold=0.1, variants=['amp'], inconclusive='pass'"
    runs(report(FINE), *line, ini=ini, more=own).assert_outcomes(passed=1)
    assert [settings for *_, settings in seen] == [
        Settings(budget="50s", threshold="7%", inconclusive="fail", variants="amp"),
        Settings(budget="20s", threshold="7%", inconclusive="fail", variants="eager,amp", same_environment=True),
        Settings(budget=5, threshold=0.1, inconclusive="pass", variants=["amp"], same_environment=True),
    ]


def test_the_options_are_explained(runs: Runs) -> None:
    result = runs(report(FINE), "--help")
    result.stdout.fnmatch_lines(
        [
            "models that must not get slower (fixture cnnbench):",
            "*--cnnbench-budget=TIME*",
            "*--cnnbench-threshold=SHARE*",
            "*slowdown above which a check fails (5%)*",
            "*--cnnbench-same-environment*",
            "*cnnbench_budget (string)*",
        ]
    )
    assert result.ret == 0


def test_the_plugin_costs_those_nothing_who_do_not_use_it() -> None:
    """Only pytest is imported: not torch, nor what reads the command line or counts."""
    heavy = ("torch", "numpy", "scipy", "pandas", "click", "rich", "msgspec", "matplotlib")
    code = f"import sys, cnnbench.pytest_plugin; print(*(name for name in {heavy} if name in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.split() == []


def test_pytest_finds_the_plugin_by_its_entry_point() -> None:
    project = tomllib.loads((Path(__file__).parent.parent / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["entry-points"]["pytest11"] == {"cnnbench": "cnnbench.pytest_plugin"}
