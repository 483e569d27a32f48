"""Take samples block by block, each block in a new order, until width, budget or the last look ends it."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from cnnbench import stats
from cnnbench.orchestrator.cell import Cell, doubtful, width
from cnnbench.orchestrator.hooks import Live
from cnnbench.orchestrator.messages import Failure, Take, Taken
from cnnbench.record import Caution
from cnnbench.runners.watch import disturbed

LOOKS = (12, 18, 27, 40, 60, 90, 135, 200, 300, 450, 675, 1000)
"""Numbers of blocks after which the width of the intervals is looked at; looking oftener would favour lucky streaks."""

MEASURED_S = 3.0
"""Seconds of blocks before the width may stop a group: noise slower than this would not have been seen."""

LEAST_BLOCKS = 6
"""Blocks that a group takes when its own share is spent but not the run's budget: the fewest that give an interval."""

Tell = Callable[[str], None]


@dataclass(frozen=True, kw_only=True, slots=True)
class Turn:
    """One set of workers' turn: its blocks, when it must end (monotonic), and whether width may end it.

    `until` moves back by what failing cells take, and so does `deadline`, the run's. `live` hears how cells stand.
    """

    first_block: int
    end_block: int
    until: float
    deadline: float
    may_stop: bool
    sets: tuple[int, ...]
    live: Callable[[Sequence[Live]], None] = lambda _: None


def take_blocks(cells: Sequence[Cell], turn: Turn, order: random.Random, tell: Tell) -> int:
    """Take samples of `cells`, of which the first is the reference, and return the next free block's number."""
    begin = time.monotonic()
    block = turn.first_block
    while block < turn.end_block:
        lost = lost_s(cells)
        deadline, until = turn.deadline + lost, turn.until + lost
        taken, now = block - turn.first_block, time.monotonic()
        alive = living(cells)
        if not alive or (now >= min(deadline, until) and taken >= LEAST_BLOCKS) or (now >= deadline and taken):
            break
        if turn.may_stop and _counted(alive) in LOOKS and now - begin >= MEASURED_S:
            finish_precise(alive, turn.sets)
            if all(cell.finished for cell in alive):
                break
        if taken % 4 == 0:
            tell(_block_text(alive, block))
            turn.live([_live(cell) for cell in alive if cell.case.role == "timed"])
        wanted = [cell for cell in alive if takes_part(cell, alive[0])]
        order.shuffle(wanted)
        for cell in wanted:
            _take(cell, block)
        block += 1
    return block


def living(cells: Sequence[Cell]) -> list[Cell]:
    """Return the cells that take part still; none where only twin and canary are left, which nothing is judged by.

    A twin without its reference says nothing. Where ratios are wanted, one cell alone tells only how long it takes.
    """
    dead = {replace(cell.case, role="twin") for cell in cells if not cell.alive}
    alive = [cell for cell in cells if cell.alive and cell.case not in dead]
    timed = [cell for cell in alive if cell.case.role == "timed"]
    if len(timed) == 1 and timed[0].ratio_within is not None and len(timed[0].samples) >= LEAST_BLOCKS:
        return []
    return alive if timed else []


def lost_s(cells: Sequence[Cell]) -> float:
    """Return the seconds that failed cells took: the others get them on top."""
    return sum(cell.waited_s for cell in cells if not cell.alive)


def takes_part(cell: Cell, reference: Cell) -> bool:
    """Return whether more is wanted of a cell: it is too wide still, or the others are judged by it."""
    return not cell.finished or cell is reference or cell.case.role != "timed"


def finish_precise(cells: Sequence[Cell], sets: Sequence[int]) -> None:
    """Mark the cells whose interval is narrow enough: the blocks that follow go to those that are wider.

    A cell that would be invalid goes on, as it may yet have samples enough that are not voided; so does one whose
    blocks may be correlated, until more of them tell.
    """
    reference, wanted = cells[0], aim(cells)
    for cell in cells:
        hopeful = cell.unfit and cell.case.role == "timed"
        narrow = width(cell, reference, sets) <= wanted
        cell.finished = narrow and not hopeful and not doubtful(cell, reference, sets)


def caution_width(cells: Sequence[Cell], sets: Sequence[int]) -> None:
    """Say of each cell that is still too wide that it is."""
    wanted = aim(cells) if cells else math.inf
    for cell in cells:
        if cell.case.role == "timed" and (wide := width(cell, cells[0], sets)) > wanted:
            by = f"+-{100 * wide:.1f} %" if math.isfinite(wide) else "too few samples for an interval"
            fact = f"the interval is wider than asked for when the budget is spent ({by})"
            cell.cautions.append(Caution(code="precision_not_reached", fact=fact, advice="Give it a larger --budget."))


def aim(cells: Sequence[Cell]) -> float:
    """Return the half-width that is wanted of the intervals of `cells`, which are on one device."""
    if cells[0].ratio_within is not None:
        return cells[0].ratio_within
    if cells[0].case.device == "cuda":
        return stats.WIDTH_CUDA
    canary = next((cell for cell in cells if cell.case.role == "canary"), None)
    quiet = canary is not None and stats.is_quiet(stats.spread_of(list(canary.good.values())))
    return stats.WIDTH_QUIET if quiet else stats.WIDTH_SHARED


def _counted(cells: Sequence[Cell]) -> int:
    """Return how many blocks count: voided ones are repeated, but for cells that are voided all the time."""
    return min((len(cell.good) for cell in cells if not cell.unfit and not cell.finished), default=0)


def _take(cell: Cell, block: int) -> None:
    cell.at_work().send(Take())
    reply = cell.receive(cell.case.budget.timeout_s)
    if isinstance(reply, Taken):
        cell.samples[block] = reply.sample
        reason = disturbed(reply.sample, threads=cell.case.variant.threads, device=cell.case.device)
        if reason is not None:
            cell.voided[block] = reason
    else:
        assert isinstance(reply, Failure)
        cell.failure = reply


def _live(cell: Cell) -> Live:
    latencies = list(cell.good.values())
    now = stats.median(latencies) if latencies else None
    return Live(
        case=cell.case,
        samples=len(latencies),
        latency_s=now.center if now else None,
        low_s=now.low if now else None,
        high_s=now.high if now else None,
    )


def _block_text(cells: Sequence[Cell], block: int) -> str:
    case = cells[0].case
    timed = sum(cell.case.role == "timed" for cell in cells)
    return f"{case.model} {case.device} {case.task} batch {case.batch_size}: {timed} cells, block {block + 1}"
