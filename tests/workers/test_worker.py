"""Exceptions as failures, warming up, compile caches, the control workload, and a coordinator that has gone."""

import multiprocessing
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from cnnbench.clock import FakeTime
from cnnbench.jobs import Job
from cnnbench.spec import Case, CnnbenchError, InvalidError, ModelSpec, UnsupportedError, Variant
from cnnbench.timing.loop import SampleShape
from cnnbench.timing.work import InferencePasses
from cnnbench.workers.failures import describe
from cnnbench.workers.messages import Built, Failure, Ready, Reply, Take, Taken, Warm
from cnnbench.workers.worker import _cache_name, _compile_guard, build, make_ready, work
from tests.factories import COMPILE, case


def raised(error: BaseException) -> BaseException:
    """Return `error` as it is after line 2 of a file `/models/net.py` raised it."""
    where: dict[str, object] = {"error": error}
    try:
        exec(compile("def forward():\n    raise error\nforward()\n", "/models/net.py", "exec"), where)
    except BaseException as caught:
        return caught
    raise AssertionError


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (ValueError("boom"), Failure(status="failed", error="ValueError: boom (net.py:2)")),
        (ValueError("\n  first line \nsecond"), Failure(status="failed", error="ValueError: first line (net.py:2)")),
        (KeyError(), Failure(status="failed", error="KeyError: no message (net.py:2)")),
        (SystemExit(3), Failure(status="failed", error="SystemExit: 3 (net.py:2)")),
        (CnnbenchError("It does not fit. Take less."), Failure(status="failed", error="It does not fit. Take less.")),
        (UnsupportedError("No bf16 here."), Failure(status="unsupported", error="No bf16 here.")),
        (InvalidError("It holds NaN."), Failure(status="invalid", error="It holds NaN.")),
        (MemoryError(), Failure(status="oom", error="MemoryError: no message (net.py:2)")),
        (
            torch.OutOfMemoryError("CUDA ran full. Tried 1 GiB."),
            Failure(status="oom", error="OutOfMemoryError: CUDA ran full. Tried 1 GiB. (net.py:2)"),
        ),
    ],
)
def test_an_exception_is_told_with_its_place(error: BaseException, expected: Failure) -> None:
    assert describe(raised(error)) == expected


@pytest.mark.parametrize(
    "said",
    [
        "[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory: you tried 64 bytes",
        "CUDA error: out of memory",
        "DefaultCPUAllocator: not enough memory: you tried to allocate 64 bytes",
        "std::bad_alloc",
        "[Errno 12] Cannot allocate memory",
    ],
)
def test_what_allocators_say_is_out_of_memory(said: str) -> None:
    assert describe(RuntimeError(said)) == Failure(status="oom", error=f"RuntimeError: {said}")


def test_an_end_of_file_in_a_network_is_its_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    def serve(connection: object) -> None:
        raise raised(EOFError("Ran out of input"))

    monkeypatch.setattr("cnnbench.workers.worker._serve", serve)
    ours, theirs = multiprocessing.Pipe()
    with ours, theirs:
        work(theirs)
        assert ours.poll(5)
        got = ours.recv()
    assert (got.status, got.error.partition(" (")[0]) == ("failed", "EOFError: Ran out of input")


def test_a_worker_ends_quietly_when_the_coordinator_has_gone() -> None:
    ours, theirs = multiprocessing.Pipe()
    ours.close()
    with theirs:
        work(theirs)


# Compile caches

CELL = case("net", COMPILE)
near: Any = pytest.approx


@pytest.mark.parametrize(
    "warm",
    [
        replace(CELL, role="memory"),
        replace(CELL, role="numerics"),
        replace(CELL, budget=replace(CELL.budget, total_s=1.0)),
    ],
)
def test_what_comes_after_a_cell_finds_what_it_compiled(warm: Case) -> None:
    assert _cache_name(warm) == _cache_name(CELL)


@pytest.mark.parametrize(
    "cold",
    [
        replace(CELL, role="aa_control"),
        replace(CELL, seed=1),
        replace(CELL, task="train"),
        replace(CELL, batch_size=2),
        replace(CELL, variant=replace(COMPILE, name="compile+channels_last", channels_last=True)),
        replace(CELL, model="other"),
    ],
)
def test_what_is_compiled_apart_does_not(cold: Case) -> None:
    assert _cache_name(cold) != _cache_name(CELL)


@pytest.mark.parametrize(
    ("what", "guarded"),
    [
        (CELL, True),
        (replace(CELL, role="aa_control"), True),
        (replace(CELL, role="control_workload"), False),
        (case("net"), False),
    ],
)
def test_compiled_cell_and_twin_are_guarded_from_recompiling(what: Case, guarded: bool) -> None:  # noqa: FBT001  # a case
    assert (not isinstance(_compile_guard(what), nullcontext)) is guarded


# Warming up


def passes(fake: FakeTime, durations: list[float]) -> InferencePasses:
    """Return passes that take `durations`, the last one for ever."""
    scores: Any = torch.zeros(1, 2)

    def forward(_: object) -> object:
        fake.advance(durations.pop(0) if len(durations) > 1 else durations[0])
        return scores

    return InferencePasses(forward, [scores])


def test_first_and_second_call_are_timed_apart() -> None:
    fake = FakeTime()
    ready = make_ready(passes(fake, [20.0, 0.5, 0.125]), replace(fake.clock(), asynchronous=False), Warm(), cap_s=30.0)
    assert ready == Ready(
        first_call_s=near(20.0),
        warmup_s=near(0.5),  # a call of over 50 ms is not repeated
        iteration_s=near(0.5),
        shape=SampleShape(rewarm=0, readings=1, group=1),
        reading_s=0.0,
        output_shape=(1, 2),
    )


def test_quick_calls_are_repeated_until_they_are_warm() -> None:
    fake = FakeTime()
    clock = replace(fake.clock(), asynchronous=False)
    ready = make_ready(passes(fake, [20.0, 0.03125, 0.015625]), clock, Warm(), cap_s=30.0)
    assert (ready.first_call_s, ready.iteration_s) == (near(20.0), near(0.015625))
    assert ready.warmup_s == near(0.03125 + 4 * 0.015625)  # until 50 ms have passed after the second call
    assert ready.shape == SampleShape(rewarm=1, readings=1, group=1)


def test_the_shape_of_an_earlier_round_is_kept() -> None:
    fake, shape = FakeTime(), SampleShape(rewarm=3, readings=5, group=7)
    clock = replace(fake.clock(), asynchronous=False)
    ready = make_ready(passes(fake, [0.015625]), clock, Warm(shape=shape), cap_s=30.0)
    assert (ready.shape, ready.iteration_s) == (shape, near(0.015625))


@pytest.mark.parametrize(
    ("shape", "calls"),
    [
        (None, 1 + 65),  # 13 windows of five calls take over a second
        (SampleShape(rewarm=3, readings=5, group=7), 1 + 4),
    ],
)
def test_a_device_settles_in_its_first_round_only(shape: SampleShape | None, calls: int) -> None:
    fake = FakeTime()
    ready = make_ready(passes(fake, [0.015625]), fake.clock(), Warm(shape=shape), cap_s=30.0)
    assert ready.warmup_s == near(calls * 0.015625)


def test_threads_are_placed_after_the_first_call() -> None:
    fake, placed = FakeTime(), list[int]()
    clock = replace(fake.clock(), asynchronous=False)
    ready = make_ready(
        passes(fake, [2.0, 0.5]), clock, Warm(), cap_s=30.0, place=lambda: placed.append(fake.host_ns // 10**9)
    )
    assert (placed, ready.first_call_s) == ([2], near(2.0))


def test_a_cap_ends_a_warm_up() -> None:
    fake = FakeTime()
    falling = [0.04 * 0.9**at for at in range(40)]
    ready = make_ready(passes(fake, list(falling)), replace(fake.clock(), asynchronous=False), Warm(), cap_s=0.06)
    assert ready.warmup_s == near(sum(falling[1:4]))
    assert ready.warnings == ()


# A worker in a thread


@pytest.fixture
def talk(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Callable[[Case], Connection]]:
    """Return what starts a worker with a job in a thread of this process, and gives the way to talk to it."""
    threads, before = list[tuple[Connection, threading.Thread]](), torch.get_num_threads()
    monkeypatch.setattr("cnnbench.workers.worker.keep_freed_memory", lambda: None)
    for name in ("TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR"):
        monkeypatch.setenv(name, "as it was")

    def start(what: Case) -> Connection:
        ours, theirs = multiprocessing.Pipe()
        thread = threading.Thread(target=work, args=(theirs,))
        threads.append((ours, thread))
        thread.start()
        ours.send(Job(case=what, scratch=str(tmp_path), warm_cap_s=0.01))
        return ours

    yield start
    for ours, thread in threads:
        ours.close()
        thread.join(10)
    torch.set_num_threads(before)


def reply_of(connection: Connection) -> Reply:
    assert connection.poll(30)
    reply: Reply = connection.recv()
    return reply


def test_a_canary_needs_no_network_and_compiles_nothing(talk: Callable[[Case], Connection], tmp_path: Path) -> None:
    control_workload = talk(case("no_such_network", COMPILE, role="control_workload"))
    assert reply_of(control_workload) == Built()
    control_workload.send(Warm(shape=SampleShape(rewarm=1, readings=2, group=1)))
    ready = reply_of(control_workload)
    assert isinstance(ready, Ready)
    assert (ready.phases, ready.shape) == ((), SampleShape(rewarm=1, readings=2, group=1))
    for _ in range(2):
        control_workload.send(Take())
        taken = reply_of(control_workload)
        assert isinstance(taken, Taken)
        assert (len(taken.sample.iterations_s), taken.sample.phases_s) == (2, ())
        assert taken.sample.cpu_share is not None
        assert taken.sample.cpu_share > 0
    cache = str(tmp_path / _cache_name(case("no_such_network", COMPILE)))
    assert os.environ["TORCHINDUCTOR_CACHE_DIR"] == f"{cache}-inductor"
    assert os.environ["TRITON_CACHE_DIR"] == f"{cache}-triton"


def test_a_cell_of_a_network_that_is_not_there_has_failed(talk: Callable[[Case], Connection]) -> None:
    failure = reply_of(talk(case("no_such_network")))
    assert isinstance(failure, Failure)
    assert failure.error.startswith("Unknown model 'no_such_network'. ")


def test_the_seed_is_that_of_torch(talk: Callable[[Case], Connection]) -> None:
    torch.manual_seed(7)
    expected = torch.rand(3)
    reply_of(talk(replace(case("no_such_network"), seed=7)))
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize(
    ("what", "keeps"),
    [
        (case("no_such_network"), True),
        (case("no_such_network", role="aa_control"), True),
        (replace(case("no_such_network"), task="accuracy"), True),
        (case("no_such_network", role="memory"), False),  # its peak is that of a process as it comes
        (case("no_such_network", Variant(name="default_malloc", default_malloc=True)), False),
    ],
)
def test_what_a_pass_frees_is_kept(
    talk: Callable[[Case], Connection],
    monkeypatch: pytest.MonkeyPatch,
    what: Case,
    keeps: bool,  # noqa: FBT001  # a case
) -> None:
    told = list[str]()
    monkeypatch.setattr("cnnbench.workers.worker.keep_freed_memory", lambda: told.append("keep"))
    reply_of(talk(what))
    assert told == ["keep"] * keeps


def test_lazy_layers_get_their_shapes_from_a_pass() -> None:
    spec = ModelSpec(
        name="lazy",
        family="none",
        source="made here",
        input_shape=(3, 8, 8),
        build=lambda: nn.Sequential(nn.LazyConv2d(4, 3), nn.LazyBatchNorm2d(), nn.Flatten(), nn.LazyLinear(2)),
    )
    model = build(spec, case("lazy", shape=(3, 8, 8)), [])
    assert [tuple(p.shape) for p in model.parameters()] == [(4, 3, 3, 3), (4,), (4,), (4,), (2, 144), (2,)]
    assert model.training
    assert [float(b) for name, b in model.named_buffers() if "tracked" in name] == [0.0]
