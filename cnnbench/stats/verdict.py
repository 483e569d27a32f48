"""Turn an interval into a verdict, given the smallest difference that matters."""

from __future__ import annotations

import math
from typing import Literal

from cnnbench.stats.rounds import Effect

Verdict = Literal["FASTER", "SLOWER", "SAME", "NOT DISTINGUISHABLE"]


def verdict_of(effect: Effect, delta: float) -> Verdict:
    """Return the verdict on `effect`; `delta` is the smallest relative difference that matters.

    FASTER or SLOWER: the interval lies wholly beyond +-ln(1 + delta). SAME: it lies wholly inside. All else, and an
    effect without an interval, is NOT DISTINGUISHABLE.
    """
    if effect.low is None or effect.high is None:
        return "NOT DISTINGUISHABLE"
    # In ln, so that faster and slower have the same limit.
    limit = math.log1p(delta)
    if effect.low > limit:
        return "FASTER"
    if effect.high < -limit:
        return "SLOWER"
    if -limit < effect.low and effect.high < limit:
        return "SAME"
    return "NOT DISTINGUISHABLE"
