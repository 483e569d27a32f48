"""The margin of a group: defaults by machine, the A/A floor, and when equal workers forbid every verdict."""

import math
from dataclasses import replace

import pytest

from cnnbench.analysis.judge import Margin, asked_or_default, judge, margin_of
from cnnbench.spec import Device
from cnnbench.stats import Basis, Effect


def effect(low: float, high: float, basis: Basis = "blocks") -> Effect:
    """Return an effect whose interval of ratios is `low` to `high`."""
    values = tuple(math.log(low) + (math.log(high) - math.log(low)) * at / 11 for at in range(12))
    return Effect(
        center=math.log(low * high) / 2,
        low=math.log(low),
        high=math.log(high),
        basis=basis,
        clusters=1 if basis == "blocks" else 12,
        blocks=12,
        merged=1,
        values=values,
    )


@pytest.mark.parametrize(
    ("asked", "device", "spread", "expected"),
    [
        (None, "cpu", None, 0.03),
        (None, "cpu", 0.01, 0.03),
        (None, "cpu", 0.0099, 0.01),
        (None, "cuda", None, 0.005),
        (None, "cuda", 0.2, 0.005),
        (0.002, "cpu", None, 0.002),
        (0.1, "cuda", 0.001, 0.1),
    ],
)
def test_the_margin_is_as_asked_or_by_device_and_canary(
    asked: float | None, device: Device, spread: float | None, expected: float
) -> None:
    assert asked_or_default(asked, device, spread) == expected


@pytest.mark.parametrize(
    ("low", "high", "basis", "delta", "silenced"),
    [
        (0.99, 1.01, "blocks", 0.03, False),  # within the margin
        (0.91, 1.01, "blocks", 1 / math.sqrt(0.91 * 1.01) - 1, False),  # raised to the centre, in either direction
        (0.98, 1.10, "sets", math.sqrt(0.98 * 1.10) - 1, False),
        (1.01, 1.05, "blocks", 0.03, False),  # one set of workers: a process start shifts as much
        (1.029, 1.05, "blocks", math.sqrt(1.029 * 1.05) - 1, False),
        (1.031, 1.05, "blocks", math.sqrt(1.031 * 1.05) - 1, True),  # wholly beyond 3 %
        (0.95, 0.97, "blocks", 1 / math.sqrt(0.95 * 0.97) - 1, True),
        (1.001, 1.01, "sets", 0.03, False),
        (0.95, 0.999, "launches", 1 / 0.95 - 1, False),  # raised to the far end
        (1.031, 1.05, "sets", 0.05, True),
    ],
)
def test_the_margin_covers_what_equal_workers_differ(
    low: float, high: float, basis: Basis, delta: float, *, silenced: bool
) -> None:
    margin = margin_of(effect(low, high, basis), 0.03)
    assert margin.delta == pytest.approx(delta)
    assert margin.silenced is silenced
    doubted = basis != "blocks" and (low > 1 or high < 1)
    assert margin.same == (0.0 if doubted else 0.03)


def test_without_a_twin_or_its_interval_the_margin_stays() -> None:
    assert margin_of(None, 0.01) == Margin(delta=0.01, same=0.01)
    assert margin_of(replace(effect(1.1, 1.2), low=None, high=None), 0.01) == Margin(delta=0.01, same=0.01)


def test_where_a_twin_is_expected_there_are_no_verdicts_without_its_interval() -> None:
    silent = Margin(delta=0.01, same=0.01, silenced=True)
    assert margin_of(None, 0.01, twin_expected=True) == silent
    assert margin_of(replace(effect(1.1, 1.2), low=None, high=None), 0.01, twin_expected=True) == silent
    assert not margin_of(effect(0.99, 1.01), 0.01, twin_expected=True).silenced


def test_a_silenced_group_has_no_verdict_and_still_counts_for_the_correction() -> None:
    faster = effect(1.25, 1.26)
    loud = Margin(delta=0.03, same=0.03)
    silent = replace(loud, silenced=True)
    assert judge([faster, faster], [loud, silent]) == ("FASTER", "NOT DISTINGUISHABLE")
    many = 110  # of 12 blocks the smallest p-value is 2/2**12 = 0.00049, 102 of which are 0.05
    assert judge([faster] * 102, [loud] + [silent] * 101)[0] == "FASTER"
    assert judge([faster] * many, [loud] + [silent] * (many - 1))[0] == "NOT DISTINGUISHABLE"


def test_where_equal_workers_differ_a_large_difference_is_found_and_nothing_is_the_same() -> None:
    margin = margin_of(effect(0.95, 0.99, "sets"), 0.03)
    slower, same, close = effect(0.89, 0.92), effect(0.999, 1.001), effect(0.94, 0.96)
    assert judge([slower, same, close], [margin] * 3) == ("SLOWER", "NOT DISTINGUISHABLE", "NOT DISTINGUISHABLE")


def test_a_raised_margin_does_not_make_cells_the_same() -> None:
    close = effect(0.99, 1.04)
    assert judge([close], [Margin(delta=0.05, same=0.05)]) == ("SAME",)
    assert judge([close], [Margin(delta=0.05, same=0.03)]) == ("NOT DISTINGUISHABLE",)
