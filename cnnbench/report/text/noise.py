"""The noise card in words: a line for each thing that it says."""

from __future__ import annotations

from collections.abc import Sequence

from cnnbench.analysis.noise import CanaryNoise, NoiseCard, TwinNoise
from cnnbench.quantity import digits3, show, show_range
from cnnbench.text import listed, number_of

NO_CHECK = "no A/A twin and no canary in these records"
"""Said of records that hold neither."""

MOST_NAMED = 3
"""Groups whose A/A interval excludes 1 that a terminal gets by name. Our choice."""


def card_lines(card: NoiseCard, most_named: int | None = None) -> tuple[str, ...]:
    """Return the card as two or three lines: A/A check, canary, and the machine with what was voided.

    `most_named` groups whose A/A interval excludes 1 are named, None: all.
    """
    checks = [_twins(card.twins, most_named), _canaries(card.canaries)]
    if not card.twins and not card.canaries:
        checks = [f"{NO_CHECK[0].upper()}{NO_CHECK[1:]}."]
    return tuple(line for line in (*checks, _machine(card)) if line)


def _twins(twins: Sequence[TwinNoise], most_named: int | None) -> str:
    """Return what the A/A check showed; of several groups the widest interval, and those that exclude 1."""
    if not twins:
        return "No A/A twin was measured."
    widest = max(twins, key=lambda twin: twin.width)
    if len(twins) == 1:
        found = "; it excludes 1, so the intervals of its group are wider by as much" if widest.excludes else ""
        return f"A/A: {_ratio(widest)}{found}."
    out = [twin for twin in twins if twin.excludes]
    named = [f"{twin.reference} {_ratio(twin)}" for twin in out[:most_named]]
    more = [f"{len(out) - len(named)} more"] if len(out) > len(named) else []
    start = f"A/A in {len(twins)} groups: the widest is {_ratio(widest)}"
    if not out:
        return f"{start}; none excludes 1."
    found = "excludes 1, so the intervals of its group are" if len(out) == 1 else "exclude 1, so their intervals are"
    return f"{start}; {len(out)} {found} wider by as much: {listed([*named, *more])}."


def _ratio(twin: TwinNoise) -> str:
    if twin.ratio.low is None:
        return f"{show(twin.ratio.center, 'ratio')} (too few rounds for an interval)"
    return show_range(twin.ratio.center, twin.ratio.low, twin.ratio.high, "ratio")


def _canaries(canaries: Sequence[CanaryNoise]) -> str:
    """Return the canary's spread; of several groups from the least to the most."""
    if not canaries:
        return "No canary was measured, or too few of its samples."
    spreads = sorted(canary.spread for canary in canaries)
    quiet = sum(canary.quiet for canary in canaries)
    kind = "quiet" if quiet == len(canaries) else f"quiet in {quiet} of {len(canaries)} groups" if quiet else "shared"
    low, high = show(spreads[0], "share"), show(spreads[-1], "share")
    return f"Canary: spread {low if low == high else f'{low} to {high}'}, so the machine counts as {kind}."


def _machine(card: NoiseCard) -> str:
    parts = [number_of(card.samples, "sample")]
    if card.voided is not None:
        share = f" ({show(card.voided / card.samples, 'share')})" if card.voided else ""
        parts = [f"{card.voided} of {number_of(card.samples, 'sample')} voided{share}"]
    if card.steal_share is not None:
        parts.append(f"steal {show(card.steal_share, 'share')} (at most {show(card.most_steal_share, 'share')})")
    if card.pressure_share is not None:
        parts.append(f"pressure {show(card.pressure_share, 'share')}")
    if card.load is not None:
        parts.append(f"load {digits3(card.load)}")
    parts += [f"{number_of(count, 'thread')} on {device}" for device, count in card.threads]
    low, high = card.clock_low_per_s, card.clock_high_per_s
    if low is not None and high is not None:
        texts = dict.fromkeys(digits3(value / 1e9) for value in (low, high))
        parts.append(f"clock {' to '.join(texts)} GHz")
    return f"{', '.join(parts)}."
