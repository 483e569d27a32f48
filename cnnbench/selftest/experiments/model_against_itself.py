"""Compare a model with itself on this machine: over rounds (V2), and one worker after the other (V3)."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from cnnbench.analysis.effects import DELTA_SHARED
from cnnbench.orchestrator.blocks import SamplingWindow, take_blocks
from cnnbench.orchestrator.plan import Group
from cnnbench.orchestrator.running_cell import RunningCell
from cnnbench.orchestrator.start_round import WorkerLimits, start
from cnnbench.quantities import COMPARED
from cnnbench.selftest import Found, NotRunHere, Setting
from cnnbench.selftest.chance import most_wrong
from cnnbench.selftest.experiments.known_slowdown import case_of
from cnnbench.selftest.measure_group import open_measurement
from cnnbench.selftest.run_intervals import effects_of_run
from cnnbench.spec import Case, CnnbenchError
from cnnbench.stats import CONFIDENCE, Effect, excludes_zero, verdict_of
from cnnbench.timing.loop import Sample, SampleShape
from cnnbench.workers.client import start_host
from cnnbench.workers.single_worker import memory_limit, scratch_folder

# The model, and the rounds of a comparison: the fewest after which a run may end a group.
MODEL = "lenet"
ROUNDS = 6

# Comparisons that together say how rounds scatter, as in a run of a few models.
TOGETHER = 10

# V2: comparisons, the bounds of the full form, and the share of wrong verdicts for the bound of the short form. With
# this share, more than 3 wrong ones in 100 are rare.
COMPARISONS = {"short": 20, "full": 100}
MOST_INTERVALS = 11
MOST_VERDICTS = 3
VERDICT_LEVEL = 0.01

# V3: comparisons, the level of Welch's test, samples in the row of each worker, and blocks of both.
NAIVE_COMPARISONS = {"short": 10, "full": 40}
WELCH_LEVEL = 0.05
ROW = 12
BLOCKS = 4

# V3 takes samples up to so many times, because it repeats rejected ones.
PATIENCE = 4

# Share of rounds that may have too many rejected samples; with more, the machine is not fit for the experiment.
MOST_UNFIT = 0.2


@dataclass(frozen=True, kw_only=True, slots=True)
class WorkerPair:
    """The samples of two equal workers.

    `differences` is d of each block. `rows_s` has a row of samples of one worker, then one of the other, in seconds.
    """

    differences: tuple[float, ...]
    rows_s: tuple[tuple[float, ...], ...]


def count_false_claims(_part: str, setting: Setting) -> Found:
    """Count the intervals that exclude 1, and the verdicts that claim a difference that matters (V2)."""
    count = COMPARISONS[setting.form]
    effects = _effects(_comparisons(setting, count))

    # Both cells are the same model, so each of these is an error.
    alarms = sum(map(excludes_zero, effects))
    claims = sum(verdict_of(effect, DELTA_SHARED) in {"FASTER", "SLOWER"} for effect in effects)
    most = (MOST_INTERVALS, MOST_VERDICTS) if setting.is_full else _most_short(count)

    # Wide intervals exclude nothing, so the figure says how wide they were.
    widths = sorted(e.half_width for e in effects if e.half_width is not None)
    typical = f"; median half-width {100 * widths[len(widths) // 2]:.1f} %" if widths else ""

    return Found(
        measured=f"of {count} comparisons of {MODEL} with itself over {ROUNDS} rounds: intervals that exclude 1, "
        "verdicts other than SAME or NOT DISTINGUISHABLE",
        values=(float(alarms), float(claims)),
        shown=f"{alarms}, {claims}{typical}",
        bound=f"at most {most[0]}, at most {most[1]}",
        holds=alarms <= most[0] and claims <= most[1],
    )


def _most_short(count: int) -> tuple[int, int]:
    return most_wrong(count, 1 - CONFIDENCE), most_wrong(count, VERDICT_LEVEL)


def _effects(comparisons: Sequence[Sequence[Sequence[float]]]) -> list[Effect]:
    """Return the effects of `comparisons`, `TOGETHER` of which are judged as those of one run."""
    runs = [comparisons[at : at + TOGETHER] for at in range(0, len(comparisons), TOGETHER)]
    return [effect for run in runs for effect in effects_of_run(run) if effect is not None]


def _comparisons(setting: Setting, count: int) -> list[list[list[float]]]:
    """Return d of each block of `count` comparisons, by round; each round has two new workers, as in a run."""
    case = case_of(MODEL, setting.seed)
    aa_control = replace(case, role="aa_control")

    # One group does the rounds of all comparisons; each comparison has the next `ROUNDS` of them.
    with open_measurement(Group(cases=(case,), aa_control=aa_control)) as run:
        for at in range(count * ROUNDS):
            setting.on_progress(f"round {at + 1} of {count * ROUNDS}", at / (count * ROUNDS))
            run.take()
            if run.group.is_over:
                raise CnnbenchError(f"workers of {MODEL} failed")
        found = [run.differences(case, aa_control, range(at * ROUNDS, (at + 1) * ROUNDS)) for at in range(count)]

    unfit = count * ROUNDS - sum(map(len, found))
    if unfit > MOST_UNFIT * count * ROUNDS:
        raise NotRunHere(f"all samples were void in {unfit} of {count * ROUNDS} rounds: the machine is too busy")

    return found


def count_naive_alarms(_part: str, setting: Setting) -> Found:
    """Count the false alarms of Welch's test on samples of one worker and then of the other (V3).

    Intervals over rounds of blocks of the same workers are counted too. Each pair of workers gives both, in a random
    order. AAA..BBB must raise clearly more false alarms than its level of 5 % allows, and than the intervals raise.
    """
    count = NAIVE_COMPARISONS[setting.form]
    pairs = list(_pairs(setting, count * ROUNDS))

    # A pair of workers is a whole test for Welch, but only one round of an interval.
    naive = sum(_welch(pair) <= WELCH_LEVEL for pair in pairs)
    effects = _effects([[p.differences for p in pairs[at : at + ROUNDS]] for at in range(0, len(pairs), ROUNDS)])
    ours = sum(map(excludes_zero, effects))
    # Clearly more: above what chance gives at a level of 5 %, or at the rate of the intervals if that is higher.
    least = 1 + most_wrong(len(pairs), max(WELCH_LEVEL, ours / count))

    return Found(
        measured=f"false alarms at 5 % of {len(pairs)} pairs of equal workers: {ROW} samples of each as AAA..BBB with "
        f"Welch's test; of {count} intervals over {ROUNDS} rounds of {BLOCKS} shuffled blocks of the same workers",
        values=(float(naive), float(ours)),
        shown=f"{naive} of {len(pairs)} ({naive / len(pairs):.0%}); {ours} of {count} ({ours / count:.0%})",
        bound=f"AAA..BBB at least {least}",
        holds=naive >= least,
    )


def _welch(pair: WorkerPair) -> float:
    from scipy.stats import ttest_ind

    return float(ttest_ind(*pair.rows_s, equal_var=False).pvalue)


def _pairs(setting: Setting, count: int) -> Iterator[WorkerPair]:
    """Yield the samples of `count` pairs of new workers, so that what a process shifts is part of the comparison."""
    order = random.Random(setting.seed)  # noqa: S311  # an order
    case, shapes = case_of(MODEL, setting.seed), dict[Case, SampleShape]()
    made, unfit = 0, 0
    host = start_host(threads=1, compiles=False)

    try:
        with scratch_folder() as scratch:
            limits = WorkerLimits(scratch=scratch, memory_bytes=memory_limit(), emulated={})
            while made < count:
                setting.on_progress(f"pair {made + 1} of {count}", made / count)
                cells = [RunningCell(case=case, host=host) for _ in range(2)]
                try:
                    start(cells, shapes, limits, lambda _: None)
                    pair = _pair(cells, order)
                finally:
                    for cell in cells:
                        cell.close()

                # The first pair decides the shape of the samples, so that those of all pairs are alike.
                shapes.setdefault(case, _shape_of(cells))
                if pair is not None:
                    made += 1
                    yield pair
                    continue

                # A pair with too many rejected samples is replaced by another one.
                unfit += 1
                if unfit > MOST_UNFIT * count:
                    raise NotRunHere(f"too many samples were void of {unfit} pairs: the machine is too busy")
    finally:
        host.close()


def _shape_of(cells: Sequence[RunningCell]) -> SampleShape:
    """Return the shape of the samples of `cells`, none of which may have failed."""
    for cell in cells:
        if cell.failure is not None:
            raise CnnbenchError(f"a worker of {MODEL} failed: {cell.failure.error}")
    ready = cells[0].ready
    assert ready is not None
    return ready.shape


def _pair(cells: Sequence[RunningCell], order: random.Random) -> WorkerPair | None:
    """Return the samples of a pair of workers, None if too many were rejected."""
    # Workers may still change while they run, so either method may come first.
    naive_first = order.random() < 0.5  # noqa: PLR2004  # a coin
    rows = [_blocks([cell], ROW, order) for cell in cells] if naive_first else []
    blocks = _blocks(cells, BLOCKS, order)
    if not naive_first:
        rows = [_blocks([cell], ROW, order) for cell in cells]

    if len(blocks) < BLOCKS or min(map(len, rows)) < ROW:
        return None
    differences = tuple(math.log(first / second) for first, second in blocks)
    return WorkerPair(differences=differences, rows_s=tuple(tuple(seconds for (seconds,) in row) for row in rows))


def _blocks(cells: Sequence[RunningCell], count: int, order: random.Random) -> list[tuple[float, ...]]:
    """Return the compared times of `cells`, in seconds, for `count` blocks without a rejected sample, or for fewer."""
    found: list[tuple[float, ...]] = []
    for _ in range(PATIENCE):
        # Only as many blocks as are still lacking are taken again.
        left = count - len(found)
        take_blocks(cells, SamplingWindow(count=left, least=left, deadline=math.inf), order)
        found += [
            tuple(_compared_s(cell.samples[block]) for cell in cells)
            for block in range(left)
            if all(block in cell.samples and block not in cell.rejected for cell in cells)
        ]
        # Blocks are numbered from 0 again the next time, so these must go.
        for cell in cells:
            cell.samples.clear()
            cell.rejected.clear()

    return found


def _compared_s(sample: Sample) -> float:
    times: list[float | None] = [getattr(sample, name) for name in COMPARED]
    return next(seconds for seconds in times if seconds is not None)
