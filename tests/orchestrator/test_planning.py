"""From a request to cases: which cells, in which groups, what is refused, and how long it may take."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from cnnbench import machine
from cnnbench.models import MODELS
from cnnbench.orchestrator.planning import (
    ACCURACY_SHARE,
    COMPILE_AUTOTUNE_S,
    COMPILE_S,
    COMPLEXITY_S,
    MACS_PER_S,
    PASSES,
    SAMPLING_S,
    SETUP_S,
    START_S,
    TRAINING_COST,
    Group,
    Plan,
    Refused,
    expected_s,
    fixed_s,
    make_plan,
    sampling_s,
    shape_of,
    split_reference,
    threads_of,
    work_of,
)
from cnnbench.orchestrator.run import share_s
from cnnbench.record import Environment
from cnnbench.spec import Budget, Case, MissingError, Request, Section, Shape, UsageError
from cnnbench.variants import parse_variant
from tests.made import MACHINE, case

BUDGET = Budget(total_s=60.0, timeout_s=600.0, launches=1)
NATIVE = replace(MACHINE, native_bf16=True)
GPU = replace(NATIVE, gpu="Example GPU", gpu_native_bf16=True)
NO_COMPILER = replace(NATIVE, compile_blocker="torch.compile needs a C++ compiler: install g++")
OUTSIDE = "./net.py:make"


@pytest.fixture(autouse=True)
def two_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Be on a machine with two cores."""
    monkeypatch.setattr(machine, "default_threads", lambda: 2)


def request(*sections: Section, **options: Any) -> Request:
    return replace(Request(title="t", sections=sections, budget=BUDGET), **options)


def section(*models: str, variants: tuple[str, ...] = ("eager",), **options: Any) -> Section:
    return replace(Section(models=models, variants=variants), **options)


def plan(asked: Request, environment: Environment = NATIVE, shapes: Mapping[str, Shape] | None = None) -> Plan:
    return make_plan(asked, environment, shapes or {})


def cell(model: str, variant: str = "eager", **options: Any) -> Case:
    """Return the case that is expected for a cell of `model`."""
    device = options.get("device", "cpu")
    shape = MODELS[model].input_shape if model in MODELS else (3, 9, 9)
    return replace(case(model, parse_variant(variant, device=device, threads=2), shape=shape), **options)


def names(found: Plan) -> list[list[str]]:
    return [[c.label() for c in group.cases] for group in found.groups]


# Cells and groups


def test_each_model_s_variants_make_a_group_with_eager_first() -> None:
    found = plan(request(section("lenet", "resnet18", variants=("channels_last", "compile"))))
    assert found.groups == tuple(
        Group(cases=(cell(m), cell(m, "channels_last"), cell(m, "compile"))) for m in ("lenet", "resnet18")
    )
    assert (found.refused, found.accuracy, dict(found.emulated)) == ((), (), {})


def test_batch_sizes_and_tasks_make_groups_of_their_own() -> None:
    found = plan(request(section("lenet", batch_sizes=(1, 8), tasks=("infer", "train"))))
    assert names(found) == [
        ["lenet eager cpu infer batch 1"],
        ["lenet eager cpu infer batch 8"],
        ["lenet eager cpu train batch 1"],
        ["lenet eager cpu train batch 8"],
    ]


def test_what_two_sections_ask_for_is_measured_once() -> None:
    found = plan(
        request(
            section("lenet", variants=("channels_last",)),
            section("lenet", variants=("amp", "channels_last", "eager"), batch_sizes=(1, 8)),
        )
    )
    assert names(found) == [
        ["lenet eager cpu infer batch 1", "lenet channels_last cpu infer batch 1", "lenet amp cpu infer batch 1"],
        ["lenet eager cpu infer batch 8", "lenet amp cpu infer batch 8", "lenet channels_last cpu infer batch 8"],
    ]


def test_one_sum_written_two_ways_is_one_cell() -> None:
    found = plan(request(section("lenet", variants=("compile+channels_last", "channels_last+compile"))))
    assert found.groups == (Group(cases=(cell("lenet"), cell("lenet", "channels_last+compile"))),)


def test_all_is_what_the_machine_does_natively() -> None:
    found = plan(request(section("lenet", variants=("all",))), NO_COMPILER)
    assert found.groups == (Group(cases=tuple(cell("lenet", v) for v in ("eager", "channels_last", "amp", "bf16"))),)
    assert found.refused == ()


def test_all_and_more_is_both() -> None:
    found = plan(request(section("lenet", variants=("all", "channels_last+amp"))), NO_COMPILER)
    assert [c.variant.name for c in found.groups[0].cases] == [
        "eager",
        "channels_last",
        "amp",
        "bf16",
        "channels_last+amp",
    ]


def test_a_request_s_conditions_are_in_every_case() -> None:
    asked = request(section(OUTSIDE, "lenet"), weights="pretrained", seed=7, threads=1, input_shape=(3, 64, 48))
    found = plan(asked, shapes={OUTSIDE: (3, 9, 9)})
    conditions = {
        (c.weights, c.seed, c.variant.threads, c.input_shape, c.budget)
        for c in (*found.complexity, *(c for g in found.groups for c in g.cases))
    }
    assert conditions == {("pretrained", 7, 1, (3, 64, 48), BUDGET)}


def test_models_from_outside_have_the_shape_they_turned_out_to_have() -> None:
    found = plan(request(section(OUTSIDE)), shapes={OUTSIDE: (3, 9, 9)})
    assert found.groups == (Group(cases=(cell(OUTSIDE),)),)
    assert shape_of(request(input_shape=(1, 2, 3)), OUTSIDE, {OUTSIDE: (3, 9, 9)}) == (1, 2, 3)
    assert shape_of(request(), "lenet", {}) == (3, 32, 32)


@pytest.mark.parametrize(("asked", "threads"), [(None, 2), (1, 1), (2, 2), (64, 2)])
def test_threads_are_cut_to_what_there_is(asked: int | None, threads: int) -> None:
    assert threads_of(request(threads=asked)) == threads


def test_every_model_is_counted_once() -> None:
    found = plan(request(section("lenet", batch_sizes=(1, 8)), section("resnet18", "lenet", tasks=("train",))))
    assert found.complexity == tuple(cell(m, task="complexity") for m in ("lenet", "resnet18"))


# Devices


def test_all_devices_are_those_that_are_there() -> None:
    asked = request(section("lenet", variants=("amp",)), device="all")
    assert names(plan(asked)) == [["lenet eager cpu infer batch 1", "lenet amp cpu infer batch 1"]]
    assert plan(asked, GPU).groups == (
        Group(cases=(cell("lenet"), cell("lenet", "amp"))),
        Group(cases=(cell("lenet", device="cuda"), cell("lenet", "amp", device="cuda"))),
    )


def test_a_missing_cuda_device_ends_the_run() -> None:
    with pytest.raises(MissingError) as caught:
        plan(request(section("lenet"), device="cuda"))
    assert str(caught.value) == ("No CUDA device is seen by torch here. Run 'cnnbench doctor', or take --device cpu.")


def test_counting_is_on_the_cpu_whatever_the_device() -> None:
    found = plan(request(section("lenet"), device="cuda"), GPU)
    assert found.complexity == (cell("lenet", task="complexity"),)


def test_what_the_machine_cannot_do_is_refused_with_the_reason() -> None:
    found = plan(request(section("lenet", variants=("compile", "tf32", "amp"))), NO_COMPILER)
    assert found.groups == (Group(cases=(cell("lenet"), cell("lenet", "amp"))),)
    assert found.refused == (
        Refused(case=cell("lenet", "compile"), reason="torch.compile needs a C++ compiler: install g++"),
        Refused(case=cell("lenet", "tf32"), reason="tf32 needs a CUDA device, asked for on cpu"),
    )


def test_what_the_machine_emulates_is_measured_and_told() -> None:
    found = plan(request(section("lenet", variants=("bf16",))), MACHINE)
    assert found.groups == (Group(cases=(cell("lenet"), cell("lenet", "bf16"))),)
    assert found.emulated == {
        cell("lenet", "bf16"): "Example CPU @ 2.0 GHz has no bf16 instructions, so bf16 is emulated"
    }


def test_an_unknown_variant_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match=r"^Unknown variant 'compil'\. Did you mean compile\? "):
        plan(request(section("lenet", variants=("compil",))))


# The reference


def test_a_reference_joins_the_models_and_comes_first() -> None:
    found = plan(request(section("lenet", "cifar_cnn", variants=("amp",)), reference="cifar_cnn/amp"))
    assert found.groups == (
        Group(cases=(cell("cifar_cnn", "amp"), cell("lenet"), cell("lenet", "amp"), cell("cifar_cnn"))),
    )


def test_a_reference_that_is_not_asked_for_is_added_at_every_batch_and_task() -> None:
    found = plan(
        request(
            section("lenet", batch_sizes=(1, 8)),
            section("lenet", tasks=("train",), batch_sizes=(4,)),
            reference="cifar_cnn/channels_last",
        )
    )
    reference = {"model": "cifar_cnn", "variant": "channels_last"}
    assert found.groups == tuple(
        Group(cases=(cell(**reference, **where), cell("lenet", **where), cell("cifar_cnn", **where)))
        for where in (
            {"batch_size": 1},
            {"batch_size": 8},
            {"task": "train", "batch_size": 4},
        )
    )
    assert found.complexity == tuple(cell(m, task="complexity") for m in ("lenet", "cifar_cnn"))


def test_a_reference_without_a_variant_is_eager() -> None:
    found = plan(request(section("lenet"), reference="cifar_cnn"))
    assert found.groups == (Group(cases=(cell("cifar_cnn"), cell("lenet"))),)


def test_a_reference_stands_on_every_device() -> None:
    found = plan(request(section("lenet"), reference="cifar_cnn", device="all"), GPU)
    assert found.groups == (
        Group(cases=(cell("cifar_cnn"), cell("lenet"))),
        Group(cases=(cell("cifar_cnn", device="cuda"), cell("lenet", device="cuda"))),
    )


def test_a_reference_that_cannot_be_measured_is_refused() -> None:
    with pytest.raises(UsageError) as caught:
        plan(request(section("lenet"), reference="lenet/compile"), NO_COMPILER)
    assert str(caught.value) == "The reference lenet/compile is not among the cells that can be measured here."


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("resnet18", ("resnet18", "eager")),
        ("resnet18/amp", ("resnet18", "amp")),
        ("resnet18/channels_last+compile", ("resnet18", "channels_last+compile")),
        ("torchvision:resnet50/amp", ("torchvision:resnet50", "amp")),
        ("net.py:make", ("net.py:make", "eager")),
        ("./net.py:make", ("./net.py:make", "eager")),
        ("/some/where/net.py:make", ("/some/where/net.py:make", "eager")),
        ("./net.py:make/amp", ("./net.py:make", "amp")),
    ],
)
def test_a_path_keeps_its_slashes(text: str, parts: tuple[str, str]) -> None:
    assert split_reference(text) == parts


# Accuracy


def test_accuracy_is_of_every_model_once_at_its_recipe_s_batch() -> None:
    asked = request(section("lenet", "resnet18", variants=("amp",), batch_sizes=(1, 8)), accuracy="digits")
    found = plan(asked)
    assert found.accuracy == tuple(
        cell(model, task="accuracy", dataset="digits", batch_size=batch)
        for model, batch in (("lenet", 14), ("resnet18", 64))
    )


def test_accuracy_is_on_the_first_device_and_of_models_from_outside_too() -> None:
    asked = request(section(OUTSIDE), accuracy="digits", device="cuda")
    found = plan(asked, GPU, {OUTSIDE: (3, 9, 9)})
    assert [(c.device, c.batch_size, c.variant.name) for c in found.accuracy] == [("cuda", 64, "eager")]


# Time

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
        ("compile", SETUP_S + COMPILE_S),
        ("channels_last+compile", SETUP_S + COMPILE_S),
        ("compile_max_autotune", SETUP_S + COMPILE_AUTOTUNE_S),
        ("compile_reduce_overhead", SETUP_S + COMPILE_S),
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
CELLS_S = 2 * (2 * SETUP_S + COMPILE_S) + 2 * SAMPLING_S + 2 * RESNET18_S


WARM_UP_S = 2 * 17 * 8 * (649_120 + 1_814_073_344) / 60e9  # two cells of LeNet and two of ResNet-18, batch 8


@pytest.mark.parametrize("launches", [1, 3])
def test_the_expected_time_adds_up(launches: int) -> None:
    assert expected_s(two_groups(launches)) == pytest.approx(
        2 * COMPLEXITY_S + launches * (START_S + CELLS_S + WARM_UP_S)
    )


def test_with_accuracy_measuring_is_left_as_long_as_it_takes() -> None:
    whole, measuring = expected_s(two_groups(accuracy="digits")), expected_s(two_groups())
    assert whole - ACCURACY_SHARE * whole == pytest.approx(measuring)


def test_shares_of_the_groups_and_what_comes_before_fill_the_time_left() -> None:
    groups = two_groups().groups
    left_s = 200.0
    fixed = [sum(fixed_s(c) for c in g.cases) for g in groups]
    first = share_s(groups[0], groups, left_s)
    second = share_s(groups[1], groups[1:], left_s - fixed[0] - first)
    assert sum(fixed) + first + second == pytest.approx(left_s)
    assert second == pytest.approx(share_s(groups[1], groups, left_s))
    assert first / second == pytest.approx(SAMPLING_S / RESNET18_S)


def test_the_last_group_gets_all_that_is_left() -> None:
    group = two_groups().groups[1]
    warming_up = 2 * 17 * 8 * 1_814_073_344 / 60e9
    assert share_s(group, [group], 100.0) == pytest.approx(100.0 - 2 * SETUP_S - COMPILE_S - warming_up)


@pytest.mark.parametrize("left_s", [50.0, 0.0, -10.0])
def test_where_nothing_is_left_the_share_is_nothing(left_s: float) -> None:
    groups = two_groups().groups
    assert share_s(groups[0], groups, left_s) == 0.0
