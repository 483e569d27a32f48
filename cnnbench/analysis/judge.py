"""What counts as a difference: the margin of each group, from the machine and from the same work measured twice."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from cnnbench.spec import Device
from cnnbench.stats import Effect, Verdict, is_quiet, verdicts

DELTA_SHARED = 0.03
"""Smallest relative difference that counts on a shared machine: identical workers in one launch were seen 1 to 2 %
apart there (docs/measurement.md). Our choice."""

DELTA_QUIET = 0.01
"""The same on a quiet machine: below it lies what a new process shifts a network by. Our choice."""

DELTA_CUDA = 0.005
"""The same on a CUDA device, whose own clock times the work. Our choice."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Margin:
    """The relative difference that counts in a group, and whether its A/A check forbids every verdict.

    `same`: the difference within which cells are the same; 0: none can be. It is never raised: what two equal workers
    differ by makes a difference harder to find, and that there is none no easier to say.
    """

    delta: float
    same: float
    silenced: bool = False


def asked_or_default(asked: float | None, device: Device, spread: float | None) -> float:
    """Return the relative difference that counts before the A/A check: as asked, else by device and canary."""
    if asked is not None:
        return asked
    if device == "cuda":
        return DELTA_CUDA
    return DELTA_QUIET if is_quiet(spread) else DELTA_SHARED


def excludes_none(effect: Effect) -> bool:
    """Return whether the interval of `effect` lies to one side of no difference."""
    return effect.low is not None and effect.high is not None and (effect.low > 0 or effect.high < 0)


def margin_of(twin: Effect | None, delta: float, *, twin_expected: bool = False) -> Margin:
    """Return the margin of a group by what its A/A `twin` showed, `delta` being what was asked for or the default.

    A run cannot tell differences that it shows between two equal workers, so the margin is never below what these were
    apart: the centre of the A/A interval, whose width a cell's own interval has already. Where that interval excludes
    no difference, what it rests on decides. Within one set of workers it does not cover what a process start shifts,
    which is expected (1 % or so), and the raised margin allows for it. Over several sets or launches it does, so it is
    too narrow (by chance one in twenty is), and others may be as far off: no cell is the same then, and the margin is
    raised to its far end, which a real difference is beyond all the same. An interval that lies wholly beyond `delta`
    forbids every verdict: equal workers differ by more than what counts.

    Without an A/A interval nothing shows how far equal workers differ, so there are no verdicts either where a twin is
    expected; records of before there were twins keep theirs.
    """
    if twin is None or twin.low is None or twin.high is None:
        return Margin(delta=delta, same=delta, silenced=twin_expected)
    ends = sorted((abs(twin.low), abs(twin.high)))
    doubted = excludes_none(twin) and twin.basis != "blocks"
    apart = ends[1] if doubted else abs(twin.center)
    return Margin(
        delta=max(delta, math.expm1(apart)),
        same=0.0 if doubted else delta,
        silenced=excludes_none(twin) and ends[0] > math.log1p(delta),
    )


def judge(effects: Sequence[Effect], margins: Sequence[Margin]) -> tuple[Verdict, ...]:
    """Return the verdict on each of `effects` under its margin, after Holm's correction over all of them.

    Silenced ones are among those that are corrected for: what the A/A check says must not make others easier to pass.
    """
    found = verdicts(effects, [margin.delta for margin in margins], [margin.same for margin in margins])
    return tuple(
        "NOT DISTINGUISHABLE" if margin.silenced else verdict for verdict, margin in zip(found, margins, strict=True)
    )
