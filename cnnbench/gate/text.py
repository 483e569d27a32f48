"""Write the sentences of a gate: one for each cell, and one for the whole gate."""

from __future__ import annotations

from collections.abc import Sequence

from cnnbench.gate.slowdowns import SideComparison
from cnnbench.stats import GATE_LEVEL, Slowdown
from cnnbench.text import name_list

SURE = f"at {100 * (1 - GATE_LEVEL):.0f} % confidence"


def percent(share: float) -> str:
    """Return a share as a threshold is written: "5 %", "2.5 %"."""
    return f"{100 * share:g} %"


def slower_by(share: float) -> str:
    """Return a slowdown in words: "10.2 % slower", "0.4 % faster"."""
    return f"{abs(100 * share):.1f} % {'faster' if share < 0 else 'slower'}"


def fail_sentence(label: str, first: SideComparison, again: SideComparison, threshold: float) -> str:
    """Return the sentence for a cell that failed in both measurements."""
    return f"{label}: {_phrase(first, threshold)}: FAIL, and again {_phrase(again, threshold)}"


def unconfirmed_sentence(label: str, first: SideComparison, again: SideComparison | None, threshold: float) -> str:
    """Return the sentence for a cell that was suspected only once, or that was not measured again."""
    if again is None:
        return f"{label}: {_phrase(first, threshold)}: INCONCLUSIVE, it was not measured again"
    unconfirmed = "INCONCLUSIVE, not confirmed by the second measurement"
    return f"{label}: {_phrase(first, threshold)}: {unconfirmed}: {_phrase(again, threshold)}"


def pass_sentence(label: str, slowdown: Slowdown) -> str:
    """Return the sentence for a cell that is surely not slower by more than the threshold."""
    assert slowdown.high is not None
    most = f"at least {slower_by(slowdown.high)}" if slowdown.high < 0 else f"at most {slower_by(slowdown.high)}"
    return f"{label}: {slower_by(slowdown.center)} ({most}, {SURE}): PASS"


def unclear_sentence(label: str, look: SideComparison, threshold: float) -> str:
    """Return the sentence for a cell of which too little is known."""
    if look.unclear is not None or look.slowdown is None:
        return f"{label}: INCONCLUSIVE, {look.unclear}"
    return f"{label}: {_phrase(look, threshold)}: INCONCLUSIVE, {percent(threshold)} lies in between"


def lack_sentence(name: str, *, in_base: str | None, in_head: str | None, absent: bool) -> str:
    """Return the sentence for a model that one side lacks, given the error of looking for it there."""
    if in_head is not None:
        what = "does not have it any more" if absent else "cannot make it any more"
        return f"{name}: HEAD {what}: FAIL. {in_head}"
    if absent:
        return f"{name}: new in HEAD, so there is nothing to compare with: PASS"
    return f"{name}: INCONCLUSIVE, BASE cannot make it here: {in_base}"


def whole_sentence(
    sides: tuple[str, str], threshold: float, *, failing: Sequence[str], unclear: Sequence[str], failed: bool
) -> str:
    """Return the sentence for the whole gate, given the labels of cells that fail and of cells that are unclear.

    `sides` are the names of BASE and HEAD. `failed`: the gate stops a merge.
    """
    base, head = sides
    if failing:
        return f"FAIL: {name_list(failing)} {_verb_for(failing)} worse in {head} than in {base}."
    if unclear and failed:
        return (
            f"FAIL: {name_list(unclear)} {_verb_for(unclear)} inconclusive, and inconclusive cells count as failures."
        )
    known = f"more than {percent(threshold)} slower in {head} than in {base}"
    if unclear:
        return f"PASS: nothing is known to be {known}, but {name_list(unclear)} {_verb_for(unclear)} inconclusive."
    return f"PASS: nothing is {known}."


def _verb_for(names: Sequence[str]) -> str:
    return "is" if len(names) == 1 else "are"


def _phrase(look: SideComparison, threshold: float) -> str:
    """Return what one measurement shows, as a part of a sentence."""
    if look.slowdown is None or look.slowdown.low is None or look.slowdown.high is None:
        return look.broken or look.unclear or "nothing"
    center, low, high = look.slowdown.center, look.slowdown.low, look.slowdown.high
    if look.slow:
        return f"{slower_by(center)} (at least {100 * low:.1f} %, {SURE}), above {percent(threshold)}"
    if high <= threshold:
        return f"{slower_by(center)} (at most {slower_by(high)}, {SURE})"
    return f"{slower_by(center)} (between {slower_by(low)} and {slower_by(high)}, each {SURE})"
