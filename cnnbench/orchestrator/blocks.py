"""Take the samples of one round: block by block, one sample of each cell, each block in a new order."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from cnnbench import stats
from cnnbench.orchestrator.cell import Cell
from cnnbench.orchestrator.messages import Failure, Take, Taken
from cnnbench.runners.watch import disturbed

FEWEST_BLOCKS = 3
MOST_BLOCKS = 12
FEWEST_LONG_BLOCKS = 2
LONG_BLOCK_S = 0.5
"""Blocks of a group in one round: from 3, whose middle one bears a spike, to 12, after which a new round tells more
than another block. Where a block takes over half a second, two are enough, and one in the first round: long passes
scatter less, and the first table must not wait for them. Nor do long blocks become more before the rounds are enough
for an interval."""

LINEUP_BLOCKS = 2
"""Blocks of the line-up in one round: models are further apart than variants, and the next round is a new replicate."""

FAR_SLOWER = 4.0
FAR_SLOWER_S = 0.25
"""A cell whose sample takes so many times as long as its reference's, and so many seconds, is sampled in the first
block of a round alone, and in no more rounds than an interval takes: its verdict needs no precision, and the others do.
bf16 that is emulated takes up to forty times as long."""

BLOCKS_PER_START = 1.0
"""Time of a round's blocks over that of starting its workers, as far as the numbers of blocks allow. With less, most of
a run is starting; with more, fewer rounds show what starting shifts. Where the start of LeNet's cells takes 0.35 s, a
block 0.065 s, and blocks scatter by 6 % and rounds by 2.5 %, the best number of blocks is 5.6."""

Tell = Callable[[str], None]


@dataclass(frozen=True, kw_only=True, slots=True)
class Turn:
    """How many blocks a round takes: `count`, but only `least` once `deadline` (monotonic) has passed."""

    count: int
    least: int
    deadline: float


def turn_of(cells: Sequence[Cell], *, setup_s: float, rounds: int, deadline: float) -> Turn:
    """Return how many blocks `cells` take after `setup_s` of starting and `rounds` rounds before this one."""
    block_s = sum(_sample_s(cell) for cell in cells if not far_slower(cell, cells[0]))
    if cells[0].case.role == "lineup":
        return Turn(count=LINEUP_BLOCKS, least=1, deadline=deadline)

    long = block_s > LONG_BLOCK_S
    least = FEWEST_LONG_BLOCKS if long else FEWEST_BLOCKS
    if rounds == 0:
        return Turn(count=1 if long else least, least=1, deadline=deadline)
    if long and rounds < stats.FEWEST_ROUNDS:
        return Turn(count=least, least=least, deadline=deadline)
    wanted = round(BLOCKS_PER_START * setup_s / block_s) if block_s > 0 else MOST_BLOCKS
    count = min(max(wanted, least), MOST_BLOCKS)
    return Turn(count=count, least=least, deadline=deadline)


def far_slower(cell: Cell, reference: Cell) -> bool:
    """Return whether a cell is so much slower than its `reference` that few samples tell it."""
    if cell.case.role != "timed":
        return False
    return _sample_s(cell) >= max(FAR_SLOWER * _sample_s(reference), FAR_SLOWER_S)


def _sample_s(cell: Cell) -> float:
    """Return the expected seconds of one sample, its re-warm included."""
    if cell.ready is None:
        return 0.0
    return (cell.ready.shape.rewarm + cell.ready.shape.iterations) * cell.ready.iteration_s


def take_blocks(cells: Sequence[Cell], turn: Turn, order: random.Random) -> None:
    """Take samples of `cells`; the canary, and what is far slower than the first cell, give one in the first block."""
    once = {cell.case for cell in cells if cell.case.role == "canary" or far_slower(cell, cells[0])}
    for block in range(turn.count):
        wanted = [cell for cell in cells if cell.alive and (block == 0 or cell.case not in once)]
        if not any(cell.case.role in ("timed", "lineup") for cell in wanted):
            break
        if block >= turn.least and time.monotonic() >= turn.deadline:
            break
        order.shuffle(wanted)
        for cell in wanted:
            _take(cell, block)


def _take(cell: Cell, block: int) -> None:
    cell.at_work().send(Take())
    reply = cell.receive(cell.case.budget.timeout_s)
    if isinstance(reply, Failure):
        cell.failure = reply
        return
    assert isinstance(reply, Taken)
    cell.samples[block] = reply.sample
    reason = disturbed(reply.sample, threads=cell.case.variant.threads, device=cell.case.device)
    if reason is not None:
        cell.voided[block] = reason
