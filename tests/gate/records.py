"""Records of two sides, whose slowdown can be told by hand and whose bounds are a per cent away."""

import math
from dataclasses import replace

from cnnbench.gate.slowdowns import Compared
from cnnbench.record import Record, Status
from cnnbench.spec import Case, Variant
from tests.factories import EAGER, WAVE, case, record, timed

SWING = 0.01
"""Within each round of six blocks the logarithm of the ratio swings by so much around the round's centre."""

SHIFT = SWING * math.sqrt(3 / 20)
"""The centres of the four rounds lie so far above and below the whole's in turn: their standard deviation is
2 SHIFT / sqrt(3), the error of their mean half of that."""

ROUNDS = 4
BLOCKS = 6


def compared(name: str = "net") -> Compared:
    return Compared(name=name, base=f"{name}@base-1", head=f"{name}@head-2")


def sides(name: str = "net", variant: Variant = EAGER, *, time: int = 0) -> tuple[Case, Case]:
    """Return the cases of BASE and HEAD; the second measurement, `time` 1, has the next seed."""
    return case(f"{name}@base-1", variant, seed=time), case(f"{name}@head-2", variant, seed=time)


def two(
    factor: float, *, name: str = "net", time: int = 0, variant: Variant = EAGER, rounds: int = ROUNDS
) -> list[Record]:
    """Return the records of a model whose HEAD takes `factor` times as long on a wandering machine, by round."""
    found = []
    for at in range(rounds):
        base = [0.010 * w for w in WAVE[at % 2 * BLOCKS :][:BLOCKS]]
        ways = [(SHIFT if at % 2 else -SHIFT) + (SWING if block % 2 else -SWING) for block in range(BLOCKS)]
        head = [b * factor * math.exp(way) for b, way in zip(base, ways, strict=True)]
        found += [
            record(what, *timed(times), number=at)
            for what, times in zip(sides(name, variant, time=time), (base, head), strict=True)
        ]
    return found


def broken(
    side: str, *, time: int = 0, status: Status = "failed", error: str = "ValueError: boom (net.py:3)"
) -> list[Record]:
    """Return the records of a model of which one side, `base` or `head`, gives no times."""
    gone = sides(time=time)[side == "head"]
    return [
        replace(one, measurements=(), status=status, error=error) if one.case == gone else one
        for one in two(1.0, time=time)
    ]
