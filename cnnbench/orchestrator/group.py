"""One group of cells over all its rounds: who takes part, what came of it, and when its intervals are narrow enough."""

from __future__ import annotations

import itertools
import math
import random
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from cnnbench import machine, stats
from cnnbench.orchestrator.blocks import OnProgress, far_slower, take_blocks, turn_of
from cnnbench.orchestrator.cell import CellResult, RunningCell, seen_of
from cnnbench.orchestrator.plan import Group
from cnnbench.orchestrator.start_round import WorkerLimits, start
from cnnbench.pairing import differences, latencies_by_round, pairs_by_round
from cnnbench.record import Record
from cnnbench.spec import Case, Device
from cnnbench.timing.loop import SampleShape
from cnnbench.workers.client import Host
from cnnbench.workers.messages import Failure

# Rounds before narrow intervals may end a group: with fewer, a lucky streak looks like precision.
FEWEST_TO_END = 6

# A compiled cell joins at least so many rounds, and more while starting it takes at most this share of its group's
# time: even with warm caches its start takes seconds, in which the others could have had rounds of their own.
FEWEST_COMPILED = 4
COMPILED_SHARE = 0.25

# Rounds that a cell may fail in after it went well in one; a model that fails at random is not worth more.
MOST_FAILURES = 2

# All models are measured in one environment.
NO_OTHERS: Mapping[str, Host] = MappingProxyType({})


@dataclass(kw_only=True, slots=True)
class Member:
    """One case over all rounds: its good records by round, the shape of its samples, and how often it failed.

    `start_s` is what starting it took in the rounds in which it did not compile anew. `far_slower`: than the reference.
    """

    case: Case
    records: dict[int, Record] = field(default_factory=dict)
    shape: SampleShape | None = None
    called: bool = False
    failures: int = 0
    start_s: float = 0.0
    far_slower: bool = False
    out: Failure | None = None

    @property
    def compiled(self) -> bool:
        """Whether starting it compiles, or at least loads what was compiled."""
        return bool(self.case.variant.compile_mode) and self.case.role != "control_workload"


class GroupRounds:
    """A group while it is measured; `rounds` counts its rounds and `spent_s` their seconds, cold compiling apart."""

    def __init__(
        self, host: Host, group: Group, limits: WorkerLimits, *, target: float, others: Mapping[str, Host] = NO_OTHERS
    ) -> None:
        """Prepare to measure `group`; `others` are the hosts of models of another environment, by name.

        `target` is the half-width of the ratios' intervals, relative, at which the group is finished.
        """
        self.group = group
        self.rounds = 0
        self.spent_s = 0.0
        self.last_s = 0.0
        self._host = host
        self._others = others
        self._limits = limits
        self._target = target
        self._members = [Member(case=case) for case in group.members]

    def resume(self, records: Iterable[Record]) -> None:
        """Go on after the rounds in `records`, which may hold other groups too."""
        by_case = {member.case.identity(): member for member in self._members}
        took_s: dict[int, float] = {}
        for record in records:
            member = by_case.get(record.case.identity())
            if member is not None:
                took_s[record.round] = record.duration_s - sum(record.samples("compile_s"))
                if record.status == "ok":
                    member.records[record.round] = record
        if took_s:
            self.rounds = max(took_s) + 1
            self.spent_s = sum(took_s.values())
            self.last_s = took_s[max(took_s)]

    def add(self, record: Record) -> None:
        """Take note of the record of a round."""
        if record.status == "ok":
            member = next(m for m in self._members if m.case.identity() == record.case.identity())
            member.records[record.round] = record

    @property
    def over(self) -> bool:
        """Whether there is nothing left to measure: no cell is alive, or none has anything to be compared with."""
        alive = [m for m in self._members if m.case.role in ("timed", "lineup") and m.out is None]
        if self.lines_up:
            return len(alive) < 2  # noqa: PLR2004  # a model by itself has no place
        lost = self._members[0].out is not None and self.rounds >= stats.FEWEST_ROUNDS
        return not alive or lost

    @property
    def fewest(self) -> int:
        """The rounds of the cell that has the fewest, of those that still take part."""
        alive = [m for m in self._members if m.case.role in ("timed", "lineup") and m.out is None]
        return min((len(m.records) for m in alive), default=self.rounds)

    @property
    def device(self) -> Device:
        """Where the cells of the group run."""
        return self.group.cases[0].device

    @property
    def lines_up(self) -> bool:
        """Whether this is a line-up, which the rows do without."""
        return self.group.cases[0].role == "lineup"

    @property
    def missing(self) -> bool:
        """Whether a cell has not been measured and may still be."""
        return any(not m.records and m.out is None for m in self._members if m.case.role in ("timed", "lineup"))

    @property
    def never_begun(self) -> list[Case]:
        """The timed cells whose turn never came, such as compiled ones where there was time for one round only."""
        left = [m for m in self._members if m.case.role == "timed" and m.out is None]
        return [m.case for m in left if not m.records and not m.called]

    def give_up(self, failure: Failure, model: str | None = None) -> list[Case]:
        """Leave out the cells of `model` (None: all), and return those timed ones that were never measured."""
        left = [m for m in self._members if m.out is None and model in (None, m.case.model)]
        for member in left:
            member.out = failure
        return [m.case for m in left if m.case.role == "timed" and not m.records]

    def measure(self, *, deadline: float, rounds_left: float, on_progress: OnProgress) -> tuple[CellResult, ...]:
        """Measure one round and return what came of each member that took part; the workers end here in any case.

        `deadline` (monotonic) ends the blocks early. `rounds_left`: how many more rounds are likely to follow.
        """
        taking = [m for m in self._members if m.out is None and self._due(m, rounds_left)]
        cells = [RunningCell(case=m.case, host=self._host_of(m.case), first=not m.called) for m in taking]
        shapes = {m.case: m.shape for m in taking if m.shape is not None}
        order = random.Random(f"{self.group.cases[0].seed} {self.rounds}")  # noqa: S311  # an order

        begin = time.monotonic()
        before = machine.read_counters(begin)
        try:
            start(cells, shapes, self._limits, on_progress)
            waited_s = sum(_not_reusable_s(cell) for cell in cells)
            setup_s = max(0.0, time.monotonic() - begin - waited_s)
            alive = [cell for cell in cells if cell.alive]
            if any(cell.case.role in ("timed", "lineup") for cell in alive):
                take_blocks(alive, turn_of(alive, setup_s=setup_s, rounds=self.rounds, deadline=deadline), order)
        finally:
            for cell in cells:
                cell.close()

        self.last_s = max(0.0, time.monotonic() - begin - waited_s)
        self.spent_s += self.last_s
        self.rounds += 1
        for member, cell in zip(taking, cells, strict=True):
            _note(member, cell)
            member.far_slower = member.far_slower or (cell.ready is not None and far_slower(cell, cells[0]))
        noise = machine.between(before, machine.read_counters(time.monotonic()))
        return tuple(seen_of(cell, _noise_of(cell, noise)) for cell in cells)

    def _host_of(self, case: Case) -> Host:
        return self._others.get(case.model, self._host)

    def _due(self, member: Member, rounds_left: float) -> bool:
        """Return whether a member takes part in this round; one that is dear does so in fewer of them."""
        reference = self._members[0]
        if member.far_slower:
            return len(member.records) < stats.FEWEST_ROUNDS
        if not member.compiled or reference.compiled:
            return True
        if self.rounds == 0:
            return False  # the first table must not wait for a compiler
        lacking = FEWEST_COMPILED - len(member.records)
        if len(member.records) < stats.FEWEST_ROUNDS or (lacking > 0 and rounds_left <= lacking):
            return True
        return member.start_s <= COMPILED_SHARE * self.spent_s

    def variances(self) -> list[stats.Variance]:
        """Return how the rounds of each comparison scatter, the A/A control's among them; in a line-up of each pair."""
        compared = self._compared()
        if self.lines_up:
            alive = [m for m in self._members if m.records and m.out is None]
            pairs = itertools.combinations(alive, 2)
            compared = (differences(pairs_by_round(one.records, other.records)) for one, other in pairs)
        found = map(stats.between_rounds, compared)
        return [variance for variance in found if variance is not None]

    def finished(self, prior: stats.Prior) -> bool:
        """Return whether all intervals are narrow enough, given what the whole run says about scatter."""
        if self.over:
            return True
        waits = any(m.compiled and m.out is None and len(m.records) < FEWEST_COMPILED for m in self._members)
        if self.rounds < FEWEST_TO_END or self.missing or waits:
            return False
        return self.widest(prior) <= self._target

    def widest(self, prior: stats.Prior) -> float:
        """Return the largest half-width of an interval, infinite where one is lacking."""
        prior = stats.own_prior(self.variances(), prior) if self.lines_up else prior
        count = max(1, len(self.group.cases) - 1)
        widths = [math.inf]
        for rounds in self._compared():
            effect = stats.compare_rounds(rounds, prior, comparisons=count)
            half = None if effect is None else effect.half_width
            widths.append(math.inf if half is None else half)
        return max(widths[1:], default=math.inf)

    def _compared(self) -> Iterator[list[list[float]]]:
        """Yield the differences of each cell that is judged, by round; of a single cell its latencies."""
        judged = [m for m in self._members if m.records and m.case.role != "control_workload"]
        if not judged:
            return
        reference, *rest = judged
        others = [m for m in rest if m.out is None and not m.far_slower]
        if not others:
            yield latencies_by_round(reference.records)
        for member in others:
            yield differences(pairs_by_round(reference.records, member.records))


def _note(member: Member, cell: RunningCell) -> None:
    """Take note of what a round says about a member, for the rounds that follow."""
    if cell.ready is not None:
        member.start_s += 0.0 if cell.first else cell.ready.first_call_s + cell.ready.warmup_s
        member.called = True
        member.shape = cell.ready.shape
    failure = cell.failure
    if failure is None:
        return
    member.failures += 1
    if failure.status in ("timeout", "unsupported") or not member.records or member.failures >= MOST_FAILURES:
        member.out = failure


def _not_reusable_s(cell: RunningCell) -> float:
    """Return the seconds that a cell took and that say nothing about the next round: failing, and compiling cold."""
    if cell.failure is not None:
        return cell.waited_s
    compiles = (
        cell.case.variant.compile_mode
        and cell.first
        and cell.ready is not None
        and cell.case.role != "control_workload"
    )
    return cell.ready.first_call_s if compiles and cell.ready is not None else 0.0


def _noise_of(cell: RunningCell, noise: machine.Noise) -> Mapping[str, float | None]:
    """Return what the machine's counters showed in the round, for the record of the control workload."""
    if cell.case.role != "control_workload":
        return {}
    return {
        "pressure_share": noise.pressure_share,
        "load": noise.load,
        "clock_cycles_per_s": noise.clock_cycles_per_s,
    }
