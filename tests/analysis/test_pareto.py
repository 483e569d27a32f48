"""The Pareto front: which rows no other row beats, as far as intervals tell them apart."""

from dataclasses import replace

import pytest

from cnnbench.analysis.pareto import front
from cnnbench.analysis.row import NUMERICS_FAILED, Row


def row(name: str, latency: tuple[float, float, float], top1: tuple[float, float, float]) -> Row:
    """Return a row of these intervals: low, centre, high."""
    low, middle, high = latency
    worst, usual, best = top1
    return Row(
        model=name,
        status="ok",
        latency_s=middle,
        latency_low_s=low,
        latency_high_s=high,
        top1=usual,
        top1_low=worst,
        top1_high=best,
    )


FAST = row("fast", (0.9, 1.0, 1.1), (0.78, 0.8, 0.82))
GOOD = row("good", (4.9, 5.0, 5.1), (0.93, 0.95, 0.97))


def names(*rows: Row) -> list[str]:
    return [found.model for found in front(rows)]


@pytest.mark.parametrize(
    ("third", "expected"),
    [
        (row("worse", (5.9, 6.0, 6.1), (0.85, 0.9, 0.92)), ["fast", "good"]),  # slower than good, and less often right
        (row("slow A/A control", (5.9, 6.0, 6.1), (0.93, 0.95, 0.97)), ["fast", "good"]),  # slower, and no better
        (row("near", (5.0, 5.05, 5.2), (0.92, 0.94, 0.96)), ["fast", "good", "near"]),  # intervals overlap
        (row("between", (2.9, 3.0, 3.1), (0.85, 0.9, 0.92)), ["fast", "between", "good"]),
        (row("as fast", (0.95, 1.05, 1.2), (0.6, 0.65, 0.7)), ["fast", "good"]),  # surely less often right, no faster
        (row("guess", (0.85, 0.95, 1.05), (0.6, 0.65, 0.7)), ["guess", "fast", "good"]),  # perhaps faster
    ],
)
def test_what_is_beaten_is_not_on_the_front(third: Row, expected: list[str]) -> None:
    assert names(FAST, third, GOOD) == expected


def test_rows_without_a_place_are_left_out() -> None:
    others = [
        replace(FAST, model="untested", top1=None),
        replace(FAST, model="untimed", latency_s=None),
        replace(FAST, model="failed", status="failed"),
        replace(FAST, model="wrong", warnings=NUMERICS_FAILED),
    ]
    assert names(GOOD, *others) == ["good"]
    assert names() == []
