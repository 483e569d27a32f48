"""One group of cells over all its rounds: who takes part, the results, and when its intervals are narrow enough."""

from __future__ import annotations

import itertools
import math
import random
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from cnnbench import machine, stats
from cnnbench.orchestrator.blocks import OnProgress, far_slower, sampling_window, take_blocks
from cnnbench.orchestrator.plan import Group
from cnnbench.orchestrator.running_cell import CellResult, RunningCell, result_of
from cnnbench.orchestrator.start_round import WorkerLimits, start
from cnnbench.record import Record
from cnnbench.sample_pairs import differences, latencies_by_round, pairs_by_round
from cnnbench.spec import Case, Device
from cnnbench.timing.loop import SampleShape
from cnnbench.workers.client import Host
from cnnbench.workers.messages import Failure

# Rounds before narrow intervals may end a group: with fewer, a lucky streak looks like precision.
FEWEST_TO_END = 6

# A compiled cell joins at least this many rounds. It joins more while starting it takes at most this share of its
# group's time: even with warm caches a start takes seconds, in which the other cells could have rounds of their own.
FEWEST_COMPILED = 4
COMPILED_SHARE = 0.25

# Failed rounds after which a cell leaves that succeeded in another; a model that fails at random is not worth more.
MOST_FAILURES = 2

# By default all models are measured in one environment.
NO_OTHERS: Mapping[str, Host] = MappingProxyType({})


@dataclass(kw_only=True, slots=True)
class Member:
    """One case over all rounds: its successful records by round, the shape of its samples, and how often it failed.

    `start_s` are the seconds of starting it, without the round in which it compiled cold. `called`: it reached a first
    call in some round. `far_slower`: it is far slower than the reference. `out` is the failure for which it left.
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
    def needs_compiling(self) -> bool:
        """Return whether a start compiles, or at least loads what was compiled."""
        return bool(self.case.variant.compile_mode) and self.case.role != "control_workload"


class GroupRounds:
    """A group while it is measured; `rounds` counts its rounds and `spent_s` their seconds without cold compiling."""

    def __init__(
        self, host: Host, group: Group, limits: WorkerLimits, *, target: float, others: Mapping[str, Host] = NO_OTHERS
    ) -> None:
        """Prepare to measure `group`; `others` are the hosts of models of another environment, by name.

        `target` is the relative half-width of the ratios' intervals at which the group is finished.
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
        """Continue after the rounds in `records`, which may hold other groups too."""
        by_case = {member.case.identity(): member for member in self._members}
        took_s: dict[int, float] = {}
        compiled_s: dict[int, float] = {}

        # The record of each member spans its whole round, but only that of a compiled one tells how long it compiled.
        for record in records:
            member = by_case.get(record.case.identity())
            if member is not None:
                number = record.round
                took_s[number] = max(took_s.get(number, 0.0), record.duration_s)
                compiled_s[number] = compiled_s.get(number, 0.0) + sum(record.samples("compile_s"))
                if record.status == "ok":
                    member.records[number] = record

        if took_s:
            last = max(took_s)
            self.rounds = last + 1
            self.spent_s = sum(took_s[number] - compiled_s[number] for number in took_s)
            self.last_s = took_s[last] - compiled_s[last]

    def add(self, record: Record) -> None:
        """Add the record of a round, if it succeeded."""
        if record.status == "ok":
            member = next(m for m in self._members if m.case.identity() == record.case.identity())
            member.records[record.round] = record

    @property
    def is_over(self) -> bool:
        """Return whether nothing is left to measure: no cell is alive, or none has another one to be compared with."""
        alive = [m for m in self._members if m.case.role in ("timed", "lineup") and m.out is None]
        if self.is_lineup:
            return len(alive) < 2  # noqa: PLR2004  # a single model has nothing to be compared with
        lost = self._members[0].out is not None and self.rounds >= stats.FEWEST_ROUNDS
        return not alive or lost

    @property
    def fewest_rounds(self) -> int:
        """Return the fewest rounds of any cell that still takes part."""
        alive = [m for m in self._members if m.case.role in ("timed", "lineup") and m.out is None]
        return min((len(m.records) for m in alive), default=self.rounds)

    @property
    def device(self) -> Device:
        """Return where the cells of the group run."""
        return self.group.cases[0].device

    @property
    def is_lineup(self) -> bool:
        """Return whether this is a line-up, from which no row is made."""
        return self.group.cases[0].role == "lineup"

    @property
    def has_missing(self) -> bool:
        """Return whether a cell was not measured yet, but still can be."""
        return any(not m.records and m.out is None for m in self._members if m.case.role in ("timed", "lineup"))

    @property
    def never_begun_cases(self) -> list[Case]:
        """Return the timed cells whose turn never came, such as compiled ones if there was time for one round only."""
        left = [m for m in self._members if m.case.role == "timed" and m.out is None]
        return [m.case for m in left if not m.records and not m.called]

    def give_up(self, failure: Failure, model: str | None = None) -> list[Case]:
        """Drop the cells of `model` (None: all), and return the timed ones that were never measured."""
        left = [m for m in self._members if m.out is None and model in (None, m.case.model)]
        for member in left:
            member.out = failure
        return [m.case for m in left if m.case.role == "timed" and not m.records]

    def measure(self, *, deadline: float, rounds_left: float, on_progress: OnProgress) -> tuple[CellResult, ...]:
        """Measure one round and return the result of each member that took part; always end the workers.

        `deadline` (monotonic seconds) ends the blocks early. `rounds_left`: how many more rounds are likely to follow.
        """
        taking = [m for m in self._members if m.out is None and self._is_due(m, rounds_left)]
        cells = [RunningCell(case=m.case, host=self._host_of(m.case), first=not m.called) for m in taking]
        shapes = {m.case: m.shape for m in taking if m.shape is not None}
        # Seed and number of the round decide the order, so the same run shuffles in the same way.
        order = random.Random(f"{self.group.cases[0].seed} {self.rounds}")  # noqa: S311  # an order

        begin = time.monotonic()
        before = machine.read_counters(begin)
        try:
            start(cells, shapes, self._limits, on_progress)
            # Failures and cold compiling do not come again, so they count neither as starting nor as the round's cost.
            waited_s = sum(_not_reusable_s(cell) for cell in cells)
            setup_s = max(0.0, time.monotonic() - begin - waited_s)

            # Blocks need a cell to compare: controls alone would be sampled for nothing.
            alive = [cell for cell in cells if cell.alive]
            if any(cell.case.role in ("timed", "lineup") for cell in alive):
                take_blocks(
                    alive, sampling_window(alive, setup_s=setup_s, rounds=self.rounds, deadline=deadline), order
                )
        finally:
            for cell in cells:
                cell.close()

        # Counted once more, because a cell may have failed in the blocks.
        waited_s = sum(_not_reusable_s(cell) for cell in cells)
        self.last_s = max(0.0, time.monotonic() - begin - waited_s)
        self.spent_s += self.last_s
        self.rounds += 1

        # A cell that was far slower in one round stays so, also if a later round looks better.
        for member, cell in zip(taking, cells, strict=True):
            _note(member, cell)
            member.far_slower = member.far_slower or (cell.ready is not None and far_slower(cell, cells[0]))
        noise = machine.noise_between(before, machine.read_counters(time.monotonic()))
        return tuple(result_of(cell, _noise_of(cell, noise)) for cell in cells)

    def _host_of(self, case: Case) -> Host:
        return self._others.get(case.model, self._host)

    def _is_due(self, member: Member, rounds_left: float) -> bool:
        """Return whether a member takes part in this round; expensive members join fewer rounds."""
        reference = self._members[0]
        if member.far_slower:
            # Where the reference's sample was rejected there is no pair; but a noisy machine must not ask without end.
            told = sum(map(bool, pairs_by_round(reference.records, member.records)))
            return told < stats.FEWEST_ROUNDS and len(member.records) < 2 * stats.FEWEST_ROUNDS

        # Beside a compiled reference there is no round without compiling, so nothing is saved.
        if not member.needs_compiling or reference.needs_compiling:
            return True
        if self.rounds == 0:
            return False  # the first table must not wait for a compiler

        # It needs enough rounds for an interval, and joins early enough to reach its fewest.
        lacking = FEWEST_COMPILED - len(member.records)
        if len(member.records) < stats.FEWEST_ROUNDS or (lacking > 0 and rounds_left <= lacking):
            return True
        return member.start_s <= COMPILED_SHARE * self.spent_s

    def variances(self) -> list[stats.Variance]:
        """Return how the rounds of each comparison scatter, A/A control included; in a line-up, those of each pair."""
        compared = self._judged_differences()
        if self.is_lineup:
            alive = [m for m in self._members if m.records and m.out is None]
            pairs = itertools.combinations(alive, 2)
            compared = (differences(pairs_by_round(one.records, other.records)) for one, other in pairs)
        found = map(stats.variance_between_rounds, compared)
        return [variance for variance in found if variance is not None]

    def is_finished(self, prior: stats.Prior) -> bool:
        """Return whether all intervals are narrow enough, given the scatter that the whole run shows."""
        if self.is_over:
            return True
        waits = any(m.needs_compiling and m.out is None and len(m.records) < FEWEST_COMPILED for m in self._members)
        if self.rounds < FEWEST_TO_END or self.has_missing or waits:
            return False
        return self.widest_half_width(prior) <= self._target

    def widest_half_width(self, prior: stats.Prior) -> float:
        """Return the largest half-width of an interval, or infinity if one is missing."""
        prior = stats.own_prior(self.variances(), prior) if self.is_lineup else prior
        count = max(1, len(self.group.cases) - 1)
        widths = [math.inf]
        for rounds in self._judged_differences():
            effect = stats.compare_rounds(rounds, prior, comparisons=count)
            half = None if effect is None else effect.half_width
            widths.append(math.inf if half is None else half)
        return max(widths[1:], default=math.inf)

    def _judged_differences(self) -> Iterator[list[list[float]]]:
        """Yield the differences of each judged cell by round, or the latencies if there is a single cell."""
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
    """Remember what a round showed about a member, for the rounds that follow."""
    if cell.ready is not None:
        member.start_s += 0.0 if cell.first else cell.ready.first_call_s + cell.ready.warmup_s
        member.called = True
        member.shape = cell.ready.shape

    # Some failures would come again, each at its full price; others get another try.
    failure = cell.failure
    if failure is None:
        return
    member.failures += 1
    if failure.status in ("timeout", "unsupported") or not member.records or member.failures >= MOST_FAILURES:
        member.out = failure


def _not_reusable_s(cell: RunningCell) -> float:
    """Return the seconds of a cell that will not come again in the next round: failing, and compiling cold."""
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
