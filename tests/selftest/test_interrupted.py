"""The command as a program that is interrupted: what it shows, and that no process is left."""

import signal
import subprocess
import time
from pathlib import Path

import psutil
import pytest

from cnnbench.selftest.results_file import load
from tests.program import PROGRAM

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_no_worker_and_no_burst_is_left_and_figures_are_kept(tmp_path: Path, number: signal.Signals) -> None:
    file = tmp_path / "proof.json"
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it, and hand that on
    words = ["selftest", "V1", "V5", "--burst", "--full", "--output", str(file), "--format", "csv"]
    process = subprocess.Popen(
        [*PROGRAM, *words], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    children: list[psutil.Process] = []
    until = time.monotonic() + 120
    while len(children) < 3 and time.monotonic() < until:  # fork server and workers of the first run of V5
        time.sleep(0.05)
        children = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert [line.split(",")[0] for line in out.splitlines()] == ["id", "V1", "V1"]
    assert err.splitlines()[-1] == "Interrupted. 2 of 10 figures were measured."
    assert "Traceback" not in err
    kept = load(file)
    assert kept is not None
    assert [figure.part for figure in kept.figures] == ["1 %", "5 %"]
    assert psutil.wait_procs(children, timeout=10)[1] == []


def test_a_burst_is_killed_when_the_proof_is_interrupted(tmp_path: Path) -> None:
    code = (
        "import time\n"
        "from cnnbench.selftest.load_burst import bursts\n"
        "from cnnbench.app.session import sigterm_interrupts\n"
        "with sigterm_interrupts(), bursts(0):\n"
        "    print('on', flush=True)\n"
        "    time.sleep(60)\n"
    )
    process = subprocess.Popen([PROGRAM[0], "-c", code], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "on\n"
    children = psutil.Process(process.pid).children(recursive=True)
    assert len(children) == 1
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=30)
    assert psutil.wait_procs(children, timeout=10)[1] == []
