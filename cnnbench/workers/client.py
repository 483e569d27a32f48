"""The coordinator's side of the workers: start them, talk to them, learn how they died."""

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
from pathlib import Path
from typing import IO, Protocol

from cnnbench.spec import CnnbenchError, MissingError, UsageError
from cnnbench.workers.forkserver import MESSAGE_BYTES
from cnnbench.workers.messages import Failure, Reply, Request

# Modules that the fork server imports before the first fork; what a worker would otherwise import for seconds. With
# these one that takes samples imports nothing: the two runners cost each new worker 60 to 120 ms, four at a time.
PRELOADED = (
    "numpy",
    "torch",
    "torchvision",
    "cnnbench.workers.worker",
    "cnnbench.timing.job",
    "cnnbench.timing.control_workload",
)

# Imported as well where a run compiles, so that compile times hold no imports.
PRELOADED_COMPILE = ("torch._dynamo", "torch._inductor.compile_fx")

# How often threads of libgomp look for work before they sleep: 0.8 ms, a tenth of the default, unless the user says
# otherwise. The next worker's sample must wait for it. Passes took as long (docs/measurement.md): what is serial in
# them is far shorter.
SPIN_COUNT = "30000"

# How long the fork server may take to import torch; minutes on a cold disk. Our choice.
SERVER_START_S = 300.0

# How long the fork server may take to kill its workers when the run ends. Our choice.
SERVER_END_S = 5.0

_LOG_TAIL = 2000


class Ending(Protocol):
    """How a process is ended and what became of it."""

    def end(self) -> int | None:
        """Kill the process if it lives, wait for it, and return its wait status (None: not known)."""


class Worker:
    """One worker process: requests in, replies out, and a `Failure` in place of a reply when it dies or hangs."""

    def __init__(self, connection: Connection, log: IO[bytes], ending: Ending) -> None:
        self._connection = connection
        self._log = log
        self._ending = ending
        self._open = True

    def send(self, request: Request) -> None:
        """Give the worker something to do; a worker that is already dead shows itself in `receive`."""
        with suppress(OSError):
            self._connection.send(request)

    def receive(self, timeout_s: float) -> Reply:
        """Return the worker's next message; blocks without polling. After a `Failure` the worker is gone."""
        try:
            if not self._connection.poll(timeout_s):
                self.close()
                return Failure(status="timeout", error=f"no answer within {timeout_s:g} s")
            reply: Reply = self._connection.recv()
        except (EOFError, OSError):
            return self._died()
        if isinstance(reply, Failure):
            self.close()
        return reply

    def close(self) -> int | None:
        """End the process and return its wait status; closing twice does nothing."""
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

    def _died(self) -> Failure:
        last = self._last_words()
        status = self.close()
        if status is None:
            return Failure(status="failed", error=f"the worker died{last}")
        code = os.waitstatus_to_exitcode(status)
        if code == -signal.SIGKILL:
            return Failure(status="oom", error="the worker was killed, as the kernel does when memory runs out")
        how = f"died of {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        return Failure(status="failed", error=f"the worker {how}{last}")


class ForkHost:
    """A fork server in a process of its own, and the workers that it forks; Linux only."""

    def __init__(self, *, threads: int, modules: Sequence[str] = PRELOADED, python: str | None = None) -> None:
        """Start the server; `threads` fixes the size of every thread pool from the environment on.

        `python` is the interpreter of another environment, which needs what cnnbench needs, but not cnnbench: the
        server and its workers run this very code. None: the interpreter that runs this.

        Raises:
            MissingError: torch cannot be imported.
        """
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._link = ours
        self._requests = 0
        self._log = tempfile.TemporaryFile()  # noqa: SIM115  # lives as long as the server
        self._python = python
        self._code = None if python is None else _this_code()
        apart = {} if self._code is None else {"PYTHONPATH": self._code.name}
        interpreter = [sys.executable] if python is None else [python, "-P"]  # -P: nothing from the current folder
        command = [*interpreter, "-m", "cnnbench.workers.forkserver", str(theirs.fileno()), *modules]
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
            self._process.wait()
            self._log.seek(0)
            said = self._log.read().decode(errors="replace").strip().splitlines()
            mend = "Run 'pip install torch torchvision', then 'cnnbench doctor'."
            if self._python is not None:
                mend = f"Install what cnnbench needs there: '{self._python} -m pip install cnnbench'."
            raise MissingError(f"Workers cannot start: {said[-1] if said else 'no message'}. {mend}")
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
            theirs.close()
        return Worker(ours, log, _Forked(self, pid))

    def reap(self, pid: int) -> int:
        """Kill worker `pid` if it lives and return its wait status."""
        return self._ask({"reap": pid})["status"]

    def _ask(self, request: dict[str, int], *fds: int) -> dict[str, int]:
        """Return the server's answer to `request`, which hands over `fds`.

        Each request has a number, which the answer repeats: an interruption may have left an earlier answer unread.

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
        self._link.close()
        try:
            if self._ready:
                self._process.wait(SERVER_END_S)  # it kills what is left, with all that workers started
        except subprocess.TimeoutExpired:
            pass
        finally:
            self._process.kill()
            self._process.wait()
            self._log.close()
            if self._code is not None:
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
            raise UsageError("Workers of another interpreter can be had on Linux only.")
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
        """Nothing is left to end: workers are closed one by one, and daemons end with this process."""


class _Spawned:
    def __init__(self, process: multiprocessing.process.BaseProcess) -> None:
        self._process = process

    def end(self) -> int | None:
        self._process.kill()
        self._process.join()
        code = self._process.exitcode
        if code is None:
            return None
        return -code if code < 0 else code << 8


Host = ForkHost | SpawnHost


def start_host(*, threads: int, compiles: bool, python: str | None = None) -> Host:
    """Return a host for workers with `threads` threads each; `compiles`: some of them will compile.

    `python`: the interpreter of another environment, None for this one.
    """
    modules = (*PRELOADED, *(PRELOADED_COMPILE if compiles else ()))
    kind = ForkHost if sys.platform == "linux" else SpawnHost
    return kind(threads=threads, modules=modules, python=python)


def _this_code() -> tempfile.TemporaryDirectory[str]:
    """Return a folder that holds this package and nothing else, which another environment's packages can bear."""
    folder = tempfile.TemporaryDirectory(prefix="cnnbench-code-")  # lives as long as the server
    (Path(folder.name) / "cnnbench").symlink_to(Path(__file__).resolve().parent.parent)
    return folder


def worker_environment(threads: int) -> dict[str, str]:
    """Return the environment of workers: pools of `threads`, no pool in numpy, no processes beside the compiler."""
    pools = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), str(threads))
    return {
        "GOMP_SPINCOUNT": SPIN_COUNT,
        **os.environ,
        **pools,
        "OPENBLAS_NUM_THREADS": "1",  # numpy's; its pool would exist before the first fork
        "TORCHINDUCTOR_COMPILE_THREADS": "1",  # a compile pool would go on taking time beside the samples
        "PYTHONWARNINGS": "ignore",  # what a library deprecates is not what its user measures
    }
