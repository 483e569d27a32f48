"""What exceptions are turned into, and a coordinator that has gone."""

import multiprocessing

import pytest
import torch

from cnnbench.orchestrator.messages import Failure
from cnnbench.orchestrator.worker import describe, work
from cnnbench.spec import CnnbenchError, InvalidError, UnsupportedError


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

    monkeypatch.setattr("cnnbench.orchestrator.worker._serve", serve)
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
