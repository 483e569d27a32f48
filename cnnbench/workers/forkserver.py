"""Run the fork server: import torch once, do nothing with it, and fork a worker on each request.

The command is `python -m cnnbench.workers.forkserver FD MODULE...`, with a Unix socket as file descriptor FD. A request
is one JSON object in one packet. `{"fork": true}` comes with two descriptors (the worker's pipe, the worker's log), and
its answer is `{"pid": N}`. `{"reap": N}` kills what is left of worker N, and its answer is `{"status": wait status}`.
An answer repeats the `number` of its request. The server kills its workers and ends when the other end closes.

This fork server is our own, because a process has only one of the standard library's (multiprocessing.forkserver). A
gate needs two at once, with different interpreters and different code.
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

# Option of Linux's prctl: the signal that a process gets when its parent dies.
_PR_SET_PDEATHSIG = 1

# Most bytes of a request or an answer.
MESSAGE_BYTES = 1024


def serve(link: socket.socket, modules: list[str]) -> None:
    """Answer requests on `link` until it closes."""
    for module in modules:
        importlib.import_module(module)

    # The client waits for this packet: all imports have succeeded.
    link.send(json.dumps({"ready": os.getpid()}).encode())
    children: set[int] = set()
    while True:
        message, fds, _, _ = socket.recv_fds(link, MESSAGE_BYTES, 2)
        # An empty packet: the client closed its end, or died.
        if not message:
            break
        request = json.loads(message)
        if "fork" in request:
            pid = _fork(link, fds)
            children.add(pid)
            answer = {"pid": pid}
        else:
            answer = {"status": _reap(request["reap"])}
            # The system may give the number to another process from now on.
            children.discard(request["reap"])
        link.send(json.dumps({**answer, "number": request.get("number")}).encode())

    for pid in children:
        _reap(pid)

    os._exit(0)  # torch takes a second to clean up, and nothing here needs it


def _fork(link: socket.socket, fds: list[int]) -> int:
    server = os.getpid()
    pid = os.fork()
    if pid:
        # The server must not hold the worker's pipe open, or nobody would see that the worker died.
        for fd in fds:
            os.close(fd)
        return pid

    # The worker ends here in any case and never returns to the server's loop.
    code = 1
    try:
        link.close()
        _die_with(server)
        _become_worker(*fds)
        code = 0
    finally:
        os._exit(code)


def _die_with(server: int) -> None:
    """Have this process killed when its parent `server` dies, and end it now if that has happened already."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != server:
        os._exit(1)


def _become_worker(pipe: int, log: int) -> None:
    """Run as a worker: the first to be killed when memory runs out, in a session that ends with it."""
    # Processes that the worker starts, such as a compiler, are in its session too, and `_reap` kills them with it.
    os.setsid()
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")

    # From here on all output of the worker goes to its log.
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.close(log)
    from cnnbench.workers.worker import work

    work(Connection(pipe))


def _reap(pid: int) -> int:
    """Kill worker `pid` with all that it started, such as a compiler, and return its wait status."""
    for kill in (os.killpg, os.kill):  # it may not have its own session yet
        with suppress(ProcessLookupError):
            kill(pid, signal.SIGKILL)
    return os.waitpid(pid, 0)[1]


if __name__ == "__main__":
    serve(socket.socket(fileno=int(sys.argv[1])), sys.argv[2:])
