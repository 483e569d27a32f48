"""Real runs that are interrupted, ended or killed: what is kept, how they go on, and that no process is left."""

import shlex
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from cnnbench.record import Run
from cnnbench.store import Store
from tests.program import PROGRAM, latest, run, table, timed

pytestmark = pytest.mark.slow


class Started:
    """A run that goes on in the background, and the processes that it has started."""

    def __init__(self, line: str, folder: Path) -> None:
        self.folder = folder
        self.errors = (folder / "stderr.txt").open("w+", encoding="utf-8")
        with (folder / "stdout.txt").open("w", encoding="utf-8") as out:
            self.process = subprocess.Popen([*PROGRAM, *shlex.split(line)], cwd=folder, stdout=out, stderr=self.errors)
        self.children: list[psutil.Process] = []

    def wait_for(self, reached: Callable[[], bool], within_s: float = 120.0) -> None:
        """Wait until `reached`, and remember the processes that live then."""
        until = time.monotonic() + within_s
        while not reached():
            assert self.process.poll() is None, self.said()
            assert time.monotonic() < until, self.said()
            time.sleep(0.02)
        self.children = psutil.Process(self.process.pid).children(recursive=True)

    def said(self) -> str:
        self.errors.seek(0)
        return self.errors.read()

    def left_over(self) -> list[psutil.Process]:
        """Return the remembered processes that live on."""
        return psutil.wait_procs(self.children, timeout=10)[1]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[[str], Started]]:
    started: list[Started] = []

    def begin(line: str) -> Started:
        started.append(Started(line, tmp_path))
        return started[-1]

    yield begin
    for one in started:
        one.process.kill()
        one.process.wait()
        one.errors.close()


Start = Callable[[str], Started]

BUDGET_S = 45
COMMAND = f"compare perceptron lenet --variants eager --budget {BUDGET_S}s"


def rounds_of(out: Path) -> dict[str, list[int]]:
    """Return the rounds in which each model was timed, in the order of the records."""
    found: dict[str, list[int]] = {}
    for record in timed(out):
        found.setdefault(record.case.model, []).append(record.round)
    return found


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_run_resumes_by_printed_command(tmp_path: Path, start: Start, number: signal.Signals) -> None:
    going = start(COMMAND)
    going.wait_for(lambda: (found := latest(tmp_path)) is not None and len(timed(found)) == 1)
    going.process.send_signal(number)
    assert going.process.wait(30) == 130
    out = latest(tmp_path)
    assert out is not None
    said, resume = going.said(), shlex.join([*PROGRAM, *shlex.split(COMMAND), "--output", f"results/{out.name}"])
    assert said.endswith(
        f"Records and reports: results/{out.name}\nInterrupted. What was measured is kept. Continue with:\n  {resume}\n"
    )
    assert "Traceback" not in said
    assert going.left_over() == []
    before = (out / "records.jsonl").read_bytes()
    rows = table((out / "report.csv").read_text(encoding="utf-8"))
    assert [row["model"] for row in rows if row["latency_s"]] == ["perceptron"]
    assert "PARTIAL RESULT: interrupted after " in (out / "report.md").read_text(encoding="utf-8")
    if number == signal.SIGTERM:
        return
    done = run(resume.removeprefix(f"{shlex.join(PROGRAM)} "), tmp_path)
    assert done.returncode == 0, done.stderr
    assert (out / "records.jsonl").read_bytes().startswith(before)
    rounds = rounds_of(out)
    assert rounds == {model: list(range(len(rounds[model]))) for model in ("perceptron", "lenet")}
    assert len(rounds["perceptron"]) > 1
    first, second = (item for item in Store(out).load().items if isinstance(item, Run) and item.wall_s is not None)
    assert (first.partial, second.partial) == (True, False)
    assert (first.wall_s or 0.0) + (second.wall_s or 0.0) < BUDGET_S * 1.1 + 10.0  # a tenth, and the rest of a round
    assert "PARTIAL RESULT" not in (out / "report.md").read_text(encoding="utf-8")
    assert latest(tmp_path) == out


@pytest.mark.parametrize("records", [2, 5])
def test_ctrl_c_keeps_every_finished_round(tmp_path: Path, start: Start, records: int) -> None:
    out = tmp_path / "out"
    going = start(f"{COMMAND} --format markdown --output out")
    going.wait_for(lambda: len(timed(out)) >= records)
    before = (out / "records.jsonl").read_bytes()
    going.process.send_signal(signal.SIGINT)
    assert going.process.wait(30) == 130
    assert (out / "records.jsonl").read_bytes().startswith(before)

    kept = rounds_of(out)
    assert kept == {model: list(range(len(rounds))) for model, rounds in kept.items()}
    assert sum(map(len, kept.values())) >= records
    shown = (tmp_path / "stdout.txt").read_text(encoding="utf-8")
    assert "PARTIAL RESULT: interrupted after " in shown
    assert f" of {BUDGET_S} s. Intervals are wider than those of the whole run." in shown
    assert [f"| {model} | eager |" in shown for model in kept] == [True] * len(kept)
    rows = table((out / "report.csv").read_text(encoding="utf-8"))
    assert {row["model"]: int(row["rounds"]) for row in rows} == {model: len(rounds) for model, rounds in kept.items()}


def test_a_killed_run_goes_on_without_loss_or_repetition(tmp_path: Path, start: Start) -> None:
    line = f"{COMMAND} --output out"
    out = tmp_path / "out"
    going = start(line)
    going.wait_for(lambda: len(timed(out)) >= 3)
    going.process.send_signal(signal.SIGKILL)
    going.process.wait(30)
    assert len(going.children) >= 1
    assert going.left_over() == []
    before = Store(out).load()
    assert before.warnings == ()
    done = run(line, tmp_path)
    assert done.returncode == 0, done.stderr
    after = Store(out).load()
    assert after.warnings == ()
    assert after.records[: len(before.records)] == before.records
    identities = [(record.case.identity(), record.round) for record in after.records if record.status == "ok"]
    assert len(set(identities)) == len(identities)
    rows = table((out / "report.csv").read_text(encoding="utf-8"))
    found = {row["model"]: int(row["rounds"]) for row in rows}
    assert found == {model: sum(r.case.model == model for r in timed(out)) for model in ("perceptron", "lenet")}
    assert min(found.values()) >= 3


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_a_training_that_was_ended_goes_on_to_the_same_weights(
    start: Callable[[str], Started], tmp_path: Path, how: signal.Signals
) -> None:
    line = "train digit_cnn --epochs 30"  # some seconds, within which it is ended
    whole = run(f"{line} --output whole", tmp_path)
    assert whole.returncode == 0, whole.stderr
    begun = start(f"{line} --output ended")
    state = tmp_path / "ended" / "digit_cnn-seed0.state.safetensors"
    begun.wait_for(state.exists)
    begun.process.send_signal(how)
    begun.process.wait(timeout=60)
    assert begun.left_over() == []
    assert state.exists()
    assert not (tmp_path / "ended" / "digit_cnn-seed0.safetensors").exists()
    if how == signal.SIGINT:
        assert begun.process.returncode == 130
        resumed = begun.said().splitlines()[-1].strip()
        assert resumed.endswith("cnnbench train digit_cnn --epochs 30 --seed 0 --seeds 1 --resume -o ended")
    again = run(f"{line} --output ended --resume", tmp_path)
    assert again.returncode == 0, again.stderr
    found = [(tmp_path / name / "digit_cnn-seed0.safetensors").read_bytes() for name in ("whole", "ended")]
    assert found[0] == found[1]
    assert not state.exists()
