"""Noise: how far a run can be trusted, from its A/A controls, control workloads and the machine's counters."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from cnnbench.analysis.controls import Controls
from cnnbench.analysis.effects import Comparisons, ReferenceGroup
from cnnbench.analysis.join import TIMED, Cell, count_rejected
from cnnbench.stats import Interval, excludes_zero, is_quiet

# Share of the time in which some process waited for a core, median over the rounds, and share of the cores' time that
# the hypervisor gave to others, from which the machine counts as busy (docs/measurement.md).
BUSY_PRESSURE = 0.5
BUSY_STEAL = 0.05


@dataclass(frozen=True, kw_only=True, slots=True)
class ControlNoise:
    """A/A check of a group: time of the reference over that of its A/A control, which is the same model.

    `excludes`: the interval does not hold 1, so the group's intervals are wider by what it is away from 1.
    """

    reference: str
    ratio: Interval
    rounds: int
    excludes: bool

    @property
    def width(self) -> float:
        """Width of the interval of the ratio's logarithm, infinite where there is none."""
        low, high = self.ratio.low, self.ratio.high
        return math.inf if low is None or high is None else math.log(high / low)


@dataclass(frozen=True, kw_only=True, slots=True)
class WorkloadNoise:
    """What fixed work showed while a group was measured: quartile distance over median of its time."""

    reference: str
    spread: float
    quiet: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class NoiseCard:
    """How noisy the machine was, over all groups. SI units; None: not in the records.

    `samples` and `rejected` count the timed cells' samples, also those of rounds that are invalid. `steal_share` is the
    mean over all samples, rejected ones too, `most_steal_share` that of the worst one; `pressure_share` is the median
    over the rounds, `load` the highest; `clock_low_per_s` and `clock_high_per_s` are cycles a second.
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
        """What other programs took of the cores, where that is so much that latencies are not to be trusted."""
        if self.pressure_share is not None and self.pressure_share > BUSY_PRESSURE:
            return f"processes waited for a core {100 * self.pressure_share:.0f} % of the time"
        if self.steal_share is not None and self.steal_share > BUSY_STEAL:
            return f"the hypervisor gave {100 * self.steal_share:.0f} % of the cores' time to others"
        return None


def noise_of(
    cells: Sequence[Cell], controls: Controls, comparisons: Comparisons, threads: Mapping[str, int]
) -> NoiseCard | None:
    """Return the noise card of the timed `cells`, None where nothing was timed."""
    timed = [cell for cell in cells if cell.case.task in TIMED and _raw([cell], "latency_s")]
    if not timed:
        return None

    groups = comparisons.groups.values()
    beside = [
        found
        for group in groups
        for role in ("aa_control", "control_workload")
        if (found := controls.of(group.reference, role))
    ]

    watched = [*timed, *beside]
    steal = _raw(watched, "steal_share")
    clocks = _raw(watched, "clock_cycles_per_s")
    pressure = _raw(watched, "pressure_share")
    rejected = [count for cell in timed if (count := count_rejected(cell.records)) is not None]

    return NoiseCard(
        aa_controls=tuple(aa_control for group in groups if (aa_control := _aa_control(group)) is not None),
        control_workloads=tuple(
            WorkloadNoise(reference=group.reference.case.label(), spread=group.spread, quiet=is_quiet(group.spread))
            for group in groups
            if group.spread is not None
        ),
        samples=len(_raw(timed, "latency_s")),
        rejected=sum(rejected) if rejected else None,
        threads=tuple(threads.items()),
        steal_share=statistics.fmean(steal) if steal else None,
        most_steal_share=max(steal, default=None),
        pressure_share=statistics.median(pressure) if pressure else None,
        load=max(_raw(watched, "load"), default=None),
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


def _raw(cells: Iterable[Cell], quantity: str) -> list[float]:
    """Return all samples of `quantity`, of rejected blocks and invalid rounds too: noise is what made them so."""
    return [value for cell in cells for record in cell.records for value in record.samples(quantity)]
