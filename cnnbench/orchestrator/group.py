"""Measure one group in one launch: sets of workers one after the other, each built, warmed up in turn, and sampled."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

from cnnbench import machine
from cnnbench.orchestrator.blocks import (
    LEAST_BLOCKS,
    LOOKS,
    Tell,
    Turn,
    caution_width,
    finish_precise,
    living,
    lost_s,
    take_blocks,
    takes_part,
)
from cnnbench.orchestrator.cell import Cell, Seen, seen_of
from cnnbench.orchestrator.expected import SETUP_S, start_s
from cnnbench.orchestrator.hooks import Live
from cnnbench.orchestrator.host import Host
from cnnbench.orchestrator.messages import Built, Failure, Job, Ready, Warm
from cnnbench.orchestrator.planning import Group
from cnnbench.record import Caution, Measurement
from cnnbench.runners.warming import BRIEF_CALLS, BRIEF_WARM_S, WARM_CAP_S
from cnnbench.spec import Case

MOST_SETS = 8
FEWEST_SETS = 4
SETS_SHARE = 0.5
"""Sets of workers that a launch may use, where starting them takes at most half of the group's time: what is fixed when
a process starts shifts its speed by about 1 %, and only more processes average that out and show how much it is. With
fewer than four sets their spread says too little, and one set with more samples is better. Our choice; see
docs/measurement.md for what was measured."""

WARM_COMPILE_SAVES = 0.6
"""Share of a cold first call that warm caches save; seen on two cores. It only helps to guess what a set takes."""

NO_OTHERS: Mapping[str, Host] = MappingProxyType({})
"""All models are measured in one environment."""

EMULATED_PATIENCE_S = 10.0
EMULATED_WARM_S = 5.0
"""Seconds until an emulated variant must have warmed up, compiling apart, and when a warm-up that does not settle ends;
one that takes longer is given up, because it would eat the budget. Our choice."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """What a group may spend: seconds of blocks, not beyond `deadline` (monotonic); memory and warm-up of a worker.

    `ratio_within`: half-width of the ratios to the reference at which it ends early, None for what the machine allows.
    """

    sampling_s: float
    deadline: float
    scratch: str
    memory_bytes: int | None
    warm_cap_s: float
    emulated: Mapping[Case, str]
    live: Callable[[Sequence[Live]], None] = lambda _: None
    ratio_within: float | None = None


def measure_group(  # where, what, for how long, and which time it is
    host: Host, group: Group, limits: Limits, *, launch: int, tell: Tell, others: Mapping[str, Host] = NO_OTHERS
) -> tuple[Seen, ...]:
    """Measure the members of `group` side by side and return what came of each; the workers end here in any case.

    `limits.sampling_s` are for blocks and for the sets of workers after the first. `others` are the hosts of models
    that are measured in another environment, by name.
    """
    cells = [
        Cell(case=case, host=others.get(case.model, host), ratio_within=limits.ratio_within) for case in group.members
    ]
    order = random.Random(f"{group.cases[0].seed} {launch}")  # noqa: S311  # an order
    sets: list[int] = []
    try:
        begin = time.monotonic()
        _start(cells, limits, tell)
        setup_s = time.monotonic() - begin - lost_s(cells) - _saved_s(cells)
        before = machine.read_counters(time.monotonic())
        setup_s, block_s = max(0.0, setup_s), _block_s(cells)
        count = number_of_sets(limits.sampling_s, setup_s, block_s) if len(group.cases) > 1 else 1
        if limits.ratio_within is not None and fewest_fit(limits.sampling_s, setup_s, block_s):
            count = max(count, FEWEST_SETS)  # only the ratio is wanted, of which one set says too little
        plan = Sets(count=count, setup_s=setup_s, least_s=setup_s + LEAST_BLOCKS * block_s, first_blocks=sets)
        _measure_sets(cells, limits, plan, order, tell)
    finally:
        for cell in cells:
            cell.close()
    noise = machine.between(before, machine.read_counters(time.monotonic()))
    return tuple(_with_noise(seen_of(cell, sets), noise) for cell in cells)


@dataclass(frozen=True, kw_only=True, slots=True)
class Sets:
    """How many sets of workers there are to be, what starting one takes, and what it takes with its fewest blocks.

    `first_blocks`: the first block of each set that there was.
    """

    count: int
    setup_s: float
    least_s: float
    first_blocks: list[int]


def _measure_sets(cells: list[Cell], limits: Limits, sets: Sets, order: random.Random, tell: Tell) -> None:
    """Take the blocks of each set; the first one is started already. All of them share `limits.sampling_s`.

    A set that takes longer to start than was expected leaves less for blocks to itself and to those that follow.
    """
    begin, lost_before, block = time.monotonic(), lost_s(cells), 0
    for left in range(sets.count, 0, -1):
        alive = living(cells)
        wanted = [cell for cell in alive if takes_part(cell, alive[0])]
        if sets.first_blocks:
            if begin + limits.sampling_s + lost_s(cells) - lost_before - time.monotonic() < sets.least_s / 2:
                break  # it would take more than twice what is left
            _start(wanted, limits, tell)
        now, lost = time.monotonic(), lost_s(cells)
        spare_s = begin + limits.sampling_s + lost - lost_before - now - (left - 1) * sets.setup_s
        sets.first_blocks.append(block)
        turn = Turn(
            first_block=block,
            end_block=block + LOOKS[-1] // sets.count,
            until=now + spare_s / left,
            deadline=limits.deadline + lost,
            may_stop=sets.count == 1,
            sets=tuple(sets.first_blocks),
            live=limits.live,
        )
        block = take_blocks([cell for cell in wanted if cell.alive], turn, order, tell)
        for cell in cells:
            cell.close()
        alive = living(cells)
        if len(sets.first_blocks) >= FEWEST_SETS and alive:
            finish_precise(alive, sets.first_blocks)
        if not alive or all(cell.finished for cell in alive) or time.monotonic() >= limits.deadline + lost_s(cells):
            break
    caution_width([cell for cell in cells if cell.alive], sets.first_blocks)


def number_of_sets(sampling_s: float, setup_s: float, block_s: float) -> int:
    """Return how many sets of workers are worth their start: one, or `FEWEST_SETS` to `MOST_SETS`.

    `setup_s` is what starting a set takes, `block_s` what a block takes: each set must have time for `LEAST_BLOCKS`.
    """
    count = min(MOST_SETS, 1 + int(SETS_SHARE * sampling_s / max(setup_s, 1e-9)))
    while count >= FEWEST_SETS:
        if sampling_s - (count - 1) * setup_s >= count * LEAST_BLOCKS * block_s:
            return count
        count -= 1
    return 1


def fewest_fit(sampling_s: float, setup_s: float, block_s: float) -> bool:
    """Return whether `FEWEST_SETS` sets of workers fit at all, however little time their start leaves for blocks."""
    return sampling_s - (FEWEST_SETS - 1) * setup_s >= FEWEST_SETS * LEAST_BLOCKS * block_s


def _saved_s(cells: Sequence[Cell]) -> float:
    """Return the seconds that starting the cells again saves: a shorter warm-up, and warm caches of the compiler."""
    ready = [(c, c.ready) for c in cells if c.alive and c.ready is not None]
    cold = [r.first_call_s for c, r in ready if c.case.variant.compile_mode]
    brief = [r for c, r in ready if c.case.device == "cpu"]
    warm = [max(0.0, r.warmup_s - max(BRIEF_WARM_S, BRIEF_CALLS * r.iteration_s)) for r in brief]
    return WARM_COMPILE_SAVES * sum(cold) + sum(warm)


def _block_s(cells: Sequence[Cell]) -> float:
    """Return the seconds of passes in one block."""
    ready = [cell.ready for cell in cells if cell.alive and cell.ready is not None]
    return sum((r.shape.rewarm + r.shape.iterations) * r.iteration_s for r in ready)


def _start(cells: Sequence[Cell], limits: Limits, tell: Tell) -> None:
    """Start a set of workers for `cells`, and warm them up in turn."""
    for cell in cells:
        cell.start()
    _build(cells, limits, tell)
    for cell in cells:
        if cell.case.role == "twin" and not cells[0].alive:
            cell.failure = cell.failure or cells[0].failure  # what its reference did not do, it will not do either
        if cell.alive:
            compiles = cell.case.variant.compile_mode and cell.ready is None and cell.case.role != "canary"
            what = "compiling (a minute or so) and warming up" if compiles else "warming up"
            tell(f"{cell.case.label()}: {what}")
            _warm(cell, limits)


def _build(cells: Sequence[Cell], limits: Limits, tell: Tell) -> None:
    """Build all networks at once: nothing is timed yet, so they may share the cores."""
    tell(f"{cells[0].case.label()}: building" + (f", with {len(cells) - 1} more" if len(cells) > 1 else ""))
    for cell in cells:
        cell.at_work().send(
            Job(
                case=cell.case,
                scratch=limits.scratch,
                memory_limit_bytes=limits.memory_bytes if cell.case.device == "cpu" else None,
                warm_cap_s=min(limits.warm_cap_s, EMULATED_WARM_S if _emulated(cell, limits) else WARM_CAP_S),
            )
        )
    for cell in cells:
        reply = cell.receive(cell.case.budget.timeout_s)
        if isinstance(reply, Failure):
            cell.failure = reply
        else:
            assert isinstance(reply, Built)
            cell.cautions += reply.cautions


def _warm(cell: Cell, limits: Limits) -> None:
    emulated = _emulated(cell, limits)
    patience = cell.case.budget.timeout_s
    if emulated is not None:
        patience = min(patience, EMULATED_PATIENCE_S + start_s(cell.case) - SETUP_S)
    again = Warm() if cell.ready is None else Warm(shape=cell.ready.shape, brief=cell.case.device == "cpu")
    cell.at_work().send(again)
    reply = cell.receive(patience)
    if isinstance(reply, Ready):
        cell.ready = cell.ready or reply  # the first call of the first set is the cold one
        cell.warmup_s += reply.warmup_s
        cell.cautions += reply.cautions
        if emulated is not None:
            advice = "Its time says nothing about a machine that has bf16 instructions."
            cell.cautions.append(Caution(code="emulated", fact=emulated, advice=advice))
        return
    assert isinstance(reply, Failure)
    if emulated is not None and reply.status == "timeout":
        gave_up = f"{emulated}; given up after {patience:.0f} s of warm-up"
        reply = Failure(status="unsupported", error=gave_up)
    cell.failure = reply


def _emulated(cell: Cell, limits: Limits) -> str | None:
    """Return why the cell runs, but not natively; that of a twin is its reference's."""
    return limits.emulated.get(replace(cell.case, role="timed") if cell.case.role == "twin" else cell.case)


def _with_noise(seen: Seen, noise: machine.Noise) -> Seen:
    """Return the canary's `seen` with what the machine's counters showed while the group was measured."""
    if seen.case.role != "canary" or seen.failure is not None:
        return seen
    values = (
        ("pressure_share", noise.pressure_share),
        ("load", noise.load),
        ("clock_cycles_per_s", noise.clock_cycles_per_s),
    )
    more = tuple(Measurement(quantity=name, samples=(value,)) for name, value in values if value is not None)
    outcome = replace(seen.outcome, measurements=(*seen.outcome.measurements, *more))
    return replace(seen, outcome=outcome)
