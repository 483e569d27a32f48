"""How long cells and plans are expected to take, and the least that a budget must give."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from cnnbench.orchestrator.estimates import (
    CHECK_COMPILED_S,
    COMPILE_AUTOTUNE_S,
    COMPILE_S,
    COMPLEXITY_S,
    CONTROL_WORKLOAD_S,
    EXTRA_S,
    MACS_PER_S,
    PASSES,
    SAMPLING_S,
    SETUP_S,
    START_S,
    TRAINING_COST,
    TRAINING_SHARE,
    WARM_PASSES,
    check_budget,
    expected_s,
    extra_s,
    fixed_s,
    least_s,
    sampling_s,
    work_of,
)
from cnnbench.orchestrator.plan import Plan
from cnnbench.spec import Budget, Case, UsageError
from tests.orchestrator.plans import OUTSIDE, cell, plan, request, section

pytestmark = pytest.mark.usefixtures("two_threads")

LENET = 649_120
RESNET18 = 1_814_073_344


@pytest.mark.parametrize(
    ("what", "expected"),
    [
        (cell("lenet"), LENET),
        (cell("lenet", batch_size=8), 8 * LENET),
        (cell("lenet", task="train", batch_size=8), 8 * LENET * TRAINING_COST),
        (cell("lenet", "amp"), LENET),
        (cell(OUTSIDE), float("inf")),
    ],
)
def test_work_is_the_declared_multiply_adds(what: Case, expected: float) -> None:
    assert work_of(what) == expected


@pytest.mark.parametrize(
    ("what", "expected"),
    [
        (cell("lenet"), SAMPLING_S),
        (cell("resnet18", batch_size=8), PASSES * 8 * RESNET18 / MACS_PER_S),
        (cell(OUTSIDE), SAMPLING_S),
        (cell("resnet18", batch_size=64, role="control_workload"), SAMPLING_S),
    ],
)
def test_blocks_take_as_long_as_their_passes_or_a_little_while(what: Case, expected: float) -> None:
    assert sampling_s(what) == expected


@pytest.mark.parametrize(
    ("variant", "expected"),
    [
        ("channels_last", SETUP_S),
        ("compile", SETUP_S + COMPILE_S + CHECK_COMPILED_S),
        ("compile_max_autotune", SETUP_S + COMPILE_AUTOTUNE_S + CHECK_COMPILED_S),
    ],
)
def test_compiling_takes_its_time(variant: str, expected: float) -> None:
    warming_up = WARM_PASSES * LENET / MACS_PER_S
    assert fixed_s(cell("lenet", variant)) == pytest.approx(expected + warming_up)


def test_an_error_takes_longer_the_more_a_network_does() -> None:
    assert extra_s(cell("resnet18", role="numerics")) == pytest.approx(EXTRA_S + 0.4e-9 * RESNET18)
    assert extra_s(cell("resnet18", role="memory")) == pytest.approx(EXTRA_S + 0.1e-9 * RESNET18)
    assert extra_s(cell(OUTSIDE, role="memory")) == EXTRA_S


def of_lenet(**options: Any) -> Plan:
    return plan(request(section("lenet"), **options))


def test_the_expected_time_adds_up() -> None:
    group = SETUP_S + WARM_PASSES * LENET / MACS_PER_S + CONTROL_WORKLOAD_S + 2 * SAMPLING_S
    beside = COMPLEXITY_S + extra_s(cell("lenet", role="memory")) + extra_s(cell("lenet", role="layers"))
    assert expected_s(of_lenet()) == pytest.approx(START_S + group + beside)


def test_with_accuracy_measuring_is_left_as_long_as_it_takes() -> None:
    whole = expected_s(of_lenet(accuracy="digits"))
    assert whole - TRAINING_SHARE * whole == pytest.approx(expected_s(of_lenet()))


def within(total_s: float, *models: str) -> None:
    asked = request(section(*models, variants=("eager", "channels_last")))
    check_budget(replace(asked, budget=Budget(total_s=total_s, timeout_s=10.0)))


def test_a_budget_too_short_for_a_round_is_refused() -> None:
    with pytest.raises(UsageError) as caught:
        within(2.0, "lenet")
    assert str(caught.value) == (
        "A budget of 2 s is too short: measuring each cell once takes about 4 s here. Give --budget 4s or more, or "
        "fewer models or variants."
    )


def test_budgets_that_just_do_are_accepted() -> None:
    within(4.0, "lenet")
    within(15.0, "lenet", "vgg16", "mobilenet_v2")
    with pytest.raises(UsageError, match="takes about 12 s here"):
        within(8.0, "lenet", "vgg16", "mobilenet_v2")


def test_compiled_and_repeated_cells_are_not_in_the_first_round() -> None:
    plain = least_s(request(section("lenet", variants=("eager",))))
    assert least_s(request(section("lenet", variants=("eager", "compile", "all")))) == plain
    assert least_s(request(section("lenet", batch_sizes=(1, 8)))) > plain
    assert least_s(request(section(OUTSIDE))) == pytest.approx(plain, abs=0.01)


def test_a_device_is_not_measured_by_the_processor() -> None:
    asked = request(section("vgg16", batch_sizes=(64,)))
    assert least_s(replace(asked, device="cuda")) < 4.0
    assert least_s(asked) > 100.0
