"""Real gates in a repository that a user may have: green, red after a slowdown, interrupted, and from within a test."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from tests.program import PROGRAM, run
from tests.repositories import commit, git, repository

pytestmark = [pytest.mark.slow, pytest.mark.alone, pytest.mark.timeout(600)]

NET = """
import time

from torch import nn

from nets.share import SHARE


class Small(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Conv2d(3, 16, 3), nn.ReLU(), nn.Flatten(), nn.Linear(16 * 14 * 14, 10))

    def forward(self, images):
        begin = time.perf_counter_ns()
        scores = self.net(images)
        end = begin + (time.perf_counter_ns() - begin) * (1 + SHARE)
        while time.perf_counter_ns() < end:
            pass
        return scores


def build():
    return Small()
"""

TEST = """
from nets.small import build


def test_small_is_not_slower(cnnbench):
    cnnbench.check(build, (1, 3, 16, 16), baseline="main")


def test_a_callable_is_a_baseline_too(cnnbench):
    cnnbench.check(lambda: build(), (1, 3, 16, 16), baseline=build)
"""

LINE = "gate main --models nets/small.py:build --input-shape 3x16x16 --budget 15s --format json"


@pytest.fixture
def top(tmp_path: Path) -> Path:
    return repository(tmp_path / "repo", nets__small=NET, nets__share="SHARE = 0.0\n", tests__test_speed=TEST)


def slow_down(top: Path, share: float) -> None:
    (top / "nets" / "share.py").write_text(f"SHARE = {share}\n")


def left_over(top: Path) -> list[str]:
    """Return the worktrees of a repository beside its own, and its changes but for results."""
    trees = git(top, "worktree", "list").splitlines()[1:]
    changes = git(top, "status", "--porcelain").splitlines()
    return [*trees, *(line for line in changes if not line.endswith(("results/", "__pycache__/", ".pyc")))]


def test_same_code_does_not_fail_but_slowdown_fails_by_name(top: Path) -> None:
    done = run(LINE, top)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(done.stdout)
    assert found["verdict"] in ("pass", "inconclusive")
    assert [cell["model"] for cell in found["cells"]] == ["nets/small.py:build"]
    assert left_over(top) == []
    slow_down(top, 1.0)  # in a neighbour of the file, not committed
    done = run(LINE, top)
    assert done.returncode == 1, done.stdout + done.stderr
    (cell,) = json.loads(done.stdout)["cells"]
    assert (cell["model"], cell["verdict"]) == ("nets/small.py:build", "fail")
    assert cell["first"]["low"] > 0.05
    assert cell["again"]["low"] > 0.05
    assert left_over(top) == ["M nets/share.py"]


def test_the_base_can_have_an_interpreter_of_its_own(top: Path) -> None:
    slow_down(top, 1.0)
    commit(top)
    (top / "requirements.txt").write_text("torch\n")
    done = run(f"{LINE.replace('gate main', 'gate main~1')} --base-python {sys.executable}", top)
    assert done.returncode == 1, done.stdout + done.stderr
    found = json.loads(done.stdout)
    assert found["notes"] == [f"BASE was measured in its own environment: {sys.executable}"]
    assert found["cells"][0]["verdict"] == "fail"


def test_head_that_breaks_fails(top: Path) -> None:
    (top / "nets" / "share.py").write_text("SHARE = None\n")
    done = run(LINE.replace("--format json", ""), top)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "HEAD failed: TypeError: unsupported operand" in done.stdout


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_leaves_nothing_behind(top: Path, number: signal.Signals) -> None:
    words = [*PROGRAM, *LINE.split(), "--output", "out"]
    with (top.parent / "stderr.txt").open("w+") as errors:
        process = subprocess.Popen(words, cwd=top, stdout=subprocess.DEVNULL, stderr=errors)
        until, children = time.monotonic() + 120, list[psutil.Process]()
        while len(children) < 3 or not (top / "out" / "records.jsonl").exists():  # the server, and a worker a side
            said = (top.parent / "stderr.txt").read_text()
            assert process.poll() is None, said
            assert time.monotonic() < until, said
            time.sleep(0.02)
            children = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(number)
        assert process.wait(30) == 130
    said = (top.parent / "stderr.txt").read_text()
    assert said.endswith("The records are kept in out, but a gate cannot be resumed.\nInterrupted.\n")
    assert psutil.wait_procs(children, timeout=10)[1] == []
    assert [line for line in left_over(top) if not line.endswith("out/")] == []


def pytest_in(top: Path) -> subprocess.CompletedProcess[str]:
    """Run the repository's tests with the plugin as if it was installed."""
    words = [sys.executable, "-m", "pytest", "-p", "cnnbench.pytest_plugin", "-p", "no:cacheprovider", "-q", "tests"]
    words += ["--cnnbench-budget", "15s"]
    path = os.pathsep.join(filter(None, (str(Path(__file__).parent.parent.parent), os.environ.get("PYTHONPATH"))))
    environment = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTHONPATH": path}
    return subprocess.run(words, cwd=top, env=environment, capture_output=True, text=True, check=False, timeout=500)


def test_the_fixture_is_green_and_red_after_a_slowdown(top: Path) -> None:
    done = pytest_in(top)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 passed" in done.stdout
    assert left_over(top) == []
    slow_down(top, 1.0)
    done = pytest_in(top)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "1 failed, 1 passed" in done.stdout
    assert "FAIL: nets/small.py:build eager batch 1 is worse in the working tree than in main (" in done.stdout
    assert left_over(top) == ["M nets/share.py"]
