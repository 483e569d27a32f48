"""Two runs side by side: which rows belong together, what counts as changed, and which conditions are refused."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from cnnbench.analysis.comparability import Unlike
from cnnbench.analysis.diff import Change, Diff, Value, diff
from cnnbench.record import Record, Run
from cnnbench.spec import UsageError
from tests.factories import (
    COMPILE,
    LAST,
    MACHINE,
    beside,
    case,
    counted,
    in_rounds,
    judged,
    numerics,
    once,
    record,
    run,
    wave,
    whole_run,
)

NET = case("net")


def of(
    base: Sequence[Record | Run], head: Sequence[Record | Run], *, allow: Sequence[str] = (), everything: bool = False
) -> Diff:
    return diff(("a", base), ("b", head), allow=allow, everything=everything)


def told(found: Diff) -> list[tuple[str, str, object, object]]:
    return [(change.row.label(), change.quantity, change.base.center, change.head.center) for change in found.changes]


def only(found: Diff) -> Change:
    (change,) = found.changes
    return change


def numbers(value: Value | None) -> list[object]:
    assert value is not None
    return [value.center, value.low, value.high]


def test_a_run_beside_itself_has_not_changed() -> None:
    found = of(whole_run(), whole_run())
    assert (found.changes, found.only_base, found.only_head, found.allowed) == ((), (), (), ())
    assert found.rows == 11


def test_everything_shows_what_has_not_changed_too() -> None:
    found = of(in_rounds(NET, 0.01), in_rounds(NET, 0.01), everything=True)
    assert [(change.quantity, change.changed) for change in found.changes] == [("latency_s", False)]
    assert numbers(only(found).ratio) == pytest.approx([1.0, 0.992, 1.008], abs=2e-3)


def test_latency_changes_only_if_intervals_exclude_equality() -> None:
    change = only(of(in_rounds(NET, 0.01), in_rounds(NET, 0.011)))
    assert (change.quantity, change.changed) == ("latency_s", True)
    center, low, high = numbers(change.base)
    assert center == pytest.approx(0.01005, rel=2e-3)
    assert numbers(change.ratio) == pytest.approx([1.1, 1.1 * low / high, 1.1 * high / low])  # type: ignore[operator]
    assert of(in_rounds(NET, 0.01), in_rounds(NET, 0.01003)).changes == ()


def test_a_latency_without_interval_is_no_change() -> None:
    few = record(NET, *wave(0.02)[:1])
    short = replace(few, measurements=(replace(few.measurements[0], samples=(0.02,) * 5, blocks=tuple(range(5))),))
    assert of([record(NET, *wave(0.01))], [short]).changes == ()


def test_counts_change_by_any_difference() -> None:
    found = of(
        [counted("net", params=1000, macs=20_000), record(NET, *wave(0.01))],
        [counted("net", params=1001, macs=20_000), record(NET, *wave(0.01))],
    )
    assert told(found) == [("net", "params", 1000, 1001), ("net", "trainable_params", 1000, 1001)]


def test_what_holds_for_several_rows_of_a_network_is_told_once() -> None:
    rows = [record(NET, *wave(0.01)), record(case("net", LAST), *wave(0.01))]
    found = of(
        [counted("net", params=1000, macs=20_000), judged("net", 90, 100), *rows],
        [counted("net", params=1000, macs=20_001), judged("net", 91, 100), *rows],
    )
    assert told(found) == [("net eager cpu infer batch 1", "top1", 0.9, 0.91), ("net", "macs", 20_000, 20_001)]


def test_accuracy_changes_by_any_picture_with_its_intervals() -> None:
    change = only(of([judged("net", 90, 100)], [judged("net", 89, 100)]))
    assert (change.quantity, change.base.center, change.head.center) == ("top1", 0.9, 0.89)
    assert change.base.low == pytest.approx(0.8256343384950865)


@pytest.mark.parametrize(
    ("before", "after", "changed"),
    [(100.0, 104.9, False), (100.0, 105.1, True), (100.0, 95.3, False), (100.0, 95.2, True)],
)
def test_what_has_no_interval_changes_from_five_per_cent_on(before: float, after: float, *, changed: bool) -> None:
    runs = [
        [record(NET, *wave(0.01)), record(beside(NET, "memory"), once("peak_memory_bytes", value))]
        for value in (before, after)
    ]
    found = of(*runs)
    assert told(found) == ([("net eager cpu infer batch 1", "peak_memory_bytes", before, after)] if changed else [])


def test_what_compiling_made_and_numerical_error_are_compared() -> None:
    cell = case("net", COMPILE)

    def made(breaks: int, compile_s: float, error: float) -> list[Record]:
        facts = [once("compile_s", compile_s), once("graphs", 1), once("graph_breaks", breaks)]
        return [record(cell, *wave(0.01), *facts), record(beside(cell, "numerics"), *numerics(error, 1e-5))]

    found = of(made(0, 20.0, 1e-7), made(2, 30.0, 2e-7))
    assert [(change.quantity, change.base.center, change.head.center) for change in found.changes] == [
        ("graph_breaks", 0, 2),  # without a ratio, so first
        ("max_relative_error", 1e-7, 2e-7),
        ("compile_s", 20.0, 30.0),
    ]
    assert found.changes[0].ratio is None


def test_the_largest_change_comes_first_and_a_status_before_all() -> None:
    other, gone = case("other"), case("gone")
    base = [*in_rounds(NET, 0.01), *in_rounds(other, 0.01), record(gone, *wave(0.01))]
    head = [
        *in_rounds(NET, 0.012),
        *in_rounds(other, 0.005),
        record(gone, status="failed", error="boom"),
    ]
    assert [(change.row.model, change.quantity) for change in of(base, head).changes] == [
        ("gone", "status"),
        ("other", "latency_s"),
        ("net", "latency_s"),
    ]


def test_rows_that_only_one_run_has_are_told() -> None:
    both, first, second = record(NET, *wave(0.01)), record(case("net", LAST), *wave(0.01)), record(case("new"))
    found = of([both, first], [both, second])
    assert [row.label() for row in found.only_base] == ["net channels_last cpu infer batch 1"]
    assert [row.label() for row in found.only_head] == ["new eager cpu infer batch 1"]
    assert found.rows == 1


def test_filters_of_a_run_hide_nothing() -> None:
    filtered = run(latency_max_s=0.001, params_max=1, sort="top1")
    assert of([filtered, record(NET, *wave(0.01))], [record(NET, *wave(0.01))]).rows == 1


def test_of_several_inputs_those_that_are_alike_belong_together() -> None:
    small, large = case("net", shape=(3, 8, 8)), case("net", shape=(3, 16, 16))
    base = [*in_rounds(small, 0.01), *in_rounds(large, 0.04)]
    head = [*in_rounds(large, 0.04), *in_rounds(small, 0.02)]
    found = of(base, head)
    assert (found.rows, only(found).row.input_shape) == (2, "3x8x8")


NEWER = replace(MACHINE, torch="2.12.0", cores=4)
UNLIKE = "BASE and HEAD were measured under unlike conditions: "
ALIKE = "Measure both under the same conditions, or compare them anyway with --allow "


@pytest.mark.parametrize(
    ("head", "said"),
    [
        (
            record(NET, *wave(0.01), environment=NEWER),
            "torch is '2.11.0' and '2.12.0'; cores is 2 and 4. {alike}torch,cores.",
        ),
        (
            record(case("net", replace(NET.variant, threads=2)), *wave(0.01)),
            "threads is 1 and 2 (net eager cpu infer batch 1). {alike}threads.",
        ),
        (
            record(case("net", shape=(3, 8, 8)), *wave(0.01)),
            "input_shape is (3, 224, 224) and (3, 8, 8) (net eager cpu infer batch 1). {alike}input_shape.",
        ),
        (
            record(case("net", weights="default"), *wave(0.01)),
            "weights is 'none' and 'default' (net eager cpu infer batch 1). {alike}weights.",
        ),
    ],
)
def test_unlike_conditions_are_refused_by_name(head: Record, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        of([record(NET, *wave(0.01))], [head])
    assert str(caught.value) == UNLIKE + said.format(alike=ALIKE)


def test_diff_refuses_accuracies_on_other_data_or_recipe() -> None:
    fast = judged("net", 90, 100, dataset="digits")
    with pytest.raises(UsageError) as caught:
        of([judged("net", 90, 100)], [replace(fast, case=replace(fast.case, recipe="fast"))])
    assert str(caught.value) == (
        f"{UNLIKE}dataset is 'fashion_mnist' and 'digits' (net eager cpu accuracy batch 1); recipe is 'tutorial' and "
        f"'fast' (net eager cpu accuracy batch 1). {ALIKE}dataset,recipe."
    )


def test_seed_and_budget_are_no_conditions() -> None:
    other = replace(case("net", seed=3), budget=replace(NET.budget, total_s=1.0))
    assert of([record(NET, *wave(0.01))], [record(other, *wave(0.01))]).rows == 1


def test_what_is_allowed_is_kept_for_the_banner() -> None:
    base = in_rounds(NET, 0.01)
    head = [replace(one, environment=NEWER) for one in in_rounds(NET, 0.02)]
    with pytest.raises(UsageError, match=r"^BASE and HEAD .*: cores is 2 and 4\. .* --allow torch,cores\.$"):
        of(base, head, allow=("torch",))
    found = of(base, head, allow=("torch", "cores"))
    assert found.allowed == (
        Unlike(field="torch", base="2.11.0", head="2.12.0"),
        Unlike(field="cores", base=2, head=4),
    )
    assert only(found).quantity == "latency_s"


def test_a_run_without_records_is_refused() -> None:
    with pytest.raises(UsageError, match=r"^No case has been measured yet"):
        of([run()], [record(NET)])
