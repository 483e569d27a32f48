"""How much longer one network takes than another, with one-sided bounds: what a gate asks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from cnnbench.stats.clusters import t_quantile
from cnnbench.stats.paired import Effect
from cnnbench.stats.verdict import holm, p_values

GATE_LEVEL = 0.01
"""Risk that a one-sided bound of a gate lies on the wrong side of the truth. A gate stops people's work, so it takes
1 % where a report takes 5 %; that a repetition must agree makes a false alarm rarer still. Our choice."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Slowdown:
    """How much longer the time is than the base's, as a share: 0.1 takes 10 % longer, below 0 is faster.

    With 99 % confidence the truth is at least `low`, and with 99 % at most `high`; both are None where the blocks are
    of fewer than three sets of workers or launches, because then nothing shows how far equal processes differ.
    `p_above` is the one-sided p-value of the truth being above the threshold that was asked about: told up to 0.5, and
    1 without bounds.
    """

    center: float
    low: float | None
    high: float | None
    p_above: float


def slowdown_of(effect: Effect, threshold: float) -> Slowdown:
    """Return the slowdown that `effect` (base against variant) shows, and how sure it is to be above `threshold`.

    The interval of d = ln(base time / variant time) over sets or launches is a t-interval around `effect.center`; its
    standard error gives the bounds -d -+ t(0.99, L-1) error, whose exponentials are the shares. `p_above` is at most
    0.01 exactly where `low` is at least `threshold`.
    """
    if effect.basis == "blocks" or effect.half_width is None:
        return Slowdown(center=math.expm1(-effect.center), low=None, high=None, p_above=1.0)
    degrees = effect.clusters - 1
    reach = effect.half_width / t_quantile(degrees) * t_quantile(degrees, 1 - GATE_LEVEL)
    return Slowdown(
        center=math.expm1(-effect.center),
        low=math.expm1(-effect.center - reach),
        high=math.expm1(-effect.center + reach),
        p_above=p_values(effect, threshold).slower / 2,  # it is told twice, to be read beside a 95 % interval
    )


def above(slowdowns: Sequence[Slowdown | None]) -> tuple[bool, ...]:
    """Return which slowdowns are above their threshold, with a risk of 1 % that any of them is not.

    Holm's correction is over those that have bounds; one without is never above.
    """
    family = [at for at, one in enumerate(slowdowns) if one is not None and one.low is not None]
    adjusted = holm([one.p_above for one in slowdowns if one is not None and one.low is not None])
    certain = {at for at, p in zip(family, adjusted, strict=True) if p <= GATE_LEVEL}
    return tuple(at in certain for at in range(len(slowdowns)))
