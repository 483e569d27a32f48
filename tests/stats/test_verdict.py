"""Verdicts: they follow from the interval alone."""

import math

import pytest

from cnnbench.stats import Effect, Verdict, verdict_of


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (1.031, 1.2, "FASTER"),
        (1.029, 1.2, "NOT DISTINGUISHABLE"),
        (0.8, 0.97, "SLOWER"),
        (0.8, 0.975, "NOT DISTINGUISHABLE"),
        (0.98, 1.029, "SAME"),
        (0.96, 1.01, "NOT DISTINGUISHABLE"),
        (None, None, "NOT DISTINGUISHABLE"),
    ],
)
def test_verdict_is_what_the_interval_says(low: float | None, high: float | None, verdict: Verdict) -> None:
    ends = [None if end is None else math.log(end) for end in (low, high)]
    effect = Effect(center=0.0, low=ends[0], high=ends[1], rounds=3, blocks=9, values=(), error=None, degrees=2)
    assert verdict_of(effect, 0.03) == verdict
