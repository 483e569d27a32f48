"""Experiments on made-up times of a noisy machine: false alarms, coverage under the stop rule, percentiles."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from cnnbench.orchestrator.blocks import LEAST_BLOCKS, LOOKS, MEASURED_S
from cnnbench.orchestrator.group import FEWEST_SETS, MOST_SETS
from cnnbench.selftest import Found, Setting
from cnnbench.selftest.noise import JITTER, Array, correlated, differences
from cnnbench.stats import (
    FEWEST_FOR_P95,
    FEWEST_FOR_P99,
    WIDTH_SHARED,
    Effect,
    Interval,
    compare_paired,
    p95,
    p99,
    p_values,
)

BLOCKS = 40
"""Blocks of a simulated A/A comparison: one of the looks, and about what a cell takes in a few seconds. Our choice."""

LARGEST_EFFECT = 0.10
"""True effects are drawn between minus and plus this, in ln: coverage must not depend on the effect. Our choice."""

BLOCK_LOW_S = 0.03
BLOCK_HIGH_S = 0.5
"""Seconds of a block, drawn between these with uniform logarithms: from two small networks to two large ones."""

SET_EFFECT = 0.01
"""Standard deviation of what starting a set of workers shifts (docs/measurement.md: 1 % or so)."""

STRONG = 0.9
"""Correlation of d from one block to the next that must be caught. Our choice: the interval would be four times too
narrow."""

SERIES = 1000
CAUGHT = 0.95


@dataclass(frozen=True, kw_only=True, slots=True)
class _Alarms:
    level: float
    tries: int
    least: int
    most: int


_ALARMS = {
    "1 %": _Alarms(level=0.01, tries=1000, least=3, most=18),
    "5 %": _Alarms(level=0.05, tries=200, least=0, most=18),
}


def false_alarms(part: str, setting: Setting) -> Found:
    """V1: how many comparisons of equal cells find a difference at the level of `part`, in 40 blocks each."""
    asked = _ALARMS[part]
    rng = np.random.default_rng([setting.seed, round(1000 * asked.level)])
    rows = differences(rng, asked.tries, BLOCKS)
    effects = [compare_paired([[row.tolist()]]) for row in rows]
    alarms = sum(_differs(effect, asked.level) for effect in effects)
    at_least = f"at least {asked.least}, " if asked.least else ""
    return Found(
        measured=f"false alarms at {part} of {asked.tries} simulated A/A comparisons of {BLOCKS} blocks",
        values=(float(alarms),),
        shown=f"{alarms} of {asked.tries}",
        bound=f"{at_least}at most {asked.most}",
        holds=asked.least <= alarms <= asked.most,
    )


def _differs(effect: Effect | None, level: float) -> bool:
    assert effect is not None
    if effect.low is None:
        return False
    p = p_values(effect, 0.0)
    return min(p.faster, p.slower) <= level


def coverage(part: str, setting: Setting) -> Found:
    """V4: how many intervals cover the true effect when width stops the run; or how often correlation is caught."""
    if part == "correlated noise":
        return _caught(setting)
    several = part == "several sets of workers"
    rng = np.random.default_rng([setting.seed, 4, several])
    stopped = _after_sets if several else _after_looks
    rows = differences(rng, SERIES, LOOKS[-1])
    covered = 0
    for at, row in enumerate(rows):
        setting.tell("", at / SERIES)
        truth = rng.uniform(-LARGEST_EFFECT, LARGEST_EFFECT)
        effect = stopped(truth + row, rng)
        covered += effect is not None and _covers(effect, truth)
    least = 933
    return Found(
        measured=f"intervals of {SERIES} simulated comparisons that cover the truth, stopped by width ({part})",
        values=(float(covered),),
        shown=f"{covered} of {SERIES}",
        bound=f"at least {least}",
        holds=covered >= least,
    )


def _covers(effect: Effect, truth: float) -> bool:
    return effect.low is not None and effect.high is not None and effect.low <= truth <= effect.high


def _block_s(rng: np.random.Generator) -> float:
    return math.exp(rng.uniform(math.log(BLOCK_LOW_S), math.log(BLOCK_HIGH_S)))


def _after_looks(d: Array, rng: np.random.Generator) -> Effect | None:
    """Return the effect at the look at which width stops one set of workers, or at the last."""
    block_s, effect = _block_s(rng), None
    for blocks in LOOKS:
        if blocks * block_s >= MEASURED_S or blocks == LOOKS[-1]:
            effect = compare_paired([[d[:blocks].tolist()]])
            if _narrow(effect) and not (effect is not None and effect.doubtful):
                break
    return effect


def _after_sets(d: Array, rng: np.random.Generator) -> Effect | None:
    """Return the effect after the set of workers that width stops, or after the last; each set has its own shift."""
    blocks = max(LEAST_BLOCKS, round(SET_S / _block_s(rng)))
    sets: list[list[float]] = []
    effect = None
    for at in range(MOST_SETS):
        own = d[at * blocks : (at + 1) * blocks]
        sets.append((own + rng.normal(scale=SET_EFFECT)).tolist())
        if len(sets) >= FEWEST_SETS:
            effect = compare_paired([sets])
            if _narrow(effect):
                break
    return effect


SET_S = 3.0
"""Seconds of a set of workers in simulation: a run of a minute has about as many. Our choice."""


def _narrow(effect: Effect | None) -> bool:
    return effect is not None and effect.half_width is not None and effect.half_width <= WIDTH_SHARED


def _caught(setting: Setting) -> Found:
    """Return how often strongly correlated d's are merged or give no interval, under the same stop rule."""
    rng = np.random.default_rng([setting.seed, 44])
    rows = correlated(rng, SERIES, LOOKS[-1], memory=STRONG, deviation=math.sqrt(2) * JITTER)
    effects = [_after_looks(row, rng) for row in rows]
    caught = sum(e is not None and (e.merged > 1 or e.low is None) for e in effects)
    return Found(
        measured=f"simulated comparisons with correlated blocks ({STRONG:g}) that were merged or got no verdict",
        values=(caught / SERIES,),
        shown=f"{caught} of {SERIES}",
        bound=f"at least {CAUGHT:.0%}",
        holds=caught >= CAUGHT * SERIES,
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class _Source:
    """A source of iteration times whose true percentile at a share is known."""

    draw: Callable[[np.random.Generator, int], Array]
    percentile: Callable[[float], float]


def _bimodal(rng: np.random.Generator, count: int) -> Array:
    slow = rng.random(count) < SLOW_SHARE
    return np.where(slow, 2.0, 1.0) + rng.random(count)


def _bimodal_percentile(share: float) -> float:
    return 1 + share / (1 - SLOW_SHARE) if share < 1 - SLOW_SHARE else 2 + (share - (1 - SLOW_SHARE)) / SLOW_SHARE


SLOW_SHARE = 0.03
"""Share of the slow mode: between 1 and 5 %, so that p95 lies in the fast mode and p99 in the slow one."""

_SOURCES = {
    "exponential": _Source(
        draw=lambda rng, count: rng.exponential(size=count), percentile=lambda share: -math.log1p(-share)
    ),
    "bimodal": _Source(draw=_bimodal, percentile=_bimodal_percentile),
}

_PERCENTILES: dict[str, tuple[float, int, Callable[[list[float]], Interval | None]]] = {
    "p95": (0.95, FEWEST_FOR_P95, p95),
    "p99": (0.99, FEWEST_FOR_P99, p99),
}


def percentiles(part: str, setting: Setting) -> Found:
    """V11: how often the bound of a percentile lies above the true one, at the fewest iterations that give one."""
    name, kind = part.split()
    share, count, bound_of = _PERCENTILES[name]
    source = _SOURCES[kind]
    rng = np.random.default_rng([setting.seed, 11, count, len(kind)])
    truth = source.percentile(share)
    held = 0
    for _ in range(SERIES):
        found = bound_of(source.draw(rng, count).tolist())
        assert found is not None
        assert found.high is not None
        held += found.high >= truth
    least = 982
    return Found(
        measured=f"bounds of {name} that lie above it, {kind} source, {count} iterations",
        values=(float(held),),
        shown=f"{held} of {SERIES}",
        bound=f"at least {least}",
        holds=held >= least,
    )
