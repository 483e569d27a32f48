"""How many of a number of tries may go wrong by chance alone."""

from __future__ import annotations

# How often a right procedure may miss the bound of a short form; those of the full forms are missed in 0.4 to 1.8 % of
# cases (docs/measurement.md).
BY_CHANCE = 0.02


def most_wrong(tries: int, share: float) -> int:
    """Return the smallest number that a right procedure, wrong in `share`, exceeds in at most 2 % of all cases."""
    from scipy.stats import binom

    return int(binom.isf(BY_CHANCE, tries, share))
