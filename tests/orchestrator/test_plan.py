"""From a request to cases: which cells, in which groups, what is refused, and what else is measured of them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from cnnbench.machine import threads_of
from cnnbench.orchestrator.plan import Group, Plan, Refused, shape_of, split_reference
from cnnbench.spec import Case, MissingError, RecipeName, UsageError
from tests.factories import MACHINE
from tests.orchestrator.plans import BUDGET, GPU, NO_COMPILER, OUTSIDE, cell, group, plan, request, section

pytestmark = pytest.mark.usefixtures("two_threads")


def names(found: Plan) -> list[list[str]]:
    return [[c.label() for c in one.cases] for one in found.groups]


def lineup(*cases: Case) -> Group:
    """Return the group of `cases` in turns, as it is expected: with nothing beside."""
    return Group(cases=tuple(replace(c, role="lineup") for c in cases))


# Cells and groups


def test_each_model_s_variants_make_a_group_with_eager_first() -> None:
    found = plan(request(section("lenet", "resnet18", variants=("channels_last", "compile"))))
    assert found.groups == (
        *(group(cell(m), cell(m, "channels_last"), cell(m, "compile")) for m in ("lenet", "resnet18")),
        lineup(cell("lenet"), cell("resnet18")),
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
    assert found.groups == (group(cell("lenet"), cell("lenet", "channels_last+compile")),)


def test_all_is_what_the_machine_does_natively() -> None:
    found = plan(request(section("lenet", variants=("all",))), NO_COMPILER)
    assert found.groups == (
        group(*(cell("lenet", v) for v in ("eager", "channels_last", "amp", "bf16", "default_malloc"))),
    )
    assert found.refused == ()


def test_all_and_more_is_both() -> None:
    found = plan(request(section("lenet", variants=("all", "channels_last+amp"))), NO_COMPILER)
    assert [c.variant.name for c in found.groups[0].cases] == [
        "eager",
        "channels_last",
        "amp",
        "bf16",
        "default_malloc",
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


def test_outside_models_get_their_discovered_shape() -> None:
    found = plan(request(section(OUTSIDE)), shapes={OUTSIDE: (3, 9, 9)})
    assert found.groups == (group(cell(OUTSIDE)),)
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
        group(cell("lenet"), cell("lenet", "amp")),
        group(cell("lenet", device="cuda"), cell("lenet", "amp", device="cuda")),
    )


def test_a_missing_cuda_device_ends_the_run() -> None:
    with pytest.raises(MissingError) as caught:
        plan(request(section("lenet"), device="cuda"))
    assert str(caught.value) == ("torch sees no CUDA device here. Run 'cnnbench doctor', or use --device cpu.")


def test_counting_is_on_the_cpu_whatever_the_device() -> None:
    found = plan(request(section("lenet"), device="cuda"), GPU)
    assert found.complexity == (cell("lenet", task="complexity"),)


def test_what_the_machine_cannot_do_is_refused_with_the_reason() -> None:
    found = plan(request(section("lenet", variants=("compile", "tf32", "amp"))), NO_COMPILER)
    assert found.groups == (group(cell("lenet"), cell("lenet", "amp")),)
    assert found.refused == (
        Refused(case=cell("lenet", "compile"), reason="torch.compile needs a C++ compiler: install g++"),
        Refused(case=cell("lenet", "tf32"), reason="tf32 needs a CUDA device, but the device is cpu"),
    )


def test_what_the_machine_emulates_is_measured_and_told() -> None:
    found = plan(request(section("lenet", variants=("bf16",))), MACHINE)
    assert found.groups == (group(cell("lenet"), cell("lenet", "bf16")),)
    assert found.emulated == {
        cell("lenet", "bf16"): "Example CPU @ 2.0 GHz has no bf16 instructions, so bf16 is emulated"
    }


def test_an_unknown_variant_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match=r"^Unknown variant 'compil'\. Did you mean compile\? "):
        plan(request(section("lenet", variants=("compil",))))


# The reference


def test_a_reference_joins_the_models_and_comes_first() -> None:
    found = plan(request(section("lenet", "cifar_cnn", variants=("amp",)), reference="cifar_cnn/amp"))
    assert found.groups == (group(cell("cifar_cnn", "amp"), cell("lenet"), cell("lenet", "amp"), cell("cifar_cnn")),)


def test_unrequested_reference_joins_every_batch_and_task() -> None:
    found = plan(
        request(
            section("lenet", batch_sizes=(1, 8)),
            section("lenet", tasks=("train",), batch_sizes=(4,)),
            reference="cifar_cnn/channels_last",
        )
    )
    reference = {"model": "cifar_cnn", "variant": "channels_last"}
    assert found.groups == tuple(
        group(cell(**reference, **where), cell("lenet", **where), cell("cifar_cnn", **where))
        for where in (
            {"batch_size": 1},
            {"batch_size": 8},
            {"task": "train", "batch_size": 4},
        )
    )
    assert found.complexity == tuple(cell(m, task="complexity") for m in ("lenet", "cifar_cnn"))


def test_a_reference_without_a_variant_is_eager() -> None:
    found = plan(request(section("lenet"), reference="cifar_cnn"))
    assert found.groups == (group(cell("cifar_cnn"), cell("lenet")),)


def test_a_reference_stands_on_every_device() -> None:
    found = plan(request(section("lenet"), reference="cifar_cnn", device="all"), GPU)
    assert found.groups == (
        group(cell("cifar_cnn"), cell("lenet")),
        group(cell("cifar_cnn", device="cuda"), cell("lenet", device="cuda")),
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


# The line-up


def test_the_line_up_holds_each_model_as_it_is_written() -> None:
    found = plan(request(section("resnet18", "lenet", "mlp", variants=("amp", "channels_last"))))
    assert found.groups[-1] == lineup(cell("resnet18"), cell("lenet"), cell("mlp"))
    assert [one.cases[0].role for one in found.groups] == ["timed", "timed", "timed", "lineup"]
    assert found.groups[-1].members == found.groups[-1].cases


def test_one_model_has_no_line_up() -> None:
    found = plan(request(section("lenet", batch_sizes=(1, 8), tasks=("infer", "train"))))
    assert {c.role for one in found.groups for c in one.cases} == {"timed"}


def test_with_a_reference_there_is_no_line_up() -> None:
    found = plan(request(section("lenet", "mlp"), reference="lenet"))
    assert found.groups == (group(cell("lenet"), cell("mlp")),)


def test_each_batch_task_and_device_has_its_line_up() -> None:
    asked = request(section("lenet", "mlp", batch_sizes=(1, 8), tasks=("infer", "train")), device="all")
    ways: list[dict[str, Any]] = [
        {"task": task, "batch_size": batch, "device": device}
        for device in ("cpu", "cuda")
        for task in ("infer", "train")
        for batch in (1, 8)
    ]
    found = plan(asked, GPU).groups
    assert found[16:] == tuple(lineup(cell("lenet", **way), cell("mlp", **way)) for way in ways)


def test_a_model_alone_at_its_batch_is_in_no_line_up() -> None:
    found = plan(request(section("lenet", "mlp"), section("lenet", batch_sizes=(8,))))
    assert found.groups[3:] == (lineup(cell("lenet"), cell("mlp")),)


def test_nothing_is_measured_beside_a_line_up() -> None:
    found = plan(request(section("lenet", "mlp", variants=("amp",))))
    beside = (*found.memory, *found.numerics, *found.layers)
    assert "lineup" not in {c.role for c in beside}
    assert len(beside) == 4 + 2 + 2


# Accuracy


def test_accuracy_is_of_every_model_once_at_its_recipe_s_batch() -> None:
    asked = request(section("lenet", "resnet18", variants=("amp",), batch_sizes=(1, 8)), accuracy="digits")
    found = plan(asked)
    assert found.accuracy == tuple(
        cell(model, task="accuracy", dataset="digits", batch_size=batch)
        for model, batch in (("lenet", 14), ("resnet18", 64))
    )


@pytest.mark.parametrize(("recipe", "batch"), [("tutorial", 64), ("as-published", 64), ("fast", 32)])
def test_the_batch_of_a_training_is_that_of_the_recipe_asked_for(recipe: RecipeName, batch: int) -> None:
    asked = replace(request(section("digit_cnn"), accuracy="digits"), recipe=recipe)
    assert [(c.recipe, c.batch_size) for c in plan(asked).accuracy] == [(recipe, batch)]
    with pytest.raises(UsageError, match=r"^There is no fast recipe for synthetic, only for digits, mnist, "):
        plan(replace(asked, accuracy="synthetic", recipe="fast"))


def test_accuracy_uses_first_device_and_includes_outside_models() -> None:
    asked = request(section(OUTSIDE), accuracy="digits", device="cuda")
    found = plan(asked, GPU, {OUTSIDE: (3, 9, 9)})
    assert [(c.device, c.batch_size, c.variant.name) for c in found.accuracy] == [("cuda", 64, "eager")]


# What is measured besides


def test_lone_cell_has_control_workload_but_no_aa_control() -> None:
    (found,) = plan(request(section("lenet"))).groups
    assert (found.aa_control, found.control_workload) == (None, cell("lenet", role="control_workload"))
    assert found.members == (cell("lenet"), cell("lenet", role="control_workload"))


def test_where_cells_are_compared_the_reference_has_a_twin() -> None:
    (found,) = plan(request(section("lenet", variants=("amp",)), reference="lenet/amp")).groups
    roles = (cell("lenet", "amp", role="aa_control"), cell("lenet", "amp", role="control_workload"))
    assert found.members == (cell("lenet", "amp"), cell("lenet"), *roles)


def memory(*cases: Case) -> tuple[Case, ...]:
    return tuple(replace(c, role="memory") for c in cases)


def numerics(*cases: Case) -> tuple[Case, ...]:
    return tuple(replace(c, role="numerics", task="infer") for c in cases)


def test_all_cells_have_a_memory_and_all_but_eager_ones_an_error() -> None:
    variants = ("channels_last", "compile")
    found = plan(request(section("lenet", "mlp", variants=variants)), MACHINE)
    own = [[cell(model, variant) for variant in ("eager", *variants)] for model in ("lenet", "mlp")]
    assert found.memory == memory(*own[0], *own[1])
    assert found.numerics == numerics(*own[0][1:], *own[1][1:])


def test_what_is_only_emulated_is_timed_and_nothing_else() -> None:
    found = plan(request(section("lenet", variants=("channels_last", "bf16"))), MACHINE)
    assert [case.variant.name for case in found.groups[0].cases] == ["eager", "channels_last", "bf16"]
    assert found.memory == memory(cell("lenet"), cell("lenet", "channels_last"))
    assert found.numerics == numerics(cell("lenet", "channels_last"))


def test_train_only_variant_has_numerics_unless_compiled() -> None:
    found = plan(request(section("lenet", variants=("channels_last", "compile"), tasks=("train",), batch_sizes=(4,))))
    own = [cell("lenet", variant, task="train", batch_size=4) for variant in ("eager", "channels_last", "compile")]
    assert found.memory == memory(*own)
    assert found.numerics == numerics(own[1])


def test_tasks_share_numerics_but_batch_sizes_do_not() -> None:
    variants = ("channels_last", "compile")
    found = plan(request(section("lenet", variants=variants, tasks=("infer", "train"), batch_sizes=(1, 8))))
    assert len(found.memory) == 12
    assert set(found.numerics) == set(numerics(*(cell("lenet", v, batch_size=b) for v in variants for b in (1, 8))))
    assert len(found.numerics) == 4


def test_reference_has_numerics_and_refused_cell_has_nothing() -> None:
    found = plan(request(section("lenet", variants=("compile",)), reference="cifar_cnn/amp"), NO_COMPILER)
    assert found.memory == memory(cell("cifar_cnn", "amp"), cell("lenet"), cell("cifar_cnn"))
    assert found.numerics == numerics(cell("cifar_cnn", "amp"))


def test_layers_are_timed_once_per_eager_network_and_device() -> None:
    tasks = ("train", "infer")
    found = plan(
        request(section("lenet", "mlp", variants=("amp",), tasks=tasks, batch_sizes=(8, 1)), device="all"), GPU
    )
    first = [cell(model, batch_size=8, device=device) for device in ("cpu", "cuda") for model in ("lenet", "mlp")]
    assert found.layers == tuple(replace(c, role="layers") for c in first)
    assert plan(request(section("lenet", tasks=("train",)))).layers == ()


def test_every_device_has_memories_and_errors_of_its_own() -> None:
    found = plan(request(section("lenet", variants=("amp",)), device="all"), GPU)
    assert found.numerics == numerics(cell("lenet", "amp"), cell("lenet", "amp", device="cuda"))
    assert found.memory == memory(*(cell("lenet", v, device=d) for d in ("cpu", "cuda") for v in ("eager", "amp")))
