"""Every built-in under pytest-benchmark: passes of inference and steps of training, eager and in the native variants.

`pytest bench --benchmark-only -m small` is the tier that CI runs; bench/README.md says how long it takes and what it
tells. What is timed is what `cnnbench compare` times: the same preparation, inputs, passes, first call apart, warm-up
and sample length. But cells run one after the other here, in one process, so two runs of it give no verdict.
"""

from __future__ import annotations

import gc
import math
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import msgspec
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from cnnbench.clock import wall_clock
from cnnbench.models import MODELS
from cnnbench.record import Environment
from cnnbench.spec import Budget, Case, ModelSpec, Task
from cnnbench.stats import FEWEST_FOR_INTERVAL
from cnnbench.task_runners import runner_for
from cnnbench.timing.warmup import WARM_CAP_S
from cnnbench.variants import Prepared, parse_variant, prepare, support

VARIANTS = ("eager", "channels_last", "amp", "bf16", "compile")
"""All single variants of a CPU but `compile_max_autotune`, whose compiling takes minutes."""

BATCH_SIZES: dict[Task, int] = {"infer": 1, "train": 8}
"""Images of a pass, and of a step: batch normalisation cannot be trained with one image."""

SMALL_MACS = 20_000_000
MEDIUM_MACS = 1_000_000_000
"""Multiply-adds of one image up to which a model is `small`, and `medium`: eleven models of the tutorials, then
MobileNetV2; ResNet-18 and VGG-16 are `large`."""

PLAIN = ("eager", "channels_last")
"""Variants of the small tier: it must end in two minutes on two cores."""

SMALL_WARM_S = 1.0
"""Longest warm-up of a small cell: the tier must end in two minutes on a noisy machine, too."""

LARGE_S = 1800
"""Longest time for one large cell: VGG-16 compiled for training takes minutes on two cores."""

pytestmark = [
    pytest.mark.benchmark(disable_gc=True),
    pytest.mark.filterwarnings("ignore"),  # as in workers: what a library deprecates is not what is measured
]


def size_of(spec: ModelSpec, variant: str) -> str:
    """Return the tier of a cell: by its model's work, and higher for what must be compiled or is no plain variant."""
    macs = spec.macs or math.inf
    if macs <= SMALL_MACS and variant in PLAIN:
        return "small"
    return "medium" if macs <= (SMALL_MACS if variant == "compile" else MEDIUM_MACS) else "large"


def cell(spec: ModelSpec, variant: str) -> Any:
    """Return the parameters of a cell, marked by its size."""
    size = size_of(spec, variant)
    marks = [getattr(pytest.mark, size), *([pytest.mark.timeout(LARGE_S)] if size == "large" else [])]
    return pytest.param(spec.name, variant, marks=marks, id=f"{spec.name}-{variant}")


CELLS = [cell(spec, variant) for spec in MODELS.values() for variant in VARIANTS]


@pytest.mark.parametrize(("model", "variant"), CELLS)
def test_infer(benchmark: BenchmarkFixture, here: Here, model: str, variant: str) -> None:
    """Time passes over one image."""
    measure(benchmark, case_of(model, variant, "infer", here.threads), here)


@pytest.mark.parametrize(("model", "variant"), CELLS)
def test_train(benchmark: BenchmarkFixture, here: Here, model: str, variant: str) -> None:
    """Time optimisation steps on eight images: forward pass and loss, backward pass, optimiser."""
    measure(benchmark, case_of(model, variant, "train", here.threads), here)


def case_of(model: str, variant: str, task: Task, threads: int) -> Case:
    """Return the case of a cell on the CPU, as `cnnbench compare` would record it."""
    return Case(
        model=model,
        variant=parse_variant(variant, device="cpu", threads=threads),
        task=task,
        device="cpu",
        batch_size=BATCH_SIZES[task],
        input_shape=MODELS[model].input_shape,
        seed=0,
        budget=Budget(total_s=0.0, timeout_s=0.0),  # there is none: rounds are counted
    )


def measure(benchmark: BenchmarkFixture, case: Case, here: Here) -> None:
    """Time a cell in rounds of one sample each, after its first call and its warm-up.

    Inside a round are `iterations` passes, which fill 10 ms, with the garbage collector off; outside are building,
    inputs, the first call, which compiles, and the warm-up, until passes become no faster. Rounds follow each other at
    once, so nothing cools down between them. There are as many as fill --benchmark-max-time, six at least.
    """
    import torch

    from cnnbench.timing.latency_job import check_first
    from cnnbench.workers.messages import Warm
    from cnnbench.workers.worker import build, make_ready

    possible = support(case.variant, device=case.device, environment=here.environment)
    if possible.status != "native":
        pytest.skip(f"{case.variant.name} is {possible.status} here: {possible.reason}")
    torch.manual_seed(case.seed)
    spec = MODELS[case.model]
    prepared = prepare(build(spec, case, []), case.variant, case.device)
    benchmark.group = f"{case.model} {case.task} batch {case.batch_size}"
    with mode(case, prepared):
        work = runner_for(case).load()(spec, case, prepared)
        if benchmark.disabled:
            check_first(work.first())
            benchmark.pedantic(work.repeat, args=(1,))
            return
        cap_s = SMALL_WARM_S if size_of(spec, case.variant.name) == "small" else WARM_CAP_S
        ready = make_ready(work, wall_clock(), Warm(), cap_s=cap_s)
        benchmark.extra_info.update(
            case=msgspec.to_builtins(case.key()),
            environment=msgspec.to_builtins(here.environment),
            warmup_s=ready.warmup_s,
            iteration_s=ready.iteration_s,  # at the end of the warm-up, from which iterations and rounds follow
            reading_s=ready.reading_s,
            **{"compile_s" if case.variant.compile_mode else "first_call_s": ready.first_call_s},
        )
        with forbid_recompiles(case):
            benchmark.pedantic(
                work.repeat,
                args=(1,),
                iterations=ready.shape.iterations,
                rounds=here.rounds(ready.iteration_s * ready.shape.iterations),
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class Here:
    """The machine, and what pytest-benchmark was asked for: seconds of rounds, and the fewest rounds."""

    environment: Environment
    threads: int
    max_time_s: float
    min_rounds: int

    def rounds(self, sample_s: float) -> int:
        """Return how many rounds of `sample_s` fill --benchmark-max-time: six at least, the fewest with an interval."""
        return max(FEWEST_FOR_INTERVAL, self.min_rounds, math.ceil(self.max_time_s / sample_s))


@pytest.fixture(scope="session")
def here(environment: Environment, threads: int, pytestconfig: pytest.Config) -> Here:
    """Return what all cells share."""
    return Here(
        environment=environment,
        threads=threads,
        max_time_s=float(pytestconfig.getoption("benchmark_max_time")),
        min_rounds=pytestconfig.getoption("benchmark_min_rounds"),
    )


@contextmanager
def mode(case: Case, prepared: Prepared) -> Iterator[None]:
    """Be in the mode in which workers make their passes: no gradients for inference, autocast entered once."""
    import torch

    if case.task != "infer":
        yield
        return
    with torch.no_grad(), prepared.context():
        yield


def forbid_recompiles(case: Case) -> AbstractContextManager[object]:
    """Return what to time inside of: a cell that compiles once more while it is timed fails."""
    if not case.variant.compile_mode:
        return nullcontext()
    from cnnbench.inspection.compile_stats import forbid_recompiles

    return forbid_recompiles()


@pytest.fixture(autouse=True)
def clean() -> Iterator[None]:
    """Let nothing of a cell be there when the next one is measured."""
    yield
    gc.collect()
    if "torch._dynamo" in sys.modules:
        import torch

        torch.compiler.reset()
