"""Check false alarms (V1), coverage under the stop rule (V4) and percentiles (V11) on simulated times."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from cnnbench.orchestrator.group import FEWEST_TO_END
from cnnbench.orchestrator.schedule import target_of
from cnnbench.selftest import Found, Setting
from cnnbench.selftest.run_intervals import Rounds, covers, effects_of_run, prior_of_run
from cnnbench.selftest.simulated_noise import Array, rounds
from cnnbench.stats import (
    CONFIDENCE,
    FEWEST_FOR_P95,
    FEWEST_FOR_P99,
    Interval,
    Prior,
    compare_rounds,
    excludes_zero,
    p95,
    p99,
)

# Comparisons of a simulated run: about as many as four models in two variants with A/A controls make.
GROUPS = 10

# Rounds of a simulated A/A comparison, and the rounds after which the budget ends a run.
ROUNDS = 12
MOST_ROUNDS = 20

# True effects are uniform between minus and plus this, in ln. Coverage must not depend on the effect.
LARGEST_EFFECT = 0.10

# Standard deviations of the logarithm of how far rounds scatter: from run to run, and from group to group in a run with
# unequal groups. Of ten such groups, one is ten times as wide as another.
MACHINES = 0.5
UNEQUAL = 0.7

# Share of bad rounds in runs that have them; more than was seen.
BAD_ROUNDS = 0.1

# Comparisons of an experiment, and how many of their intervals must contain the truth.
SERIES = 1000
LEAST_COVERED = 933


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
    """Count the comparisons of equal cells, ten in a run, whose interval at the level of `part` excludes 1 (V1)."""
    asked = _ALARMS[part]
    rng = np.random.default_rng([setting.seed, round(1000 * asked.level)])
    runs = rounds(rng, asked.tries, ROUNDS).reshape(asked.tries // GROUPS, GROUPS, ROUNDS, -1).tolist()
    # The comparisons of a group share the level of 5 %, so those of a group of five are each judged at 1 %.
    together = round((1 - CONFIDENCE) / asked.level)
    effects = [effect for run in runs for effect in effects_of_run(run, together=together)]
    alarms = sum(effect is not None and excludes_zero(effect) for effect in effects)
    at_least = f"at least {asked.least}, " if asked.least else ""

    return Found(
        measured=f"false alarms at {part} of {asked.tries} simulated A/A comparisons over {ROUNDS} rounds",
        values=(float(alarms),),
        shown=f"{alarms} of {asked.tries}",
        bound=f"{at_least}at most {asked.most}",
        holds=asked.least <= alarms <= asked.most,
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class _Groups:
    """How the groups of a simulated run scatter.

    `unequal` is a standard deviation between groups, in ln. `bad` is the share of bad rounds.
    """

    unequal: float = 0.0
    bad: float = 0.0


_GROUPS = {"equal groups": _Groups(), "unequal groups": _Groups(unequal=UNEQUAL), "bad rounds": _Groups(bad=BAD_ROUNDS)}


def coverage(part: str, setting: Setting) -> Found:
    """Count the intervals that contain the true effect, if a group ends once its interval is narrow enough (V4)."""
    kind = _GROUPS[part]
    rng = np.random.default_rng([setting.seed, 4, list(_GROUPS).index(part)])
    covered = early = 0

    for at in range(SERIES // GROUPS):
        setting.on_progress("", at * GROUPS / SERIES)
        truths = rng.uniform(-LARGEST_EFFECT, LARGEST_EFFECT, size=GROUPS)
        # One factor for the whole run times one for each group, (GROUPS, 1, 1).
        scatter = np.exp(rng.normal(scale=MACHINES) + rng.normal(scale=kind.unequal, size=(GROUPS, 1, 1)))

        # A true effect is added to the d of equal cells: it shifts all their blocks alike.
        taken = _until_narrow(
            (truths[:, None, None] + scatter * rounds(rng, GROUPS, MOST_ROUNDS, bad=kind.bad)).tolist()
        )
        effects = effects_of_run(taken)
        covered += sum(covers(effect, truth) for effect, truth in zip(effects, truths.tolist(), strict=True))
        early += sum(len(one) < MOST_ROUNDS for one in taken)

    return Found(
        measured=f"intervals of {SERIES} simulated comparisons, {GROUPS} in a run, that hold the truth ({part}); how "
        f"many were narrow enough before {MOST_ROUNDS} rounds",
        values=(float(covered), float(early)),
        shown=f"{covered}; {early}",
        bound=f"at least {LEAST_COVERED}",
        holds=covered >= LEAST_COVERED,
    )


def _until_narrow(groups: Sequence[Rounds]) -> list[Rounds]:
    """Return the rounds of each group until its interval is narrow enough, after six rounds at the earliest."""
    taken = [group[:FEWEST_TO_END] for group in groups]
    active = set(range(len(groups)))

    # All groups together say how rounds scatter, so each new round may change the intervals of the others.
    for count in range(FEWEST_TO_END, MOST_ROUNDS + 1):
        for at in active:
            taken[at] = groups[at][:count]
        prior = prior_of_run(taken)
        active = {at for at in active if not _is_narrow(taken[at], prior)}
    return taken


def _is_narrow(taken: Rounds, prior: Prior) -> bool:
    effect = compare_rounds(taken, prior)
    return effect is not None and effect.half_width is not None and effect.half_width <= target_of("cpu")


@dataclass(frozen=True, kw_only=True, slots=True)
class _Source:
    """A source of iteration times; `percentile` returns its true percentile at a share."""

    draw: Callable[[np.random.Generator, int], Array]
    percentile: Callable[[float], float]


def _bimodal(rng: np.random.Generator, count: int) -> Array:
    slow = rng.random(count) < SLOW_SHARE
    return np.where(slow, 2.0, 1.0) + rng.random(count)


def _bimodal_percentile(share: float) -> float:
    return 1 + share / (1 - SLOW_SHARE) if share < 1 - SLOW_SHARE else 2 + (share - (1 - SLOW_SHARE)) / SLOW_SHARE


# Share of the slow mode: between 1 and 5 %, so that p95 lies in the fast mode and p99 in the slow one.
SLOW_SHARE = 0.03

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
    """Count how often the bound of a percentile lies above the true percentile (V11).

    Each bound is from the fewest iterations that give one.
    """
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

    # Bounds hold with 99 % confidence, and chance may take a few of these 990 away.
    least = 982
    return Found(
        measured=f"bounds of {name} that lie above it, {kind} source, {count} iterations",
        values=(float(held),),
        shown=f"{held} of {SERIES}",
        bound=f"at least {least}",
        holds=held >= least,
    )
