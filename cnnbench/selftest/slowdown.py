"""V5: whole runs against a network that is slower by a known share."""

from __future__ import annotations

import math
import tempfile
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

from cnnbench.orchestrator.cell import Seen, by_set
from cnnbench.orchestrator.group import Limits, measure_group
from cnnbench.orchestrator.host import start_host
from cnnbench.orchestrator.planning import Group
from cnnbench.orchestrator.single import ask, memory_limit
from cnnbench.quantity import compared
from cnnbench.runners.warming import WARM_CAP_S
from cnnbench.selftest import Found, Setting
from cnnbench.selftest.bounds import most_wrong
from cnnbench.spec import Budget, Case
from cnnbench.stats import CONFIDENCE, Effect, compare_paired
from cnnbench.variants import parse_variant

NETWORKS = Path(__file__).with_name("networks.py")
RUN_S = 15.0
START_S = 60.0
"""Seconds of blocks of a run, and for its first set of workers to start."""

RUNS = 20
LEAST = 17
PERCENTS = (0, 5, 10, 15)


def injected(part: str, setting: Setting) -> Found:
    """V5: how many runs have an interval that covers the slowdown; the short form has one run of each."""
    percents = [int(part.split(maxsplit=1)[0])] * RUNS if setting.full else list(PERCENTS)
    effects: list[Effect | None] = []
    for at, percent in enumerate(percents):
        setting.tell(f"run {at + 1} of {len(percents)}, {percent} % slower", at / len(percents))
        effects.append(_run(percent, seed=setting.seed + at))
    covered = sum(_covers(effect, percent) for effect, percent in zip(effects, percents, strict=True))
    least = LEAST if setting.full else len(percents) - most_wrong(len(percents), 1 - CONFIDENCE)
    seen = [None if e is None else 100 * math.expm1(-e.center) for e in effects]
    widths = [100 * e.half_width for e in effects if e is not None and e.half_width is not None]
    shown = ", ".join("none" if x is None else f"{x:+.1f}" for x in seen)
    widest = f", half-widths up to {max(widths):.1f} %" if widths else ""
    return Found(
        measured=f"runs of {RUN_S:g} s whose interval covers the slowdown of {part}; the slowdowns that they saw",
        values=(float(covered), *(x for x in seen if x is not None)),
        shown=f"{covered} of {len(percents)} (seen: {shown} %{widest})",
        bound=f"at least {least} of {len(percents)}",
        holds=covered >= least,
    )


def _covers(effect: Effect | None, percent: int) -> bool:
    truth = -math.log1p(percent / 100)
    return (
        effect is not None and effect.low is not None and effect.high is not None and effect.low <= truth <= effect.high
    )


def case_of(model: str, seed: int) -> Case:
    """Return the case of one network of this folder, or of lenet: batch 1, one thread, so that a core is left over."""
    return Case(
        model=model,
        variant=parse_variant("eager", device="cpu", threads=1),
        task="infer",
        device="cpu",
        batch_size=1,
        input_shape=(3, 32, 32),
        seed=seed,
        budget=Budget(total_s=RUN_S, timeout_s=60.0, launches=1),
    )


def _run(percent: int, *, seed: int) -> Effect | None:
    """Return the effect that a run of its own sees, with its own fork server; None where it sees none."""
    base = case_of(f"{NETWORKS}:reference", seed)
    slower = case_of(f"{NETWORKS}:slowed_{percent}", seed)
    group = Group(cases=(base, slower), twin=replace(base, role="twin"), canary=replace(base, role="canary"))
    host = start_host(threads=1, compiles=False)
    try:
        ask(host, ())  # as a run does before its groups: the wait for the new server is no part of starting workers
        with tempfile.TemporaryDirectory(prefix="cnnbench-") as scratch:
            limits = Limits(
                sampling_s=RUN_S,
                deadline=time.monotonic() + START_S + RUN_S,
                scratch=scratch,
                memory_bytes=memory_limit(),
                warm_cap_s=WARM_CAP_S,
                emulated={},
            )
            seen = measure_group(host, group, limits, launch=0, tell=lambda _: None)
    finally:
        host.close()
    return effect_of(seen[0], seen[1])


def effect_of(base: Seen, other: Seen) -> Effect | None:
    """Return the effect between two cells of a group, None where one of them gave nothing."""
    if base.failure is not None or other.failure is not None:
        return None
    one, two = compared(partial(_kept, base), partial(_kept, other))
    return compare_paired([by_set(one, two, base.outcome.sets or (0,))])


def _kept(seen: Seen, quantity: str) -> dict[int, float]:
    """Return a time of the samples that count, by block."""
    by_name = {m.quantity: m for m in seen.outcome.measurements}
    if quantity not in by_name:
        return {}
    latency, wanted = by_name["latency_s"], by_name[quantity]
    voided = {latency.blocks[at] for at in latency.voided}
    return {b: seconds for b, seconds in zip(wanted.blocks, wanted.samples, strict=True) if b not in voided}
