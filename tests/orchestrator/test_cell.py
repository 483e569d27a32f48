"""How wide the interval of a cell is: by blocks, by sets of workers, of the reference, without voided samples."""

import math
from collections.abc import Sequence

import pytest

from cnnbench.orchestrator.cell import Cell, width
from cnnbench.spec import Role
from tests.made import LAST, case
from tests.orchestrator.pretended import sample

SIX = (0.0, 0.01, -0.01, 0.03, -0.02, 0.0)
"""Differences that are not correlated; the interval of six values is their range."""


def cell(latencies: Sequence[float], *, first: int = 0, voided: Sequence[int] = (), role: Role = "timed") -> Cell:
    made = Cell(case=case("net", LAST, role=role))
    made.samples |= {first + at: sample(value) for at, value in enumerate(latencies)}
    made.voided |= dict.fromkeys(voided, "stolen")
    return made


def slower(*differences: float, voided: Sequence[int] = ()) -> Cell:
    """Return a cell that is slower than a second by `differences` of logarithms."""
    return cell([math.exp(d) for d in differences], voided=voided)


def steady(count: int, *, voided: Sequence[int] = ()) -> Cell:
    return cell([1.0] * count, voided=voided)


def test_within_one_set_the_interval_is_that_of_the_blocks() -> None:
    assert width(slower(*SIX), steady(6), [0]) == pytest.approx(0.025)


def test_what_both_saw_is_no_difference() -> None:
    assert width(cell([1.0, 2.0, 3.0] * 2), cell([1.0, 2.0, 3.0] * 2), [0]) == 0.0


def test_two_sets_are_still_judged_by_their_blocks() -> None:
    assert width(slower(*SIX), steady(6), [0, 3]) == pytest.approx(0.025)


def test_from_three_sets_on_the_interval_is_that_of_their_centres() -> None:
    t_of_two = 4.302652729911275  # the 0.975 quantile
    differences = (0.0, 0.0, 0.01, 0.01, 0.02, 0.02)
    assert width(slower(*differences), steady(6), [0, 2, 4]) == pytest.approx(t_of_two * 0.01 / math.sqrt(3))


def test_sets_without_a_block_of_the_cell_do_not_count() -> None:
    t_of_two = 4.302652729911275
    differences = (0.0, 0.0, 0.01, 0.01, 0.02, 0.02)
    assert width(slower(*differences), steady(9), [0, 2, 4, 6, 8]) == pytest.approx(t_of_two * 0.01 / math.sqrt(3))


@pytest.mark.parametrize(("own", "base"), [((2,), ()), ((), (2,)), ((2,), (2,))])
def test_blocks_that_are_voided_in_either_are_left_out(own: tuple[int, ...], base: tuple[int, ...]) -> None:
    differences = (0.0, 0.01, 9.0, -0.01, 0.03, -0.02, 0.0)
    assert width(slower(*differences, voided=own), steady(7, voided=base), [0]) == pytest.approx(0.025)


@pytest.mark.parametrize("taken", [0, 5])
def test_below_six_blocks_there_is_no_interval(taken: int) -> None:
    assert width(steady(taken), steady(6), [0]) == math.inf


def test_cells_without_a_common_block_have_no_interval() -> None:
    assert width(cell([1.0] * 6, first=6), steady(6), [0]) == math.inf


def test_the_reference_is_as_wide_as_its_median_s_interval() -> None:
    reference = cell([1.0, 1.1, 1.2, 1.2, 1.3, 1.4])
    assert width(reference, reference, [0]) == pytest.approx(0.2 / 1.2)
    assert width(reference, reference, [0, 2, 4]) == pytest.approx(0.2 / 1.2)


@pytest.mark.parametrize("reference", [steady(0), steady(5), steady(6, voided=range(6)), steady(6, voided=[0])])
def test_a_reference_of_fewer_than_six_good_samples_has_no_interval(reference: Cell) -> None:
    assert width(reference, reference, [0]) == math.inf


def test_a_canary_is_always_narrow_enough() -> None:
    assert width(cell([1.0, 9.0] * 3, role="canary"), steady(6), [0]) == 0.0
    assert width(cell([], role="canary"), steady(6), [0]) == 0.0


def test_a_twin_is_judged_as_a_cell() -> None:
    assert width(cell([math.exp(d) for d in SIX], role="twin"), steady(6), [0]) == pytest.approx(0.025)
