"""Estimate how far a run can be trusted, from its A/A controls, control workloads and the machine's counters."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from cnnbench.analysis.cells import TIMED, Cell, count_rejected
from cnnbench.analysis.effects import Comparisons, ReferenceGroup
from cnnbench.analysis.side_cells import Controls
from cnnbench.stats import Interval, excludes_zero, is_quiet

# Above these limits the machine counts as busy (docs/measurement.md). BUSY_PRESSURE: share of the time in which some
# process waited for a core, median over the rounds. BUSY_STEAL: share of the cores' time given away by the hypervisor.
BUSY_PRESSURE = 0.5
BUSY_STEAL = 0.05


@dataclass(frozen=True, kw_only=True, slots=True)
class ControlNoise:
    """A/A check of a group: time of the reference over that of its A/A control, which is the same model.

    `excludes`: the interval does not contain 1, so the intervals of the group are widened by its distance from 1.
    """

    reference: str
    ratio: Interval
    rounds: int
    excludes: bool

    @property
    def width(self) -> float:
        """Width of the interval of the logarithm of the ratio, infinite if there is none."""
        low, high = self.ratio.low, self.ratio.high
        return math.inf if low is None or high is None else math.log(high / low)


@dataclass(frozen=True, kw_only=True, slots=True)
class WorkloadNoise:
    """The control workload while a group was measured: `spread` is quartile distance over median of its time."""

    reference: str
    spread: float
    quiet: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class NoiseCard:
    """How noisy the machine was, over all groups; SI units, None if not in the records.

    `samples` and `rejected` count the samples of the timed cells, those of invalid rounds included. `steal_share` is
    the mean over all samples, rejected ones included, and `most_steal_share` that of the worst sample.
    `pressure_share` is the median over the rounds, `load` the highest load. `clock_low_per_s` and `clock_high_per_s`
    are cycles a second.
    """

    aa_controls: tuple[ControlNoise, ...]
    control_workloads: tuple[WorkloadNoise, ...]
    samples: int
    rejected: int | None
    threads: tuple[tuple[str, int], ...]
    steal_share: float | None = None
    most_steal_share: float | None = None
    pressure_share: float | None = None
    load: float | None = None
    clock_low_per_s: float | None = None
    clock_high_per_s: float | None = None

    @property
    def busy(self) -> str | None:
        """Return what other programs took of the cores; None unless it is too much to trust latencies."""
        if self.pressure_share is not None and self.pressure_share > BUSY_PRESSURE:
            return f"processes waited for a core {100 * self.pressure_share:.0f} % of the time"
        if self.steal_share is not None and self.steal_share > BUSY_STEAL:
            return f"the hypervisor gave {100 * self.steal_share:.0f} % of the cores' time to others"
        return None


def noise_of(
    cells: Sequence[Cell], controls: Controls, comparisons: Comparisons, threads: Mapping[str, int]
) -> NoiseCard | None:
    """Return the noise card of the timed `cells`; None if nothing was timed."""
    timed = [cell for cell in cells if cell.case.task in TIMED and _all_samples([cell], "latency_s")]
    if not timed:
        return None

    # Controls run in the same rounds as the cells, so their counters tell of the same noise.
    groups = comparisons.groups.values()
    beside = [
        found
        for group in groups
        for role in ("aa_control", "control_workload")
        if (found := controls.of(group.reference, role))
    ]

    watched = [*timed, *beside]
    steal = _all_samples(watched, "steal_share")
    clocks = _all_samples(watched, "clock_cycles_per_s")
    pressure = _all_samples(watched, "pressure_share")
    # Without environment counters the number of rejected samples is not known, rather than 0.
    rejected = [count for cell in timed if (count := count_rejected(cell.records)) is not None]

    return NoiseCard(
        aa_controls=tuple(aa_control for group in groups if (aa_control := _aa_control(group)) is not None),
        control_workloads=tuple(
            WorkloadNoise(reference=group.reference.case.label(), spread=group.spread, quiet=is_quiet(group.spread))
            for group in groups
            if group.spread is not None
        ),
        samples=len(_all_samples(timed, "latency_s")),
        rejected=sum(rejected) if rejected else None,
        threads=tuple(threads.items()),
        steal_share=statistics.fmean(steal) if steal else None,
        most_steal_share=max(steal, default=None),
        pressure_share=statistics.median(pressure) if pressure else None,
        load=max(_all_samples(watched, "load"), default=None),
        clock_low_per_s=min(clocks, default=None),
        clock_high_per_s=max(clocks, default=None),
    )


def _aa_control(group: ReferenceGroup) -> ControlNoise | None:
    if group.aa_control is None:
        return None
    return ControlNoise(
        reference=group.reference.case.label(),
        ratio=group.aa_control.ratio,
        rounds=group.aa_control.rounds,
        excludes=excludes_zero(group.aa_control),
    )


def _all_samples(cells: Iterable[Cell], quantity: str) -> list[float]:
    """Return all samples of `quantity`, also of rejected blocks and invalid rounds, since noise made them so."""
    return [value for cell in cells for record in cell.records for value in record.samples(quantity)]
