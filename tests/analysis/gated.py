"""Records of two sides, whose slowdown and bounds can be told by hand."""

import math
from dataclasses import replace

from cnnbench.analysis.gate_look import Compared
from cnnbench.record import Record, Status
from cnnbench.spec import Variant
from tests.made import EAGER, WAVE, case, record, timed

SWING = 0.01
"""Within each set of six blocks the logarithm of the ratio swings by so much around the set's centre."""

SHIFT = SWING * math.sqrt(3 / 20)
"""The centres of the four sets lie so far above and below the whole's in turn: their standard deviation is
2 SHIFT / sqrt(3), the error of their mean half of that, SWING / sqrt(20), and t(0.99, 3) is 4.540703."""

REACH = 4.540703 * SWING / math.sqrt(20)
"""How far the logarithms of the bounds are from the centre: 0.0101533."""

SETS = (0, 6, 12, 18)


def compared(name: str = "net") -> Compared:
    return Compared(name=name, base=f"{name}@base-1", head=f"{name}@head-2")


def two(
    factor: float, *, name: str = "net", launch: int = 0, variant: Variant = EAGER, sets: tuple[int, ...] = SETS
) -> list[Record]:
    """Return the records of a network whose HEAD takes `factor` times as long, 24 blocks of a wandering machine."""
    base = [0.010 * w for w in (*WAVE, *WAVE)]
    ways = [(SHIFT if at // 6 % 2 else -SHIFT) + (SWING if at % 2 else -SWING) for at in range(len(base))]
    head = [b * factor * math.exp(way) for b, way in zip(base, ways, strict=True)]
    what = [case(f"{name}@base-1", variant), case(f"{name}@head-2", variant)]
    started = f"2026-01-02T03:0{launch}:05Z"
    return [
        record(one, *timed(times), launch=launch, sets=sets, started=started)
        for one, times in zip(what, (base, head), strict=True)
    ]


def broken(
    side: str, *, launch: int = 0, status: Status = "failed", error: str = "ValueError: boom (net.py:3)"
) -> list[Record]:
    """Return the records of a network of which one side, `base` or `head`, gives no times."""
    base, head = two(1.0, launch=launch)
    gone = replace(base if side == "base" else head, measurements=(), sets=(), status=status, error=error)
    return [gone, head] if side == "base" else [base, gone]
