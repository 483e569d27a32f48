"""Real runs that are interrupted, ended or killed: what is kept, how they go on, and that no process is left."""

import shlex
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from cnnbench.store import Store
from tests.program import PROGRAM, latest, run, table, timed

pytestmark = pytest.mark.slow


class Started:
    """A run that goes on in the background, and the processes that it has started."""

    def __init__(self, line: str, folder: Path) -> None:
        self.folder = folder
        self.errors = (folder / "stderr.txt").open("w+", encoding="utf-8")
        self.process = subprocess.Popen(
            [*PROGRAM, *shlex.split(line)], cwd=folder, stdout=subprocess.DEVNULL, stderr=self.errors
        )
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

COMMAND = "compare perceptron lenet --variants eager --budget 20s"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_is_resumed_by_the_command_that_it_prints(
    tmp_path: Path, start: Start, number: signal.Signals
) -> None:
    going = start(COMMAND)
    going.wait_for(lambda: (found := latest(tmp_path)) is not None and len(timed(found)) == 1)
    going.process.send_signal(number)
    assert going.process.wait(30) == 130
    out = latest(tmp_path)
    assert out is not None
    said, resume = going.said(), shlex.join([*PROGRAM, *shlex.split(COMMAND), "--output", f"results/{out.name}"])
    assert said.endswith(
        f"Records and reports: results/{out.name}\nInterrupted. What was measured is kept. Go on with:\n  {resume}\n"
    )
    assert "Traceback" not in said
    assert going.left_over() == []
    before = (out / "records.jsonl").read_bytes()
    rows = table((out / "report.csv").read_text(encoding="utf-8"))
    assert [row["model"] for row in rows if row["latency_s"]] == ["perceptron"]
    if number == signal.SIGTERM:
        return
    done = run(resume.removeprefix(f"{shlex.join(PROGRAM)} "), tmp_path)
    assert done.returncode == 0, done.stderr
    assert (out / "records.jsonl").read_bytes().startswith(before)
    assert [(r.case.model, r.status) for r in timed(out)] == [("perceptron", "ok"), ("lenet", "ok")]
    assert latest(tmp_path) == out


def test_a_killed_run_goes_on_without_loss_or_repetition(tmp_path: Path, start: Start) -> None:
    line = f"{COMMAND} --launches 2 --output out"
    out = tmp_path / "out"
    going = start(line)
    going.wait_for(lambda: len(timed(out)) == 3)
    going.process.send_signal(signal.SIGKILL)
    going.process.wait(30)
    assert len(going.children) >= 1
    assert going.left_over() == []
    before = Store(out).load()
    assert before.cautions == ()
    done = run(line, tmp_path)
    assert done.returncode == 0, done.stderr
    after = Store(out).load()
    assert after.cautions == ()
    assert after.records[: len(before.records)] == before.records
    identities = [record.case.identity() for record in after.records]
    assert len(set(identities)) == len(identities)
    assert [(r.case.model, r.launch, r.case.seed, r.status) for r in timed(out)] == [
        ("perceptron", 0, 0, "ok"),
        ("lenet", 0, 0, "ok"),
        ("perceptron", 1, 1, "ok"),
        ("lenet", 1, 1, "ok"),
    ]
    rows = table((out / "report.csv").read_text(encoding="utf-8"))
    assert [(row["model"], row["launches"]) for row in rows] == [("perceptron", "2"), ("lenet", "2")]


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
