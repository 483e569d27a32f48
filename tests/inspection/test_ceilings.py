"""What a machine can do at most, under a clock that moves only when told, and once for real."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import cast

import pytest
import torch

from cnnbench.clock import Clock, FakeTime, wall_clock
from cnnbench.inspection import ceilings
from cnnbench.inspection.ceilings import (
    CeilingSamples,
    Shares,
    Trial,
    best_rates,
    disturbance_warnings,
    measure_ceilings,
    measure_shares,
    rounds,
)
from cnnbench.quantities import QUANTITIES
from cnnbench.record import Measurement, Outcome, RecordedWarning
from cnnbench.task_runners import runner_for
from tests.factories import MACHINE, case

CASE = replace(case("machine"), role="ceilings", input_shape=())


def host(fake: FakeTime) -> Clock:
    return replace(fake.clock(), asynchronous=False)


def values(outcome: Outcome) -> dict[str, float]:
    return {m.quantity: m.samples[0] for m in outcome.measurements}


def takes(fake: FakeTime, *seconds: float) -> Callable[[], None]:
    """Return work that takes `seconds` one after the other, and then the last of them for ever."""
    left = list(seconds)
    return lambda: fake.advance(left.pop(0) if len(left) > 1 else left[0])


def taken(quantity: str, amount: float, *readings_s: float) -> CeilingSamples:
    trial = Trial(quantity=quantity, amount=amount, run=lambda: None)
    return CeilingSamples(trial=trial, repeats=1, readings_s=list(readings_s))


def test_reading_includes_device_wait_but_not_preparation() -> None:
    fake = FakeTime()
    told: list[float] = []

    def prepare() -> None:
        told.append(fake.host_ns * 1e-9)
        fake.advance(100.0)

    trial = Trial(quantity="copy_bytes_per_s", amount=1.0, run=lambda: fake.enqueue(0.25), prepare=prepare)
    assert trial.timed_s(fake.clock(), 1) == 0.25
    assert trial.timed_s(fake.clock(), 4) == 0.25
    assert told == [0.0, 100.25]
    assert fake.host_ns == 100_250_000_000 + 100_000_000_000 + 5 * 250_000_000  # one run was not timed


def test_trials_take_turns_and_short_ones_are_repeated() -> None:
    fake = FakeTime()
    log: list[str] = []

    def work(name: str, seconds: float) -> Callable[[], None]:
        def run() -> None:
            log.append(name)
            fake.advance(seconds)

        return run

    long = Trial(quantity="fp32_flop_per_s", amount=8.0, run=work("long", 0.25))
    short = Trial(quantity="copy_bytes_per_s", amount=2.0, run=work("short", 0.002))
    found = rounds((long, short), host(fake), seconds=0.5, cpu_ns=lambda: 2 * fake.host_ns)
    assert [one.repeats for one in found] == [1, 3]
    assert log == ["long"] * 3 + ["short"] * 3 + ["long", *["short"] * 4] * 2
    assert [len(one.readings_s) for one in found] == [2, 2]
    assert found[0].spent_ns == [(250_000_000, 500_000_000)] * 2
    assert found[0].cores() == 2.0


def test_there_is_one_round_also_without_time() -> None:
    fake = FakeTime()
    trial = Trial(quantity="copy_bytes_per_s", amount=1.0, run=takes(fake, 1.0))
    assert [one.readings_s for one in rounds((trial,), host(fake), seconds=0.0)] == [[1.0]]


def test_too_long_trial_is_left_out_by_rate_of_earlier_ones() -> None:
    fake = FakeTime()
    sizes = [(1.0, 0.25), (2.0, 0.5), (3.0, 0.75)]
    tried = [Trial(quantity="fp32_flop_per_s", amount=a, run=takes(fake, s)) for a, s in sizes]
    other = Trial(quantity="bf16_flop_per_s", amount=9.0, run=takes(fake, 2.0))  # the first of its kind is always tried
    found = rounds((*tried, other), host(fake), seconds=0.0)
    assert [one.trial.amount for one in found] == [1.0, 2.0, 9.0]


def test_the_best_of_all_readings_counts_and_of_calls_the_median() -> None:
    found = best_rates(
        [
            taken("fp32_flop_per_s", 100.0, 2.0, 1.0, 50.0),
            taken("fp32_flop_per_s", 300.0, 4.0, 2.0),
            taken("copy_bytes_per_s", 10.0, 5.0),
            taken("dispatch_s", 100.0, 1.0, 9.0, 2.0),
        ]
    )
    assert found == (
        Measurement(quantity="fp32_flop_per_s", samples=(150.0,)),
        Measurement(quantity="copy_bytes_per_s", samples=(2.0,)),
        Measurement(quantity="dispatch_s", samples=(0.02,)),
    )


def test_a_slow_moment_does_not_lower_a_ceiling() -> None:
    fake = FakeTime()
    trial = Trial(quantity="copy_bytes_per_s", amount=6.0, run=takes(fake, 1.0, 0.5, 0.5, 8.0, 8.0, 0.25, 8.0))
    assert best_rates(rounds((trial,), host(fake), seconds=20.0)) == (
        Measurement(quantity="copy_bytes_per_s", samples=(24.0,)),
    )


def spent(*pairs: tuple[int, int]) -> CeilingSamples:
    return replace(taken("fp32_flop_per_s", 1.0, 1.0), spent_ns=list(pairs))


def test_products_that_had_to_share_the_cores_are_told() -> None:
    small, large = spent((100, 40)), spent((60, 108), (40, 72))
    copy = replace(spent((100, 200)), trial=Trial(quantity="copy_bytes_per_s", amount=1.0, run=lambda: None))
    assert disturbance_warnings([small, large, copy], 2) == ()  # 180 of 200
    assert disturbance_warnings([small, large, copy], 3) == (
        RecordedWarning(
            code="ceilings_disturbed",
            fact="the threads that measured the machine's ceilings were on a core for only 60 % of the time",
            advice="These are lower bounds. Close other programs, then run 'cnnbench doctor'.",
        ),
    )


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make everything so small that it takes no time."""
    monkeypatch.setattr(ceilings, "SIZES", {"cpu": (8, 16), "cuda": (8, 16)})
    monkeypatch.setattr(ceilings, "CONVOLUTIONS", {"cpu": (2, 1), "cuda": (2, 1)})
    monkeypatch.setattr(ceilings, "ARRAYS_BYTES", 1200)
    monkeypatch.setattr(ceilings, "SHARE_SIZE", 16)


@pytest.mark.usefixtures("small")
def test_work_is_counted_in_flops_bytes_and_calls() -> None:
    tried = ceilings.trials("cpu", native_bf16=True)
    assert [(trial.quantity, trial.amount) for trial in tried] == [
        ("fp32_flop_per_s", 2 * 8**3),
        ("fp32_flop_per_s", 2 * 16**3),
        ("bf16_flop_per_s", 2 * 8**3),
        ("bf16_flop_per_s", 2 * 16**3),
        ("conv_flop_per_s", 2 * 9 * 2 * 2 * 56 * 56),
        ("conv_flop_per_s", 2 * 9 * 2 * 2 * 56 * 56),
        ("copy_bytes_per_s", 2 * 400),
        ("triad_bytes_per_s", 3 * 400),
        ("dispatch_s", 100),
    ]
    assert {trial.quantity for trial in tried} <= set(QUANTITIES)


@pytest.mark.usefixtures("small")
def test_the_work_is_what_it_says() -> None:
    product, last = (
        ceilings._convolution("cpu", torch.contiguous_format),
        ceilings._convolution("cpu", torch.channels_last),
    )
    for trial, stride in ((product, 1), (last, 2)):
        found = cast("torch.Tensor", trial.run())
        assert (tuple(found.shape), found.stride()[3]) == ((1, 2, 56, 56), stride)
    copy, triad = ceilings._memory("cpu")
    assert torch.equal(cast("torch.Tensor", triad.run()), torch.full((100,), 4.0))
    assert torch.equal(cast("torch.Tensor", copy.run()), torch.ones(100))
    half = cast("torch.Tensor", ceilings._product(8, torch.bfloat16, "cpu", "bf16_flop_per_s").run())
    assert (half.dtype, tuple(half.shape)) == (torch.bfloat16, (8, 8))


@pytest.fixture
def pretended_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have tensors for CUDA made on the meta device, and the flags of products put back."""
    for name in ("randn", "ones"):
        make = getattr(torch, name)
        monkeypatch.setattr(torch, name, lambda *size, make=make, device=None: make(*size, device="meta"))
    monkeypatch.setattr(torch, "set_float32_matmul_precision", precisions.append)
    monkeypatch.setattr(torch.backends, "cudnn", SimpleNamespace(allow_tf32=None, benchmark=None))
    precisions.clear()


precisions: list[str] = []


@pytest.mark.usefixtures("small", "pretended_cuda")
def test_cuda_has_its_own_precisions_each_under_its_flags() -> None:
    under = {}
    for trial in ceilings.trials("cuda", native_bf16=True):
        if trial.prepare is not None:
            trial.prepare()
            cudnn = torch.backends.cudnn
            under[trial.quantity] = (precisions.pop(), cudnn.allow_tf32, cudnn.benchmark)
        trial.run()
    assert under == {
        "fp32_flop_per_s": ("highest", False, True),
        "tf32_flop_per_s": ("high", True, True),
        "fp16_flop_per_s": ("highest", False, True),
        "bf16_flop_per_s": ("highest", False, True),
        "conv_flop_per_s": ("highest", False, True),
    }


@pytest.mark.usefixtures("small", "pretended_cuda")
def test_an_old_cuda_device_has_neither_tf32_nor_bf16() -> None:
    found = dict.fromkeys(trial.quantity for trial in ceilings.trials("cuda", native_bf16=False))
    assert list(found) == [
        *("fp32_flop_per_s", "fp16_flop_per_s", "conv_flop_per_s"),
        *("copy_bytes_per_s", "triad_bytes_per_s", "dispatch_s"),
    ]


@pytest.mark.usefixtures("small")
def test_the_runner_is_that_of_the_role_and_asks_what_is_native(monkeypatch: pytest.MonkeyPatch) -> None:
    runner = runner_for(CASE)
    assert (runner.kind, runner.load()) == ("machine", ceilings.run)
    case = replace(CASE, budget=replace(CASE.budget, total_s=0.0))
    for native in (False, True):
        monkeypatch.setattr(ceilings, "probe", lambda native=native: replace(MACHINE, native_bf16=native))
        found = ceilings.run(case, wall_clock())
        assert ("bf16_flop_per_s" in values(found)) is native
        assert all(m.samples[0] > 0 for m in found.measurements)


@pytest.mark.usefixtures("small")
def test_gradients_are_not_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[bool] = []
    trial = Trial(quantity="fp32_flop_per_s", amount=1.0, run=lambda: seen.append(torch.is_grad_enabled()))
    monkeypatch.setattr(ceilings, "trials", lambda device, native_bf16: (trial,))
    measure_ceilings("cpu", wall_clock(), seconds=0.0, native_bf16=False)
    assert set(seen) == {False}


def test_measured_shares_divide_median_rates_by_known_rates(monkeypatch: pytest.MonkeyPatch) -> None:
    product, copy = taken("fp32_flop_per_s", 100.0, 1.0, 2.0, 9.0), taken("copy_bytes_per_s", 100.0, 5.0, 4.0, 3.0)
    monkeypatch.setattr(ceilings, "rounds", lambda tried, clock, seconds: (product, copy))
    monkeypatch.setattr(ceilings, "SHARE_SIZE", 8)
    monkeypatch.setattr(ceilings, "ARRAYS_BYTES", 1200)
    known = Outcome(
        measurements=best_rates([taken("fp32_flop_per_s", 80.0, 1.0), taken("copy_bytes_per_s", 50.0, 1.0)])
    )
    assert measure_shares(known, "cpu", wall_clock(), seconds=1.0) == Shares(product=50 / 80, copy=25 / 50)
