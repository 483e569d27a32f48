"""Start workers, talk to them, and find out how they died: the coordinator's side."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import IO, Protocol

from cnnbench import machine
from cnnbench.spec import CnnbenchError, MissingError, UsageError
from cnnbench.workers.forkserver import MESSAGE_BYTES
from cnnbench.workers.messages import Failure, Reply, Request
from cnnbench.workers.process_environment import code_folder, worker_environment

# Modules that the fork server imports before the first fork, because each worker would need seconds for them. A worker
# that takes samples then imports nothing. The two runners alone cost each new worker 60 to 120 ms, four at a time.
PRELOADED = (
    "numpy",
    "torch",
    "torchvision",
    "cnnbench.workers.worker",
    "cnnbench.timing.latency_job",
    "cnnbench.timing.control_workload",
)

# Imported too if a run compiles, so that compile times hold no imports.
PRELOADED_COMPILE = ("torch._dynamo", "torch._inductor.compile_fx")

# Longest wait for the fork server to import torch, which takes minutes on a cold disk.
SERVER_START_S = 300.0

# Longest wait for the fork server to kill its workers when the run ends.
SERVER_END_S = 5.0

_LOG_TAIL = 2000


class Ending(Protocol):
    """How a process is ended, and what became of it."""

    def end(self) -> int | None:
        """Kill the process if it lives, wait for it, and return its wait status (None: not known)."""


class Worker:
    """One worker process: requests in, replies out, and a `Failure` in place of a reply if it dies or hangs."""

    def __init__(self, connection: Connection, log: IO[bytes], ending: Ending) -> None:
        self._connection = connection
        self._log = log
        self._ending = ending
        self._open = True
        self._oom_kills = machine.oom_kills()

    def send(self, request: Request) -> None:
        """Give the worker something to do; `receive` reports a worker that is already dead."""
        with suppress(OSError):
            self._connection.send(request)

    def receive(self, timeout_s: float) -> Reply:
        """Return the worker's next message; block without polling, and end the worker after a `Failure`."""
        try:
            if not self._connection.poll(timeout_s):
                self.close()
                return Failure(status="timeout", error=f"no answer within {timeout_s:g} s")
            reply: Reply = self._connection.recv()
        except (EOFError, OSError):
            return self._describe_death()
        if isinstance(reply, Failure):
            self.close()
        return reply

    def close(self) -> int | None:
        """End the process and return its wait status; do nothing the second time."""
        if not self._open:
            return None
        self._open = False
        self._connection.close()
        try:
            return self._ending.end()
        finally:
            self._log.close()

    def _last_words(self) -> str:
        self._log.seek(max(0, self._log.seek(0, os.SEEK_END) - _LOG_TAIL))
        said = [line.strip() for line in self._log.read().decode(errors="replace").splitlines() if line.strip()]
        return f": {said[-1]}" if said else ""

    def _describe_death(self) -> Failure:
        last = self._last_words()
        status = self.close()
        if status is None:
            return Failure(status="failed", error=f"the worker died{last}")
        code = os.waitstatus_to_exitcode(status)
        if code == -signal.SIGKILL:
            kills = machine.oom_kills()
            if kills is None or kills != self._oom_kills:
                return Failure(status="oom", error="the worker was killed, as the kernel does when memory runs out")
            return Failure(
                status="failed", error="the worker was killed (SIGKILL), not by the kernel for lack of memory"
            )
        how = f"died of {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        return Failure(status="failed", error=f"the worker {how}{last}")


class ForkHost:
    """A fork server in its own process, and the workers that it forks; Linux only."""

    def __init__(self, *, threads: int, modules: Sequence[str] = PRELOADED, python: str | None = None) -> None:
        """Start the server; `threads` sets the size of every thread pool through environment variables.

        `python` is the interpreter of another environment (None: this one). That environment needs what cnnbench
        needs, but not cnnbench: the server and its workers run this very code.

        Raises:
            MissingError: torch cannot be imported.
        """
        # A socket of packets: one packet is one message, and file descriptors travel with it.
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._link = ours
        self._requests = 0
        self._log = tempfile.TemporaryFile()  # noqa: SIM115  # lives as long as the server
        self._python = python
        # Nothing is imported from the current folder (-P): a user's own random.py there must not hide the library's. So
        # this package comes through PYTHONPATH. Another interpreter gets nothing else of this environment.
        self._code = code_folder()
        paths = [self._code.name, os.environ.get("PYTHONPATH") if python is None else None]
        apart = {"PYTHONPATH": os.pathsep.join(filter(None, paths))}
        command = [python or sys.executable, "-P", "-m", "cnnbench.workers.forkserver", str(theirs.fileno()), *modules]
        self._process = subprocess.Popen(
            command,
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
            env=worker_environment(threads) | apart,
            start_new_session=True,  # Ctrl-C reaches the coordinator alone
        )

        theirs.close()
        self._link.settimeout(SERVER_START_S)
        self._ready = False

    def _wait_ready(self) -> None:
        if self._ready:
            return

        if not self._link.recv(MESSAGE_BYTES):
            # The server ended while it imported modules; the last line of its log is the error.
            self._process.wait()
            self._log.seek(0)
            said = self._log.read().decode(errors="replace").strip().splitlines()
            reason = said[-1] if said else "no message"
            if not reason.startswith("ModuleNotFoundError"):  # installing would not help: a limit, a damaged library
                raise CnnbenchError(
                    f"Workers cannot start: {reason}. Look at the limits ('ulimit -a') and free memory."
                )
            mend = "Run 'pip install torch torchvision', then 'cnnbench doctor'."
            if self._python is not None:
                mend = f"Install what cnnbench needs there: '{self._python} -m pip install cnnbench'."
            raise MissingError(f"Workers cannot start: {reason}. {mend}")
        self._ready = True

    def start(self) -> Worker:
        """Return a new worker."""
        self._wait_ready()
        ours, theirs = multiprocessing.Pipe()
        log = tempfile.TemporaryFile()  # noqa: SIM115  # lives as long as the worker

        try:
            pid = self._ask({"fork": True}, theirs.fileno(), log.fileno())["pid"]
        except BaseException:
            ours.close()
            log.close()
            raise
        finally:
            theirs.close()  # the worker alone holds this end, so its death closes the pipe

        return Worker(ours, log, _Forked(self, pid))

    def reap(self, pid: int) -> int:
        """Kill worker `pid` if it lives and return its wait status."""
        return self._ask({"reap": pid})["status"]

    def _ask(self, request: dict[str, int], *fds: int) -> dict[str, int]:
        """Return the server's answer to `request`, which hands over the file descriptors `fds`.

        The answer repeats the number of its request, because an interruption may have left an earlier answer unread.

        Raises:
            CnnbenchError: the server died or does not answer.
        """
        self._requests += 1
        with suppress(OSError):
            socket.send_fds(self._link, [json.dumps({**request, "number": self._requests}).encode()], fds)
            while message := self._link.recv(MESSAGE_BYTES):
                answer: dict[str, int] = json.loads(message)
                if answer.get("number") == self._requests:
                    return answer
        raise CnnbenchError("The process that starts workers died; resume the run with the same --output.")

    def close(self) -> None:
        """End the server and all workers."""
        # The closed link tells the server to kill what is left, with all that workers started.
        self._link.close()
        try:
            if self._ready:
                self._process.wait(SERVER_END_S)

        except subprocess.TimeoutExpired:
            pass
        finally:
            self._process.kill()
            self._process.wait()
            self._log.close()
            self._code.cleanup()


class _Forked:
    def __init__(self, host: ForkHost, pid: int) -> None:
        self._host = host
        self._pid = pid

    def end(self) -> int | None:
        return self._host.reap(self._pid)


class SpawnHost:
    """Workers as fresh interpreters, for systems without fork servers; every worker imports torch anew."""

    def __init__(self, *, threads: int, modules: Sequence[str] = PRELOADED, python: str | None = None) -> None:
        del modules  # a fresh interpreter imports what it needs
        if python is not None:
            raise UsageError("Workers with another interpreter are available only on Linux.")
        os.environ.update(worker_environment(threads))
        self._context = multiprocessing.get_context("spawn")

    def start(self) -> Worker:
        """Return a new worker."""
        from cnnbench.workers.worker import work

        ours, theirs = self._context.Pipe()
        process = self._context.Process(target=work, args=(theirs,), daemon=True)
        process.start()
        theirs.close()
        return Worker(ours, tempfile.TemporaryFile(), _Spawned(process))

    def close(self) -> None:
        """Do nothing: workers are closed one by one, and daemons end with this process."""


class _Spawned:
    def __init__(self, process: multiprocessing.process.BaseProcess) -> None:
        self._process = process

    def end(self) -> int | None:
        self._process.kill()
        self._process.join()
        code = self._process.exitcode
        if code is None:
            return None
        # As a wait status: a signal in the low byte, or an exit code above it.
        return -code if code < 0 else code << 8


Host = ForkHost | SpawnHost


def start_host(*, threads: int, compiles: bool, python: str | None = None) -> Host:
    """Return a host for workers with `threads` threads each; `compiles` says that some of them will compile.

    `python` is the interpreter of another environment, None for this one.
    """
    modules = (*PRELOADED, *(PRELOADED_COMPILE if compiles else ()))
    kind = ForkHost if sys.platform == "linux" else SpawnHost
    return kind(threads=threads, modules=modules, python=python)
