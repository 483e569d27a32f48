"""Verdicts: what an interval says beside the difference that matters."""

from __future__ import annotations

import math
from typing import Literal

from cnnbench.stats.rounds import Effect

Verdict = Literal["FASTER", "SLOWER", "SAME", "NOT DISTINGUISHABLE"]


def verdict_of(effect: Effect, delta: float) -> Verdict:
    """Return what the interval of `effect` says, `delta` being the relative difference that matters.

    FASTER or SLOWER: it lies wholly beyond +-ln(1 + delta). SAME: wholly inside. All else is NOT DISTINGUISHABLE.
    """
    if effect.low is None or effect.high is None:
        return "NOT DISTINGUISHABLE"
    limit = math.log1p(delta)
    if effect.low > limit:
        return "FASTER"
    if effect.high < -limit:
        return "SLOWER"
    if -limit < effect.low and effect.high < limit:
        return "SAME"
    return "NOT DISTINGUISHABLE"
