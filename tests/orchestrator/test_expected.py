"""How long cells, groups and plans are expected to take, and a group's share of what is left."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from cnnbench.orchestrator.expected import (
    ACCURACY_SHARE,
    CANARY_S,
    CHECK_COMPILED_S,
    COMPILE_AUTOTUNE_S,
    COMPILE_S,
    COMPLEXITY_S,
    EXTRA_S,
    LAYERS_S,
    MACS_PER_S,
    PASSES,
    SAMPLING_S,
    SETUP_S,
    START_S,
    TRAINING_COST,
    expected_s,
    fixed_s,
    group_s,
    sampling_s,
    share_s,
    work_of,
)
from cnnbench.orchestrator.planning import Plan
from cnnbench.spec import Case
from tests.orchestrator.asked import BUDGET, OUTSIDE, cell, plan, request, section

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
    ],
)
def test_blocks_take_as_long_as_their_passes_or_a_little_while(what: Case, expected: float) -> None:
    assert sampling_s(what) == expected


@pytest.mark.parametrize(
    ("variant", "expected"),
    [
        ("channels_last", SETUP_S),
        ("compile", SETUP_S + COMPILE_S + CHECK_COMPILED_S),
        ("channels_last+compile", SETUP_S + COMPILE_S + CHECK_COMPILED_S),
        ("compile_max_autotune", SETUP_S + COMPILE_AUTOTUNE_S + CHECK_COMPILED_S),
        ("compile_reduce_overhead", SETUP_S + COMPILE_S + CHECK_COMPILED_S),
    ],
)
def test_compiling_takes_its_time(variant: str, expected: float) -> None:
    warming_up = 17 * 649_120 / 60e9
    assert fixed_s(cell("lenet", variant)) == pytest.approx(expected + warming_up)


def two_groups(launches: int = 1, **options: Any) -> Plan:
    budget = replace(BUDGET, launches=launches)
    return plan(
        request(section("lenet", "resnet18", variants=("compile",), batch_sizes=(8,)), budget=budget, **options)
    )


RESNET18_S = PASSES * 8 * RESNET18 / MACS_PER_S
COMPILED_S = COMPILE_S + CHECK_COMPILED_S
# Of each network eager, compiled, a twin and a canary, at batch 8.
LENET_S = 3 * SETUP_S + COMPILED_S + CANARY_S + 3 * 17 * 8 * LENET / 60e9 + 4 * SAMPLING_S
RESNET18_GROUP_S = (
    3 * SETUP_S + COMPILE_S + CHECK_COMPILED_S + CANARY_S + 3 * 17 * 8 * RESNET18 / 60e9 + 3 * RESNET18_S + SAMPLING_S
)
ONCE_S = 2 * COMPLEXITY_S + 2 * LAYERS_S + 6 * EXTRA_S  # four memories, and the errors of what is compiled


def test_a_group_takes_what_its_members_take() -> None:
    found = [group_s(group) for group in two_groups().groups]
    assert found == pytest.approx([LENET_S, RESNET18_GROUP_S])
    assert found == pytest.approx([77.2 + 0.004414016, 59.2 + 12.335698739 + 43.537760256], abs=1e-6)


def test_a_cell_alone_takes_its_own_time_and_the_canary_s() -> None:
    (alone,) = plan(request(section("lenet"))).groups
    assert group_s(alone) == pytest.approx(SETUP_S + 17 * LENET / 60e9 + SAMPLING_S + CANARY_S + SAMPLING_S)


@pytest.mark.parametrize("variant", ["eager", "compile_max_autotune"])
def test_a_canary_takes_the_same_time_whatever_its_group_is_of(variant: str) -> None:
    canary = cell("resnet18", variant, batch_size=64, role="canary")
    assert (fixed_s(canary), sampling_s(canary)) == (CANARY_S, SAMPLING_S)


@pytest.mark.parametrize("launches", [1, 3])
def test_the_expected_time_adds_up(launches: int) -> None:
    assert expected_s(two_groups(launches)) == pytest.approx(ONCE_S + launches * (START_S + LENET_S + RESNET18_GROUP_S))


def test_with_accuracy_measuring_is_left_as_long_as_it_takes() -> None:
    whole, measuring = expected_s(two_groups(accuracy="digits")), expected_s(two_groups())
    assert whole - ACCURACY_SHARE * whole == pytest.approx(measuring)


def test_shares_of_the_groups_and_what_comes_before_fill_the_time_left() -> None:
    groups = two_groups().groups
    left_s = 200.0
    fixed = [sum(fixed_s(c) for c in g.members) for g in groups]
    first = share_s(groups[0], groups, left_s)
    second = share_s(groups[1], groups[1:], left_s - fixed[0] - first)
    assert sum(fixed) + first + second == pytest.approx(left_s)
    assert second == pytest.approx(share_s(groups[1], groups, left_s))
    assert first / second == pytest.approx(4 * SAMPLING_S / (3 * RESNET18_S + SAMPLING_S))


def test_the_last_group_gets_all_that_is_left() -> None:
    group = two_groups().groups[1]
    sampling = 3 * RESNET18_S + SAMPLING_S
    assert share_s(group, [group], 100.0) == pytest.approx(100.0 - (RESNET18_GROUP_S - sampling))


@pytest.mark.parametrize("left_s", [50.0, 0.0, -10.0])
def test_where_nothing_is_left_the_share_is_nothing(left_s: float) -> None:
    groups = two_groups().groups
    assert share_s(groups[0], groups, left_s) == 0.0
