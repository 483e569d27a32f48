"""Running experiments, keeping their figures, and the command: with pretended experiments."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from cnnbench.cli.main import exit_code
from cnnbench.selftest import EXPERIMENTS, Experiment, Experimenting, Figure, Found, NotRunHere, Setting
from cnnbench.selftest import driver as running
from cnnbench.selftest.driver import run, tasks
from cnnbench.selftest.load_burst import bursts
from cnnbench.selftest.results_file import FORMAT_VERSION, Head, Kept, load, save
from cnnbench.spec import CnnbenchError, UsageError

HEAD = Head(date="2026-11-22T10:00:00+00:00", machine="Example CPU, 2 usable cores", torch="2.11.0", cnnbench="0.1.0")
GOOD = Found(measured="twos", values=(2.0,), shown="2", bound="2", holds=True)


@pytest.fixture
def pretend(monkeypatch: pytest.MonkeyPatch) -> Callable[[Experimenting], list[tuple[str, Setting]]]:
    """Return what puts a function in the place of every experiment, and gives the list of its calls."""

    def use(act: Experimenting) -> list[tuple[str, Setting]]:
        calls: list[tuple[str, Setting]] = []

        def called(part: str, setting: Setting) -> Found:
            calls.append((part, setting))
            return act(part, setting)

        monkeypatch.setattr(Experiment, "load", lambda self: called)
        monkeypatch.setattr("cnnbench.selftest.results_file.head_now", lambda now: HEAD)
        return calls

    return use


Pretend = Callable[[Experimenting], list[tuple[str, Setting]]]


def figure(name: str, part: str = "", found: Found = GOOD) -> Figure:
    return Figure(id=name, part=part, form="short", load="idle", found=found, seconds=1.5)


def test_tasks_follow_proof_order_with_bursts_after_idle() -> None:
    assert [task.label for task in tasks(("V5", "V2", "V1"), "short", burst=True)] == [
        "V1 1 %",
        "V1 5 %",
        "V2",
        "V2 with bursts",
        "V5 0 to 15 %",
        "V5 0 to 15 % with bursts",
    ]
    whole = tasks((), "full", burst=False)
    assert len(whole) == sum(len(e.parts) for e in EXPERIMENTS.values())
    assert {task.load for task in whole} == {"idle"}


def test_figures_come_one_by_one_and_skip_existing_ones(pretend: Pretend) -> None:
    calls = pretend(lambda part, setting: replace(GOOD, shown=part))
    told: list[tuple[str, float]] = []
    found = list(
        run(
            tasks(("V1", "V8"), "short", burst=False),
            (figure("V1", "1 %"), figure("V8", "elsewhere")),
            seed=7,
            on_progress=lambda text, left: told.append((text, left)),
        )
    )
    assert [(f.id, f.part, f.form, f.load, f.found.shown) for f in found] == [
        ("V1", "5 %", "short", "idle", "5 %"),
        ("V8", "waited for", "short", "idle", "waited for"),
        ("V8", "not waited for", "short", "idle", "not waited for"),
    ]
    assert {setting.seed for _, setting in calls} == {7}
    assert [text for text, _ in told] == ["V1 5 %", "V8 waited for", "V8 not waited for"]
    assert told[0][1] == pytest.approx(1.5 + 0.5, abs=0.1)  # half of V1, all of V8


def test_the_time_left_follows_from_the_share_that_is_done(pretend: Pretend, monkeypatch: pytest.MonkeyPatch) -> None:
    now = iter((100.0, 100.0, 100.0, 103.0, 104.0))
    monkeypatch.setattr("cnnbench.selftest.driver.time.monotonic", lambda: next(now))

    def act(part: str, setting: Setting) -> Found:
        setting.on_progress("half way", 0.25)
        return GOOD

    pretend(act)
    told: list[tuple[str, float]] = []
    found = list(run(tasks(("V9",), "short", burst=False), (), seed=0, on_progress=lambda *said: told.append(said)))
    assert told[1] == ("V9: half way", 9.0)
    assert found[0].seconds == 4.0


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (NotRunHere("it needs a GPU"), (None, "it needs a GPU")),
        (CnnbenchError("No workers."), (False, "No workers.")),
        (ZeroDivisionError("division"), (False, "ZeroDivisionError: division")),
    ],
)
def test_an_experiment_that_cannot_be_done_or_breaks_is_a_figure(
    pretend: Pretend, error: Exception, expected: tuple[bool | None, str]
) -> None:
    def act(part: str, setting: Setting) -> Found:
        raise error

    pretend(act)
    (found,) = run(tasks(("V2",), "short", burst=False), (), seed=0, on_progress=lambda *_: None)
    assert (found.holds, found.found.reason) == expected


def test_error_caused_by_interruption_counts_as_interruption(pretend: Pretend) -> None:
    def act(part: str, setting: Setting) -> Found:
        try:
            raise KeyboardInterrupt
        finally:
            raise KeyError("status")

    pretend(act)
    with pytest.raises(KeyboardInterrupt):
        list(run(tasks(("V2",), "short", burst=False), (), seed=0, on_progress=lambda *_: None))


def test_bursts_are_there_while_an_experiment_is_done_under_them(
    pretend: Pretend, monkeypatch: pytest.MonkeyPatch
) -> None:
    state: list[str] = []

    @contextmanager
    def pretended(seed: int) -> Iterator[None]:
        state.append("on")
        yield
        state.append("off")

    monkeypatch.setattr(running, "bursts", pretended)
    pretend(lambda part, setting: replace(GOOD, shown=",".join(state)))
    found = list(run(tasks(("V2",), "short", burst=True), (), seed=0, on_progress=lambda *_: None))
    assert [(f.load, f.found.shown) for f in found] == [("idle", ""), ("burst", "on")]
    assert state == ["on", "off"]


def test_burst_process_uses_cpu_and_ends_afterwards() -> None:
    before = set(psutil.Process().children(recursive=True))
    with bursts(0):
        (child,) = set(psutil.Process().children(recursive=True)) - before
        until = time.monotonic() + 10
        while sum(child.cpu_times()[:2]) < 0.3 and time.monotonic() < until:
            time.sleep(0.05)
        assert sum(child.cpu_times()[:2]) >= 0.3
    assert not child.is_running()


def test_a_burst_ends_with_its_parent() -> None:
    code = (
        "import subprocess, sys, os\n"
        "p = subprocess.Popen([sys.executable, '-m', 'cnnbench.selftest.load_burst', '0', str(os.getpid())])\n"
        "print(p.pid, flush=True)\n"
        "import time; time.sleep(1.0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    pid = int(done.stdout)
    until = time.monotonic() + 10
    while psutil.pid_exists(pid) and time.monotonic() < until:
        time.sleep(0.05)
    assert not psutil.pid_exists(pid)


def test_what_is_kept_is_read_again(tmp_path: Path) -> None:
    kept = Kept(head=HEAD, figures=(figure("V1", "1 %"), figure("V2", found=Found(measured="a", holds=None))))
    file = tmp_path / "deep" / "selftest.json"
    assert load(file) is None
    save(file, kept)
    assert load(file) == kept
    assert [path.name for path in file.parent.iterdir()] == ["selftest.json"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[]", "holds no selftest figures: Expected `object`, got `array`. Give a new file with --output."),
        (
            json.dumps(
                {"format": FORMAT_VERSION + 1, "head": dict.fromkeys(("date", "machine", "torch", "cnnbench"), "")}
            ),
            "has format 2, but this cnnbench reads 1. Give a new file.",
        ),
    ],
)
def test_another_file_is_refused(tmp_path: Path, content: str, message: str) -> None:
    file = tmp_path / "a.json"
    file.write_text(content, encoding="utf-8")
    with pytest.raises(UsageError) as error:
        load(file)
    assert str(error.value) == f"'{file}' {message}"


def test_a_file_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("", encoding="utf-8")
    with pytest.raises(CnnbenchError) as error:
        save(tmp_path / "a" / "b.json", Kept(head=HEAD))
    assert str(error.value) == f"Cannot write '{tmp_path / 'a' / 'b.json'}': File exists."


TABLE = """\
date: 2026-11-22T10:00:00+00:00
machine: Example CPU, 2 usable cores
torch: 2.11.0
cnnbench: 0.1.0

id    part    form    load    measured    found    bound    holds    took    reason
----  ------  ------  ------  ----------  -------  -------  -------  ------  --------
V9    -       short   idle    twos        2        2        yes      0.0 s   -
"""


def test_the_command_prints_head_and_figures(pretend: Pretend, capsys: pytest.CaptureFixture[str]) -> None:
    pretend(lambda part, setting: GOOD)
    assert exit_code(["selftest", "v9"]) == 0
    out, err = capsys.readouterr()
    assert out == TABLE
    assert err.splitlines() == ["[0:00, about 0:08 left] V9", "    yes  V9  2 (bound: 2)"]


@pytest.mark.parametrize(("holds", "code"), [(True, 0), (None, 0), (False, 1)])
def test_the_exit_code_is_1_where_a_bound_does_not_hold(
    pretend: Pretend,
    *,
    holds: bool | None,
    code: int,
) -> None:
    pretend(lambda part, setting: replace(GOOD, holds=holds))
    assert exit_code(["selftest", "V9"]) == code


def test_formats_hold_the_same_figures(pretend: Pretend, capsys: pytest.CaptureFixture[str]) -> None:
    pretend(lambda part, setting: replace(GOOD, holds=False))
    assert exit_code(["selftest", "V9", "--format", "json"]) == 1
    kept = json.loads(capsys.readouterr().out)
    assert (kept["head"]["torch"], kept["figures"][0]["found"]["values"]) == ("2.11.0", [2.0])
    assert exit_code(["selftest", "V9", "--format", "csv"]) == 1
    assert capsys.readouterr().out == (
        "id,part,form,load,measured,found,bound,holds,took,reason\nV9,,short,idle,twos,2,2,NO,0.0 s,\n"
    )
    assert exit_code(["selftest", "V9", "--format", "markdown"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[:5] == [f"{line}  " for line in TABLE.splitlines()[:4]] + [""]
    assert [cell.strip() for cell in lines[-1].split("|")[1:-1]] == [
        *("V9", "-", "short", "idle", "twos", "2", "2", "NO", "0.0 s", "-")
    ]


def test_interrupted_proof_shows_figures_and_resumes_later(
    pretend: Pretend, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def act(part: str, setting: Setting) -> Found:
        if part == "5 %":
            raise KeyboardInterrupt
        return GOOD

    pretend(act)
    file = tmp_path / "proof.json"
    words = ["selftest", "V1", "V9", "--output", str(file), "--format", "csv"]
    assert exit_code(words) == 130
    out, err = capsys.readouterr()
    assert out.splitlines()[1:] == ["V1,1 %,short,idle,twos,2,2,yes,0.0 s,"]
    assert err.splitlines()[-1] == "Interrupted. 1 of 3 figures were measured."
    calls = pretend(lambda part, setting: GOOD)
    assert exit_code(words) == 0
    assert [part for part, _ in calls] == ["5 %", ""]
    assert [(f.id, f.part) for f in (load(file) or Kept(head=HEAD)).figures] == [
        ("V1", "1 %"),
        ("V1", "5 %"),
        ("V9", ""),
    ]


def test_short_figure_does_not_stand_for_full_one(pretend: Pretend, tmp_path: Path) -> None:
    calls = pretend(lambda part, setting: GOOD)
    file = str(tmp_path / "proof.json")
    assert exit_code(["selftest", "V9", "--output", file]) == 0
    assert exit_code(["selftest", "V9", "--output", file, "--full"]) == 0
    assert [setting.form for _, setting in calls] == ["short", "full"]


def test_figures_of_another_machine_are_not_gone_on_with(
    pretend: Pretend, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pretend(lambda part, setting: GOOD)
    file = tmp_path / "proof.json"
    save(file, Kept(head=replace(HEAD, date="2020-01-01", torch="2.12.0")))
    assert exit_code(["selftest", "V9", "--output", str(file)]) == 2
    said = f"Error: '{file}' has figures with torch 2.12.0, but here it is 2.11.0. Give a new file.\n"
    assert capsys.readouterr().err == said


def test_an_unknown_experiment_is_named_with_its_neighbours(capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code(["selftest", "V99"]) == 2
    assert capsys.readouterr().err == "Error: Unknown experiment 'V99'. Did you mean V9?\n"


def test_help_lists_every_experiment(capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code(["selftest", "--help"]) == 0
    shown = capsys.readouterr().out
    assert all(f"\n  {name} " in shown for name in EXPERIMENTS)
    assert os.linesep in shown
