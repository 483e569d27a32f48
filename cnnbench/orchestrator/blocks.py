"""Take the samples of one round: block by block, one sample of each cell, each block in a new order."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from cnnbench import stats
from cnnbench.orchestrator.cell import RunningCell
from cnnbench.timing.disturbance import disturbed
from cnnbench.workers.messages import Failure, Take, Taken

# Blocks of a group in one round: from 3, whose middle one bears a spike, to 12, after which a new round tells more than
# another block. Where a block takes over half a second, two are enough, and one in the first round: long passes scatter
# less, and the first table must not wait for them. Nor do long blocks become more before the rounds are enough for an
# interval.
FEWEST_BLOCKS = 3
MOST_BLOCKS = 12
FEWEST_LONG_BLOCKS = 2
LONG_BLOCK_S = 0.5

# Blocks of the line-up in one round: models are further apart than variants, and the next round is a new replicate.
LINEUP_BLOCKS = 2

# Time of a round's blocks over that of starting its workers, as far as the numbers of blocks allow. With less, most of
# a run is starting; with more, fewer rounds show what starting shifts.
BLOCKS_PER_START = 1.5

OnProgress = Callable[[str], None]


@dataclass(frozen=True, kw_only=True, slots=True)
class SamplingWindow:
    """How many blocks a round takes: `count`, but only `least` once `deadline` (monotonic) has passed."""

    count: int
    least: int
    deadline: float


def turn_of(cells: Sequence[RunningCell], *, setup_s: float, rounds: int, deadline: float) -> SamplingWindow:
    """Return how many blocks `cells` take after `setup_s` of starting and `rounds` rounds before this one."""
    block_s = sum((c.ready.shape.rewarm + c.ready.shape.iterations) * c.ready.iteration_s for c in cells if c.ready)
    if cells[0].case.role == "lineup":
        return SamplingWindow(count=LINEUP_BLOCKS, least=1, deadline=deadline)

    long = block_s > LONG_BLOCK_S
    least = FEWEST_LONG_BLOCKS if long else FEWEST_BLOCKS
    if rounds == 0:
        return SamplingWindow(count=1 if long else least, least=1, deadline=deadline)
    if long and rounds < stats.FEWEST_ROUNDS:
        return SamplingWindow(count=least, least=least, deadline=deadline)
    wanted = round(BLOCKS_PER_START * setup_s / block_s) if block_s > 0 else MOST_BLOCKS
    count = min(max(wanted, least), MOST_BLOCKS)
    return SamplingWindow(count=count, least=least, deadline=deadline)


def take_blocks(cells: Sequence[RunningCell], turn: SamplingWindow, order: random.Random) -> None:
    """Take samples of `cells`; the control workload gives one, in the first block."""
    for block in range(turn.count):
        wanted = [cell for cell in cells if cell.alive and (block == 0 or cell.case.role != "control_workload")]
        if not any(cell.case.role in ("timed", "lineup") for cell in wanted):
            break
        if block >= turn.least and time.monotonic() >= turn.deadline:
            break
        order.shuffle(wanted)
        for cell in wanted:
            _take(cell, block)


def _take(cell: RunningCell, block: int) -> None:
    cell.at_work().send(Take())
    reply = cell.receive(cell.case.budget.timeout_s)
    if isinstance(reply, Failure):
        cell.failure = reply
        return
    assert isinstance(reply, Taken)
    cell.samples[block] = reply.sample
    reason = disturbed(reply.sample, threads=cell.case.variant.threads, device=cell.case.device)
    if reason is not None:
        cell.rejected[block] = reason
