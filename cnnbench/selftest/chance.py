"""Compute how many of a number of tries may go wrong by chance alone."""

from __future__ import annotations

# Share of cases in which a correct procedure may miss the bound of a short form. It misses the bounds of the full forms
# in 0.4 to 1.8 % of cases (docs/measurement.md).
BY_CHANCE = 0.02


def most_wrong(tries: int, share: float) -> int:
    """Return the smallest number of errors that a correct procedure exceeds in at most 2 % of cases.

    The procedure is tried `tries` times, and is wrong in the share `share` of them.
    """
    from scipy.stats import binom

    return int(binom.isf(BY_CHANCE, tries, share))
