"""Take the samples of one round: block by block, one sample of each cell, in a new order for each block."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from cnnbench import stats
from cnnbench.orchestrator.running_cell import RunningCell
from cnnbench.timing.disturbance import rejection_reason
from cnnbench.workers.messages import Failure, Take, Taken

# Blocks of a group in one round. Three are the fewest, because their median withstands one spike: with two, a single
# disturbed pass of ResNet-18 moved a round from 1.19 to 1.81. Twelve are the most, because after them a new round tells
# more than another block. If a block takes over half a second, the first round has one, because the first table must
# not wait, and groups take more than three only when they have enough rounds for an interval.
FEWEST_BLOCKS = 3
MOST_BLOCKS = 12
LONG_BLOCK_S = 0.5

# Blocks of the line-up in one round: models differ more than variants, and the next round is a new replicate.
LINEUP_BLOCKS = 2

# A cell is far slower if its sample takes at least this many times as long as its reference's, and this many seconds.
# It is sampled only in the first block of a round, and only in as many rounds as an interval needs: its verdict needs
# no precision, and those of the other cells do. Emulated bf16 takes up to forty times as long.
FAR_SLOWER = 4.0
FAR_SLOWER_S = 0.25

# Wanted ratio of the time of a round's blocks to the time of starting its workers, within the limits above. With less,
# most of a run is spent on starting workers. With more, fewer rounds show how far a new start shifts the results.
# Starting LeNet's cells takes 0.35 s and a block 0.065 s; blocks scatter by 6 % and rounds by 2.5 %. Then 5.6 blocks
# are best.
BLOCKS_PER_START = 1.0

OnProgress = Callable[[str], None]


@dataclass(frozen=True, kw_only=True, slots=True)
class SamplingWindow:
    """How many blocks a round takes: `count`, but only `least` once `deadline` (monotonic seconds) has passed."""

    count: int
    least: int
    deadline: float


def sampling_window(cells: Sequence[RunningCell], *, setup_s: float, rounds: int, deadline: float) -> SamplingWindow:
    """Return how many blocks `cells` take after `setup_s` seconds of starting, and after `rounds` earlier rounds."""
    # Cells that are far slower are sampled only once, so they do not count.
    block_s = sum(_sample_s(cell) for cell in cells if not far_slower(cell, cells[0]))
    if cells[0].case.role == "lineup":
        return SamplingWindow(count=LINEUP_BLOCKS, least=1, deadline=deadline)

    long = block_s > LONG_BLOCK_S
    # The first round only has to fill the first table.
    if rounds == 0:
        return SamplingWindow(count=1 if long else FEWEST_BLOCKS, least=1, deadline=deadline)
    if long and rounds < stats.FEWEST_ROUNDS:
        return SamplingWindow(count=FEWEST_BLOCKS, least=FEWEST_BLOCKS, deadline=deadline)

    # Later rounds spread the cost of starting over more blocks.
    wanted = round(BLOCKS_PER_START * setup_s / block_s) if block_s > 0 else MOST_BLOCKS
    count = min(max(wanted, FEWEST_BLOCKS), MOST_BLOCKS)
    return SamplingWindow(count=count, least=FEWEST_BLOCKS, deadline=deadline)


def far_slower(cell: RunningCell, reference: RunningCell) -> bool:
    """Return whether a cell is so much slower than its `reference` that a few samples show it."""
    # A reference that did not start says nothing about the others.
    if cell.case.role != "timed" or reference.ready is None:
        return False
    return _sample_s(cell) >= max(FAR_SLOWER * _sample_s(reference), FAR_SLOWER_S)


def _sample_s(cell: RunningCell) -> float:
    """Return the expected seconds of one sample, with the passes that warm up again before it."""
    if cell.ready is None:
        return 0.0
    return (cell.ready.shape.rewarm + cell.ready.shape.iterations) * cell.ready.iteration_s


def take_blocks(cells: Sequence[RunningCell], turn: SamplingWindow, order: random.Random) -> None:
    """Take samples of `cells`; the control workload, and cells far slower than the first, give one sample each."""
    once = {c.case for c in cells if c.case.role == "control_workload" or far_slower(c, cells[0])}

    for block in range(turn.count):
        wanted = [cell for cell in cells if cell.alive and (block == 0 or cell.case not in once)]
        # An A/A control without a cell beside it tells nothing.
        if not any(cell.case.role in ("timed", "lineup") for cell in wanted):
            break

        # A round ends between blocks, so no sample lacks the others of its block.
        if block >= turn.least and time.monotonic() >= turn.deadline:
            break

        # A new order for each block, so that no cell always follows the same one.
        order.shuffle(wanted)
        for cell in wanted:
            _take(cell, block)


def _take(cell: RunningCell, block: int) -> None:
    cell.current_worker().send(Take())
    reply = cell.receive(cell.case.budget.timeout_s)
    if isinstance(reply, Failure):
        cell.failure = reply
        return
    assert isinstance(reply, Taken)
    cell.samples[block] = reply.sample
    reason = rejection_reason(reply.sample, threads=cell.case.variant.threads, device=cell.case.device)
    if reason is not None:
        cell.rejected[block] = reason
