"""The fork server as a process: what it needs, how its death is told, and that nothing outlives what it belongs to."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from cnnbench.spec import CnnbenchError, MissingError
from cnnbench.workers.client import ForkHost
from cnnbench.workers.process_environment import worker_environment
from tests.workers.processes import gone, pid_of

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux has fork servers")


def test_pools_of_workers_have_their_threads_and_numpy_has_none() -> None:
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "TORCHINDUCTOR_COMPILE_THREADS")
    environment = worker_environment(3)
    assert [environment[name] for name in names] == ["3", "3", "1", "1"]
    assert environment["PATH"] == os.environ["PATH"]


def test_threads_spin_shortly_unless_the_user_says_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GOMP_SPINCOUNT", raising=False)
    assert worker_environment(2)["GOMP_SPINCOUNT"] == "30000"
    monkeypatch.setenv("GOMP_SPINCOUNT", "7")
    assert worker_environment(2)["GOMP_SPINCOUNT"] == "7"


def test_a_file_of_the_user_hides_no_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("random", "tempfile", "numpy"):
        Path(f"{name}.py").write_text("raise RuntimeError('this is a script of my own')\n")
    host = ForkHost(threads=1, modules=("random", "tempfile", "numpy"))
    host.start().close()
    host.close()


def test_a_server_that_cannot_import_says_what_to_install() -> None:
    host = ForkHost(threads=1, modules=("no_such_module",))
    with pytest.raises(MissingError) as caught:
        host.start()
    host.close()
    assert str(caught.value) == (
        "Workers cannot start: ModuleNotFoundError: No module named 'no_such_module'. "
        "Run 'pip install torch torchvision', then 'cnnbench doctor'."
    )


def test_server_and_workers_end_when_the_link_closes() -> None:
    host = ForkHost(threads=1, modules=())
    workers = [host.start() for _ in range(2)]
    server = host._process
    host._link.close()
    assert server.wait(5) == 0
    assert [gone(pid_of(worker)) for worker in workers] == [True, True]
    for worker in workers:
        with pytest.raises(CnnbenchError):
            worker.close()
    host.close()


def test_a_server_that_died_is_told_and_its_workers_end() -> None:
    host = ForkHost(threads=1, modules=())
    worker = host.start()
    host._process.kill()
    host._process.wait()
    assert gone(pid_of(worker))
    died = "The process that starts workers died; resume the run with the same --output."
    with pytest.raises(CnnbenchError) as caught:
        host.start()
    assert str(caught.value) == died
    with pytest.raises(CnnbenchError) as caught:
        worker.receive(5.0)
    assert str(caught.value) == died
    host.close()


COORDINATOR = """
import os, signal, sys
from cnnbench.workers.client import ForkHost

host = ForkHost(threads=1, modules=())
workers = [host.start() for _ in range(2)]
print(host._process.pid, *(worker._ending._pid for worker in workers), flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_nothing_is_left_when_the_coordinator_is_killed() -> None:
    done = subprocess.run([sys.executable, "-c", COORDINATOR], capture_output=True, text=True, check=False, timeout=60)
    pids = [int(word) for word in done.stdout.split()]
    assert (done.returncode, done.stderr, len(pids)) == (-signal.SIGKILL, "", 3)
    assert [gone(pid) for pid in pids] == [True, True, True]


@pytest.mark.parametrize(("server", "code"), [("os.getppid()", 0), ("os.getppid() + 1", 1)])
def test_a_worker_whose_server_has_died_meanwhile_ends_at_once(server: str, code: int) -> None:
    program = f"import os; from cnnbench.workers.forkserver import _die_with; _die_with({server})"
    assert subprocess.run([sys.executable, "-c", program], check=False, timeout=60).returncode == code
