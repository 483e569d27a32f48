"""Time the same callable by cnnbench's loop and by other tools, in turns (V17)."""

from __future__ import annotations

import importlib.util
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from cnnbench.clock import wall_clock
from cnnbench.quantities import show
from cnnbench.selftest import Found, NotRunHere, Setting
from cnnbench.spec import CnnbenchError
from cnnbench.timing.loop import reading_cost_s, shape_sample, take_sample
from cnnbench.timing.warmup import warm_up

if TYPE_CHECKING:
    from torch import Tensor, nn

# The model and our samples. On a quiet machine the middle half of a tool's times is no wider than the share QUIET of
# their median, as for the control workload (docs/measurement.md).
MODEL = "lenet"
ROUNDS = {"short": 150, "full": 600}
QUIET = 0.01

# Largest distance of the ratio from 1, on a quiet machine and on a shared one.
MOST_QUIET = 0.02
MOST_SHARED = 0.05

# Runs of pyperf, and the number of our samples before each of them.
PYPERF_RUNS = {"short": 4, "full": 12}
PYPERF_SAMPLES = 50

PYPERF_SETUP = (
    "import torch; from cnnbench.models import MODELS; from cnnbench.timing.work import random_inputs; "
    "torch.set_num_threads(1); torch.set_grad_enabled(False); s = MODELS['{model}']; m = s.build().eval(); "
    "x = random_inputs((1, *s.input_shape), seed=0)[0]; m(x)"
)


def compare_tools(part: str, setting: Setting) -> Found:
    """Measure the ratio of the median of cnnbench's times to that of the tool in `part` (V17)."""
    import torch

    # One thread, as the other tools have.
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.no_grad():
            ours, theirs = (_pyperf if part == "pyperf" else _timer)(setting)
    finally:
        torch.set_num_threads(before)

    # The tighter bound holds only if the times of both tools show a quiet machine.
    ratio = statistics.median(ours) / statistics.median(theirs)
    quiet = max(_spread(ours), _spread(theirs)) <= QUIET
    most = MOST_QUIET if quiet else MOST_SHARED
    times = ", ".join(show(statistics.median(taken), "seconds") for taken in (ours, theirs))
    machine = "quiet" if quiet else "shared"

    return Found(
        measured=f"median time of a pass of {MODEL} by cnnbench, over that by {part}, on a machine that is {machine}",
        values=(ratio, statistics.median(ours), statistics.median(theirs)),
        shown=f"{ratio:.4f} ({times})",
        bound=f"within {100 * most:g} %",
        holds=abs(ratio - 1) <= most,
    )


def _spread(times: Sequence[float]) -> float:
    """Return the width of the middle half of `times` over their median."""
    low, middle, high = statistics.quantiles(times, n=4)
    return (high - low) / middle


def _model() -> tuple[nn.Module, Tensor]:
    from cnnbench.models import MODELS
    from cnnbench.timing.work import random_inputs

    spec = MODELS[MODEL]
    return spec.build().eval(), random_inputs((1, *spec.input_shape), seed=0)[0]


def _sampler(model: nn.Module, images: Tensor) -> tuple[Callable[[], float], int]:
    """Return a function that takes one of our samples, in seconds per pass, and the number of passes in a sample.

    There is one input instead of several, because the other tools have one as well.
    """
    from cnnbench.timing.work import InferencePasses

    passes, clock = InferencePasses(model, [images]), wall_clock()
    warm = warm_up(passes, clock, first_s=1e-3)
    shape = shape_sample(warm.iteration_s, reading_s=reading_cost_s(clock), asynchronous=False)
    return lambda: take_sample(passes, shape, clock).sample_s / shape.iterations, shape.iterations


def _timer(setting: Setting) -> tuple[list[float], list[float]]:
    """Return the means of our samples, and those of torch's Timer over as many passes, taken in turns."""
    from torch.utils.benchmark import Timer

    model, images = _model()
    sample, passes = _sampler(model, images)
    kind = cast("Any", Timer)  # its parameters have no types
    timer = kind("model(images)", globals={"model": model, "images": images}, num_threads=1)
    ours: list[float] = []
    theirs: list[float] = []
    rounds = ROUNDS[setting.form]

    # The tool that measures first changes from round to round, because it may warm the caches for the other.
    for at in range(rounds):
        setting.on_progress("", at / rounds)
        pair: list[Callable[[], None]] = [
            lambda: ours.append(sample()),
            lambda: theirs.append(timer.timeit(passes).mean),
        ]
        for measure in pair if at % 2 else reversed(pair):
            measure()
    return ours, theirs


def _pyperf(setting: Setting) -> tuple[list[float], list[float]]:
    """Return our samples, and the values of runs of pyperf between them, each in two processes of its own."""
    if importlib.util.find_spec("pyperf") is None:
        raise NotRunHere("it needs pyperf: pip install pyperf")

    sample, _ = _sampler(*_model())
    ours: list[float] = []
    theirs: list[float] = []
    runs = PYPERF_RUNS[setting.form]

    # pyperf starts processes of its own, so turns are whole runs and not single samples.
    for at in range(runs):
        setting.on_progress(f"run {at + 1} of {runs}", at / runs)
        ours += [sample() for _ in range(PYPERF_SAMPLES)]
        theirs += _pyperf_run()
    return ours, theirs


def _pyperf_run() -> list[float]:
    with tempfile.TemporaryDirectory(prefix="cnnbench-") as scratch:
        file = Path(scratch) / "pyperf.json"
        command = [sys.executable, "-m", "pyperf", "timeit", "--quiet", "--processes", "2", "--values", "10"]
        # pyperf passes only a few variables on; without PYTHONPATH its processes might not find cnnbench.
        command += ["--warmups", "3", "--inherit-environ", "PYTHONPATH", "-o", str(file)]
        command += ["-s", PYPERF_SETUP.format(model=MODEL), "m(x)"]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
        if done.returncode != 0:
            said = (done.stderr or done.stdout).strip().splitlines() or ["no message"]
            raise CnnbenchError(f"pyperf ended with {done.returncode}: {said[-1]}")
        runs = json.loads(file.read_text(encoding="utf-8"))["benchmarks"][0]["runs"]

    # The runs of pyperf's calibration have no values.
    return [value for run in runs for value in run.get("values", [])]
