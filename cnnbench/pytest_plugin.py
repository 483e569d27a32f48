"""pytest plugin: the fixture `cnnbench` fails a test if a model gets slower.

pytest loads this module whenever it starts beside an installed cnnbench, so it imports no library but pytest.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from cnnbench.gate.verdict import GateReport

# Options of the command line and of pytest's configuration file: name, placeholder, and help with the default.
_OPTIONS = (
    ("budget", "TIME", "time for the first measurement; a second one takes at most as long (30s)"),
    ("threshold", "SHARE", "slowdown above which a check fails (5%%)"),
    ("variants", "LIST", "variants, such as eager,compile (eager)"),
    ("inconclusive", "WHAT", "result of a check that is inconclusive: pass or fail (pass)"),
)


class NotJudgedWarning(UserWarning):
    """A check passed although its model could not be judged: too little is known, or the baseline lacks the model."""


class Checker:
    """The object that the fixture `cnnbench` gives to a test."""

    def __init__(self, request: pytest.FixtureRequest) -> None:
        self._request = request

    def check(  # the same options as the command line's
        self,
        model: object,
        example: object,
        *,
        baseline: object,
        budget_s: float | None = None,
        threshold: float | str | None = None,
        variants: Sequence[str] | str | None = None,
        inconclusive: str | None = None,
    ) -> GateReport:
        """Fail the test if `model` is slower than `baseline`, by the rules of `cnnbench gate`; return the report.

        `model` is a model, or a function that makes one. `baseline` is the model (or function) that it must not be
        slower than, or the name of a git revision, in which `model` is then found by its file and name. `example` is an
        input batch, (batch, channels, height, width), or its shape; inputs are drawn anew in both cases. Options that
        are not given here come from pytest's command line or configuration file.

        Raises:
            UsageError: an argument is wrong, or several tests are running at once.
        """
        from cnnbench.gate.fixture import Settings, check

        # An argument wins over the options; what neither gives is left to the defaults of `Settings`.
        config = self._request.config
        given = {"budget": budget_s, "threshold": threshold, "variants": variants, "inconclusive": inconclusive}
        known = {name: value if value is not None else _setting(config, name) for name, value in given.items()}
        settings: dict[str, Any] = {name: value for name, value in known.items() if value is not None}

        same = bool(config.getoption("--cnnbench-same-environment") or config.getini("cnnbench_same_environment"))
        report = check(model, example, baseline, Settings(same_environment=same, **settings))
        self._conclude_test(report)
        return report

    def _conclude_test(self, report: GateReport) -> None:
        from cnnbench.gate.formats import to_table

        self._request.node.add_report_section("call", "cnnbench", to_table(report))
        said = "\n".join([*(cell.sentence for cell in report.cells), report.sentence])
        if report.failed:
            pytest.fail(said, pytrace=False)
        unjudged = [cell.sentence for cell in report.cells if cell.verdict != "pass" or cell.first is None]
        if unjudged:
            # Level 3 is the line of the test that called `check`.
            warnings.warn(NotJudgedWarning("\n".join(unjudged)), stacklevel=3)


@pytest.fixture(name="cnnbench")
def _cnnbench(request: pytest.FixtureRequest) -> Checker:
    """Check that a model is not slower than it was: `cnnbench.check(make, (1, 3, 224, 224), baseline="main")`."""
    return Checker(request)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options, each on the command line and in pytest's configuration file."""
    group = parser.getgroup("cnnbench", "models that must not get slower (fixture cnnbench)")
    for name, shown, text in _OPTIONS:
        group.addoption(f"--cnnbench-{name}", metavar=shown, help=text)
        # argparse formats its help, so its percent signs are doubled; the file's help is plain text.
        parser.addini(f"cnnbench_{name}", help=text.replace("%%", "%"))
    text = "measure a baseline revision in this environment, even if its requirements differ"
    group.addoption("--cnnbench-same-environment", action="store_true", help=text)
    parser.addini("cnnbench_same_environment", type="bool", default=False, help=text)


def _setting(config: pytest.Config, name: str) -> str | None:
    """Return the value of the command line, else that of pytest's configuration file, else None."""
    given: str | None = config.getoption(f"--cnnbench-{name}") or config.getini(f"cnnbench_{name}")
    return given or None
