"""Real workers from a real fork server: how each way to die is told, and what workers run under."""

import os
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from cnnbench.jobs import Job
from cnnbench.workers.client import ForkHost, Worker
from cnnbench.workers.messages import Answer, Built, Failure, Question, Ready, Reply, Take, Taken, Warm
from tests.factories import LAST, case
from tests.workers.processes import gone, pid_of

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="only Linux has fork servers"),
]

MODEL_FILE = """
import os, pathlib, signal, subprocess, sys, time
import torch
from torch import nn


class Good(nn.Module):
    def __init__(self):
        super().__init__()
        self.line = nn.Linear(12, 3)

    def forward(self, images):
        return self.line(images.flatten(1))


def model(act):
    class Bad(Good):
        def forward(self, images):
            return act(super().forward(images))

    return Bad


def threads(scores):
    torch.ones(2_000_000).sin_()
    alone = len(os.listdir("/proc/self/task")) == 1
    raise ValueError(f"{torch.get_num_threads()} threads, {'alone' if alone else 'in pools'}")


def without_end(scores):
    kept = []
    while True:
        kept.append(torch.empty(16_000_000))


def list_without_end(scores):
    kept = []
    while True:
        kept.append([None] * 8_000_000)


def raises(scores):
    raise ValueError("no such layer")


def start_another(scores):
    other = subprocess.Popen(["sleep", "600"])
    pathlib.Path(__file__).with_name("other.pid").write_text(str(other.pid))
    time.sleep(600)


def prints(scores):
    print("hello", flush=True)
    return scores


good = Good
aborts = model(lambda scores: os.abort())
killed = model(lambda scores: os.kill(os.getpid(), signal.SIGKILL))
ends = model(lambda scores: os._exit(7))
exits = model(lambda scores: sys.exit("enough"))
hangs = model(lambda scores: time.sleep(600))
starts_another = model(start_another)
nan = model(lambda scores: scores * float("nan"))
threads = model(threads)
without_end = model(without_end)
list_without_end = model(list_without_end)
raises = model(raises)
prints = model(prints)


def unbuilt():
    raise RuntimeError("no weights")
"""


@pytest.fixture(scope="module")
def host() -> Iterator[ForkHost]:
    started = ForkHost(threads=2)
    yield started
    started.close()


Start = Callable[..., Worker]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("models") / "nets.py"
    path.write_text(MODEL_FILE, encoding="utf-8")
    return path


@pytest.fixture
def start(host: ForkHost, models: Path) -> Iterator[Start]:
    """Return what starts a worker with a job: a factory of `MODEL_FILE`, threads, and a limit of private memory."""
    workers = []

    def begin(factory: str, *, threads: int = 1, limit: int | None = None, channels_last: bool = False) -> Worker:
        made = case(f"{models}:{factory}", replace(LAST, threads=threads), shape=(3, 2, 2))
        if not channels_last:
            made = replace(made, variant=replace(made.variant, name="eager", channels_last=False))
        workers.append(host.start())
        workers[-1].send(Job(case=made, scratch=str(models.parent), memory_limit_bytes=limit, warm_cap_s=0.01))
        return workers[-1]

    yield begin
    for worker in workers:
        worker.close()


def first_call(worker: Worker, timeout_s: float = 60.0) -> Reply:
    assert worker.receive(60.0) == Built()
    worker.send(Warm())
    return worker.receive(timeout_s)


@pytest.mark.parametrize(
    ("factory", "expected"),
    [
        ("raises", Failure(status="failed", error="ValueError: no such layer (nets.py:43)")),
        ("aborts", Failure(status="failed", error="the worker died of SIGABRT")),
        ("ends", Failure(status="failed", error="the worker ended with exit code 7")),
        ("exits", Failure(status="failed", error="SystemExit: enough (nets.py:61)")),
        ("nan", Failure(status="invalid", error="the output holds NaN or infinity on normally distributed input")),
        (
            "killed",
            Failure(status="failed", error="the worker was killed (SIGKILL), not by the kernel for lack of memory"),
        ),
    ],
)
def test_how_a_worker_ends_is_told(start: Start, factory: str, expected: Failure) -> None:
    worker = start(factory)
    assert first_call(worker) == expected
    assert gone(pid_of(worker))
    worker.send(Take())  # into the void
    assert worker.close() is None


def test_a_network_that_cannot_be_built_is_told(start: Start, models: Path) -> None:
    said = f"{models}, line 73: unbuilt() raised RuntimeError: no weights."
    assert start("unbuilt").receive(60.0) == Failure(status="failed", error=said)


def test_a_worker_that_hangs_is_killed(start: Start) -> None:
    worker = start("hangs")
    assert first_call(worker, 0.5) == Failure(status="timeout", error="no answer within 0.5 s")
    assert gone(pid_of(worker))


def test_what_a_worker_started_is_killed_with_it(start: Start, models: Path) -> None:
    worker = start("starts_another")
    assert first_call(worker, 2.0) == Failure(status="timeout", error="no answer within 2 s")
    other = int((models.parent / "other.pid").read_text(encoding="ascii"))
    assert gone(other)


@pytest.mark.parametrize("factory", ["without_end", "list_without_end"])
def test_memory_without_end_stops_at_the_limit(start: Start, factory: str) -> None:
    got = first_call(start(factory, limit=2 * 2**30))
    assert isinstance(got, Failure)
    assert got.status == "oom"


@pytest.mark.parametrize(("threads", "expected"), [(1, "1 threads, alone"), (2, "2 threads, in pools")])
def test_the_threads_asked_for_are_those_that_run(start: Start, threads: int, expected: str) -> None:
    got = first_call(start("threads", threads=threads))
    assert got == Failure(status="failed", error=f"ValueError: {expected} (nets.py:27)")


def test_what_a_worker_prints_goes_to_its_log(start: Start, capfd: pytest.CaptureFixture[str]) -> None:
    worker = start("prints")
    assert isinstance(first_call(worker), Ready)
    assert worker._last_words() == ": hello"
    assert capfd.readouterr() == ("", "")


def test_the_last_words_of_a_worker_are_part_of_its_failure(start: Start) -> None:
    worker = start("prints")
    assert isinstance(first_call(worker), Ready)
    os.kill(pid_of(worker), signal.SIGSEGV)
    assert worker.receive(60.0) == Failure(status="failed", error="the worker died of SIGSEGV: hello")


def test_good_worker_gives_samples_and_is_first_oom_victim(start: Start) -> None:
    worker = start("good")
    ready = first_call(worker)
    assert isinstance(ready, Ready)
    worker.send(Take())
    taken = worker.receive(60.0)
    assert isinstance(taken, Taken)
    assert 0 < taken.sample.latency_s < taken.sample.sample_s
    assert Path(f"/proc/{pid_of(worker)}/oom_score_adj").read_text(encoding="ascii") == "1000\n"
    assert os.waitstatus_to_exitcode(worker.close() or 0) in {
        0,
        -signal.SIGKILL,
    }  # it may see the end of its pipe first
    assert gone(pid_of(worker))


def test_channels_last_without_convolutions_is_pointed_out(start: Start) -> None:
    note = "the model has no convolution, so channels_last has nothing to speed up"
    assert start("good", channels_last=True).receive(60.0) == Built(notes=(note,))


def test_question_returns_environment_and_model_shapes(host: ForkHost, models: Path) -> None:
    worker = host.start()
    worker.send(Question(models=(f"{models}:good", f"{models}:goood")))
    answer = worker.receive(60.0)
    worker.close()
    assert isinstance(answer, Answer)
    assert [(known.input_shape, known.exit_code) for known in answer.models] == [((3, 224, 224), 0), (None, 2)]
    assert (answer.models[1].error or "").startswith(f"Unknown factory in {models} 'goood'. Did you mean good")
    assert answer.environment.cores == len(os.sched_getaffinity(0))
