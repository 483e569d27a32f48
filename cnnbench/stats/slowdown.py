"""Estimate how much longer one model takes than another, with one-sided bounds for a gate."""

from __future__ import annotations

import math
from dataclasses import dataclass

from cnnbench.stats.rounds import Effect
from cnnbench.stats.student_t import t_quantile

# Risk that any one-sided bound of a gate is on the wrong side of the truth. A gate stops people's work, so its risk is
# 1 %, while that of a report is 5 %. A repetition must agree, which makes a false alarm rarer still.
GATE_LEVEL = 0.01


@dataclass(frozen=True, kw_only=True, slots=True)
class Slowdown:
    """How much longer the time is than that of the base, as a share: 0.1 takes 10 % longer, below 0 is faster.

    With 99 % confidence over all cells of a gate, the truth is at least `low`; with 99 % it is at most `high`. Both are
    None if there are too few rounds for an interval.
    """

    center: float
    low: float | None
    high: float | None


def slowdown_of(effect: Effect, *, comparisons: int = 1) -> Slowdown:
    """Return the slowdown of the variant in `effect`, given the number of `comparisons` (cells) in the gate."""
    # An effect is ln(base time / variant time), so a slowdown has the opposite sign.
    center = math.expm1(-effect.center)
    if effect.error is None or effect.low is None:
        return Slowdown(center=center, low=None, high=None)
    reach = t_quantile(effect.degrees, 1 - GATE_LEVEL / comparisons) * effect.error
    return Slowdown(center=center, low=math.expm1(-effect.center - reach), high=math.expm1(-effect.center + reach))


def is_above(slowdown: Slowdown, threshold: float) -> bool:
    """Return whether a slowdown is surely at least `threshold`, by its lower bound."""
    return slowdown.low is not None and slowdown.low >= threshold
