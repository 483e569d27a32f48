"""Measure models that are slower by a known share, in whole runs (V5)."""

from __future__ import annotations

import math
import time
from dataclasses import replace
from pathlib import Path

from cnnbench.orchestrator.plan import Group
from cnnbench.selftest import Found, Setting
from cnnbench.selftest.chance import most_wrong
from cnnbench.selftest.measure_group import Measuring, open_measurement
from cnnbench.selftest.run_intervals import covers
from cnnbench.spec import Budget, Case
from cnnbench.stats import CONFIDENCE, Effect, aa_difference_of, compare_rounds
from cnnbench.variants import parse_variant

# The file of the models, and the seconds of the rounds of a run.
MODEL_FILE = Path(__file__).parent.parent / "slowed_models.py"
RUN_S = 15.0

# Runs of the full form, how many of them must cover the slowdown, and the slowdowns.
RUNS = 20
LEAST = 17
PERCENTS = (0, 5, 10, 15)


def count_covering_runs(part: str, setting: Setting) -> Found:
    """Count the runs whose interval covers the slowdown; the short form has one run of each slowdown (V5)."""
    percents = [int(part.split(maxsplit=1)[0])] * RUNS if setting.is_full else list(PERCENTS)
    effects: list[Effect | None] = []
    for at, percent in enumerate(percents):
        setting.on_progress(f"run {at + 1} of {len(percents)}, {percent} % slower", at / len(percents))
        effects.append(_run(percent, seed=setting.seed + at))

    # d is ln(base time / variant time), so a model that is slower has a negative one.
    covered = sum(covers(effect, -math.log1p(percent / 100)) for effect, percent in zip(effects, percents, strict=True))
    # The bound of the full form is for its 20 runs; that of the short form follows from chance.
    least = LEAST if setting.is_full else len(percents) - most_wrong(len(percents), 1 - CONFIDENCE)

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


def case_of(model: str, seed: int) -> Case:
    """Return the case of `model` at batch 1 with one thread, which leaves a core for other work."""
    return Case(
        model=model,
        variant=parse_variant("eager", device="cpu", threads=1),
        task="infer",
        device="cpu",
        batch_size=1,
        input_shape=(3, 32, 32),
        seed=seed,
        budget=Budget(total_s=RUN_S, timeout_s=60.0),
    )


def _run(percent: int, *, seed: int) -> Effect | None:
    """Return the effect that a run with a fork server of its own shows, None if it shows none."""
    base = case_of(f"{MODEL_FILE}:reference", seed)
    slower = case_of(f"{MODEL_FILE}:slowed_{percent}", seed)
    group = Group(
        cases=(base, slower),
        aa_control=replace(base, role="aa_control"),
        control_workload=replace(base, role="control_workload"),
    )

    # A round is begun only if there is time for one as long as the last.
    with open_measurement(group) as run:
        deadline = time.monotonic() + RUN_S
        while not run.group.is_over and time.monotonic() + run.group.last_s < deadline:
            run.take(deadline)
        return effect_of(run)


def effect_of(run: Measuring) -> Effect | None:
    """Return the effect between the two cells of a run as its report has it, widened by what equal cells differ by."""
    base, slower, aa_control, _ = run.group.group.members
    numbers = range(run.group.rounds)
    equal = compare_rounds(run.differences(base, aa_control, numbers))
    return compare_rounds(run.differences(base, slower, numbers), apart=aa_difference_of(equal))
