"""V2 and V3: a network compared with itself on this machine, in shuffled blocks and one after the other."""

from __future__ import annotations

import math
import random
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from cnnbench.analysis.judge import DELTA_SHARED
from cnnbench.orchestrator.host import Host, Worker, start_host
from cnnbench.orchestrator.messages import Built, Failure, Job, Ready, Reply, Take, Taken, Warm
from cnnbench.orchestrator.single import memory_limit
from cnnbench.quantity import COMPARED
from cnnbench.runners.watch import disturbed
from cnnbench.selftest import Found, NotRunHere, Setting
from cnnbench.selftest.bounds import most_wrong
from cnnbench.selftest.slowdown import case_of
from cnnbench.spec import Case, CnnbenchError
from cnnbench.stats import CONFIDENCE, Effect, compare_paired, verdicts

MODEL = "lenet"
BLOCKS = 12
SETS = 4
"""Sets of two new workers that the blocks of V2 are spread over, as a run spreads them: what the start of a process
fixes shifts a network by some 0.6 %, which blocks of one set cannot tell from a difference. The fewest that a run uses.
"""

COMPARISONS = {"short": 20, "full": 100}
MOST_INTERVALS = 11
MOST_VERDICTS = 3
VERDICT_LEVEL = 0.01
"""Share of wrong verdicts for which the short form's bound is made: that of which 3 in 100 are rarely exceeded."""

WELCH_LEVEL = 0.05

PATIENCE = 4
"""A comparison may take so many times its samples, because voided ones are repeated. Our choice."""

MOST_UNFIT = 0.2
"""Share of comparisons that may find too few samples that are not void; with more, the machine is not fit for the
experiment, as a cell is invalid then. Our choice, after what a cell may have voided."""

TIMEOUT_S = 60.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Pair:
    """What two equal workers gave: d of each block; and, in seconds, a row of samples of one and then of the other."""

    differences: tuple[float, ...]
    rows_s: tuple[tuple[float, ...], ...]


def same_twice(_part: str, setting: Setting) -> Found:
    """V2: how many intervals exclude 1, and how many verdicts claim a difference that matters."""
    count = COMPARISONS[setting.form]
    pairs = list(_pairs(setting, count * SETS, BLOCKS // SETS, one_after_the_other=False))
    effects = [
        compare_paired([[pair.differences for pair in pairs[at : at + SETS]]]) for at in range(0, len(pairs), SETS)
    ]
    alarms = sum(map(_excludes_one, effects))
    claims = sum(verdicts([e], [DELTA_SHARED])[0] in {"FASTER", "SLOWER"} for e in effects)
    most = (MOST_INTERVALS, MOST_VERDICTS) if setting.full else _most_short(count)
    widths = sorted(e.half_width for e in effects if e is not None and e.half_width is not None)
    typical = f"; median half-width {100 * widths[len(widths) // 2]:.1f} %" if widths else ""
    return Found(
        measured=f"of {count} comparisons of {MODEL} with itself, {BLOCKS} blocks in {SETS} sets of workers each: "
        "intervals that exclude 1, verdicts other than SAME or NOT DISTINGUISHABLE",
        values=(float(alarms), float(claims)),
        shown=f"{alarms}, {claims}{typical}",
        bound=f"at most {most[0]}, at most {most[1]}",
        holds=alarms <= most[0] and claims <= most[1],
    )


def _most_short(count: int) -> tuple[int, int]:
    return most_wrong(count, 1 - CONFIDENCE), most_wrong(count, VERDICT_LEVEL)


def one_after_the_other(_part: str, setting: Setting) -> Found:
    """V3: false alarms of Welch's test on samples of one worker and then of the other, and of blocks of the same two.

    Both are taken of each pair of workers, in an order drawn anew. Clearly above V2: more than V2 may have, and more
    than the blocks of the same workers.
    """
    pairs = list(_pairs(setting, COMPARISONS[setting.form], BLOCKS, one_after_the_other=True))
    count = len(pairs)
    naive = sum(_welch(pair) <= WELCH_LEVEL for pair in pairs)
    ours = sum(_excludes_one(compare_paired([[pair.differences]])) for pair in pairs)
    least = 1 + max(ours, MOST_INTERVALS if setting.full else _most_short(count)[0])
    return Found(
        measured=f"false alarms at 5 % of {count} A/A comparisons: {BLOCKS} samples of each worker as AAA..BBB with "
        f"Welch's test; {BLOCKS} shuffled blocks of the same workers",
        values=(float(naive), float(ours)),
        shown=f"{naive}; {ours}",
        bound=f"AAA..BBB at least {least}",
        holds=naive >= least,
    )


def _excludes_one(effect: Effect | None) -> bool:
    return (
        effect is not None and effect.low is not None and effect.high is not None and not effect.low <= 0 <= effect.high
    )


def _welch(pair: Pair) -> float:
    from scipy.stats import ttest_ind

    return float(ttest_ind(*pair.rows_s, equal_var=False).pvalue)


def _pairs(setting: Setting, count: int, blocks: int, *, one_after_the_other: bool) -> Iterator[Pair]:
    """Yield what pair after pair of new workers gives: what a process shifts is part of what is compared."""
    order = random.Random(setting.seed)  # noqa: S311  # an order
    made, unfit = 0, 0
    case = case_of(MODEL, setting.seed)
    host = start_host(threads=1, compiles=False)
    try:
        with tempfile.TemporaryDirectory(prefix="cnnbench-") as scratch:
            job = Job(case=case, scratch=scratch, memory_limit_bytes=memory_limit())
            while made < count:
                setting.tell(f"pair {made + 1} of {count}", made / count)
                with _two_workers(host, job) as workers:
                    pair = _pair(workers, case, order, blocks, one_after_the_other=one_after_the_other)
                if pair is not None:
                    made += 1
                    yield pair
                    continue
                unfit += 1
                if unfit > MOST_UNFIT * count:
                    raise NotRunHere(f"three of four samples were void of {unfit} pairs: the machine is too busy")
    finally:
        host.close()


@contextmanager
def _two_workers(host: Host, job: Job) -> Iterator[tuple[Worker, Worker]]:
    """Have two warm workers of the same case."""
    workers = (host.start(), host.start())
    try:
        for worker in workers:
            worker.send(job)
        for worker in workers:
            assert isinstance(_answer(worker), Built)
        for worker in workers:
            worker.send(Warm())
            assert isinstance(_answer(worker), Ready)
        yield workers
    finally:
        for worker in workers:
            worker.close()


def _answer(worker: Worker) -> Reply:
    reply = worker.receive(TIMEOUT_S)
    if isinstance(reply, Failure):
        raise CnnbenchError(f"a worker of {MODEL} failed: {reply.error}")
    return reply


def _pair(
    workers: tuple[Worker, Worker], case: Case, order: random.Random, blocks: int, *, one_after_the_other: bool
) -> Pair | None:
    """Return what a pair of workers gave, None where too many samples were void."""
    naive_first = order.random() < 0.5  # noqa: PLR2004  # a coin
    rows = [_row(worker, case) for worker in workers] if one_after_the_other and naive_first else []
    differences = _blocks(workers, case, order, blocks)
    if one_after_the_other and not naive_first:
        rows = [_row(worker, case) for worker in workers]
    if len(differences) < blocks or any(len(row) < BLOCKS for row in rows):
        return None
    return Pair(differences=differences, rows_s=tuple(rows))


def _blocks(workers: tuple[Worker, Worker], case: Case, order: random.Random, blocks: int) -> tuple[float, ...]:
    """Return ln(first / second) of so many blocks in which no sample was void, or of fewer."""
    found: list[float] = []
    for _ in range(PATIENCE * blocks):
        if len(found) == blocks:
            break
        taken = {at: _sample(workers[at], case) for at in order.sample((0, 1), 2)}
        first, second = taken[0], taken[1]
        if first is not None and second is not None:
            found.append(math.log(first / second))
    return tuple(found)


def _row(worker: Worker, case: Case) -> tuple[float, ...]:
    """Return so many samples of one worker that are not void, or fewer, in seconds."""
    found: list[float] = []
    for _ in range(PATIENCE * BLOCKS):
        if len(found) == BLOCKS:
            break
        if (taken := _sample(worker, case)) is not None:
            found.append(taken)
    return tuple(found)


def _sample(worker: Worker, case: Case) -> float | None:
    """Return the time of one sample that is compared, None where an environment counter rejected it."""
    worker.send(Take())
    reply = _answer(worker)
    assert isinstance(reply, Taken)
    void = disturbed(reply.sample, threads=case.variant.threads, device=case.device)
    return None if void else next(s for name in COMPARED if (s := getattr(reply.sample, name)) is not None)
