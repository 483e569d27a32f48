"""The table of experiments: complete, and every row leads to a function."""

import inspect

import pytest

from cnnbench.selftest import EXPERIMENTS, Experiment, Figure, Form, Found
from cnnbench.selftest.chance import most_wrong

CHEAP = ("V1", "V4", "V6", "V7", "V8", "V9", "V11", "V12", "V16", "V18")


def test_there_are_eighteen_in_order() -> None:
    assert list(EXPERIMENTS) == [f"V{number}" for number in range(1, 19)]
    assert tuple(e.id for e in EXPERIMENTS.values() if e.cheap) == CHEAP
    assert tuple(e.id for e in EXPERIMENTS.values() if e.loads) == ("V2", "V3", "V5")


@pytest.mark.parametrize("experiment", EXPERIMENTS.values(), ids=list(EXPERIMENTS))
def test_a_row_leads_to_a_function_of_a_part_and_a_setting(experiment: Experiment) -> None:
    assert len(inspect.signature(experiment.load()).parameters) == 2
    forms: tuple[Form, ...] = ("short", "full")
    for form in forms:
        parts = experiment.parts_of(form)
        assert len(set(parts)) == len(parts) > 0
        assert experiment.expected_s(form) > 0


def test_nothing_can_be_added() -> None:
    with pytest.raises(TypeError, match="does not support item assignment"):
        EXPERIMENTS["V19"] = EXPERIMENTS["V1"]  # type: ignore[index]


def test_only_the_slowdown_has_other_parts_in_the_short_form() -> None:
    assert EXPERIMENTS["V5"].parts_of("short") == ("0 to 15 %",)
    assert EXPERIMENTS["V5"].parts_of("full") == ("0 %", "5 %", "10 %", "15 %")
    assert [e.id for e in EXPERIMENTS.values() if e.short_parts] == ["V5"]


@pytest.mark.parametrize("holds", [True, False, None])
def test_a_figure_holds_as_what_was_found(holds: bool | None) -> None:  # noqa: FBT001
    found = Found(measured="a", holds=holds)
    assert Figure(id="V1", part="", form="short", load="idle", found=found, seconds=1.0).holds is holds


@pytest.mark.parametrize(
    ("tries", "share", "most"),
    [(100, 0.05, 10), (20, 0.05, 3), (4, 0.05, 1), (100, 0.01, 3), (20, 0.01, 1)],
)
def test_short_bounds_fail_by_chance_at_most_once_in_fifty(tries: int, share: float, most: int) -> None:
    assert most_wrong(tries, share) == most
