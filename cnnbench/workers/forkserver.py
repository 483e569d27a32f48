"""The fork server: imports torch once, does nothing with it, and forks a worker whenever it is told to.

Started as `python -m cnnbench.workers.forkserver FD MODULE...`, with a Unix socket as file descriptor FD. One request
is one JSON object in one packet: `{"fork": true}` with two descriptors (the worker's pipe, the worker's log), answered
by `{"pid": N}`; `{"reap": N}` kills what is left of worker N and answers `{"status": wait status}`. An answer repeats
its request's `number`. When the other end closes, the workers are killed and the server ends.
"""

from __future__ import annotations

import ctypes
import importlib
import json
import os
import signal
import socket
import sys
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path

# Linux: the signal that a process gets when its parent dies.
_PR_SET_PDEATHSIG = 1

MESSAGE_BYTES = 1024


def serve(link: socket.socket, modules: list[str]) -> None:
    """Answer requests on `link` until it closes."""
    for module in modules:
        importlib.import_module(module)

    link.send(json.dumps({"ready": os.getpid()}).encode())
    children: set[int] = set()
    while True:
        message, fds, _, _ = socket.recv_fds(link, MESSAGE_BYTES, 2)
        if not message:
            break
        request = json.loads(message)
        if "fork" in request:
            pid = _fork(link, fds)
            children.add(pid)
            answer = {"pid": pid}
        else:
            answer = {"status": _reap(request["reap"])}
            children.discard(request["reap"])
        link.send(json.dumps({**answer, "number": request.get("number")}).encode())

    for pid in children:
        _reap(pid)

    os._exit(0)  # torch's own tidying up takes a second, and nothing here needs it


def _fork(link: socket.socket, fds: list[int]) -> int:
    server = os.getpid()
    pid = os.fork()
    if pid:
        for fd in fds:
            os.close(fd)
        return pid

    code = 1
    try:
        link.close()
        _die_with(server)
        _become_worker(*fds)
        code = 0
    finally:
        os._exit(code)


def _die_with(server: int) -> None:
    """Let this process live no longer than its parent `server`, which may have died already."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != server:
        os._exit(1)


def _become_worker(pipe: int, log: int) -> None:
    """Live and end as a worker: first to be killed when memory runs out, in a session that ends with it."""
    os.setsid()
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.close(log)
    from cnnbench.workers.worker import work

    work(Connection(pipe))


def _reap(pid: int) -> int:
    """Kill worker `pid` with all that it started, such as a compiler, and return its wait status."""
    for kill in (os.killpg, os.kill):  # it may not have come to its own session yet
        with suppress(ProcessLookupError):
            kill(pid, signal.SIGKILL)
    return os.waitpid(pid, 0)[1]


if __name__ == "__main__":
    serve(socket.socket(fileno=int(sys.argv[1])), sys.argv[2:])
