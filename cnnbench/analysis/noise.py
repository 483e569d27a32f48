"""The noise card: how far a run's numbers can be trusted, from its A/A twins, canaries and the machine's counters."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from cnnbench.analysis.asides import Asides
from cnnbench.analysis.cells import TIMED, Cell, voided
from cnnbench.analysis.comparison import Comparisons, Group
from cnnbench.analysis.judge import excludes_none
from cnnbench.stats import Basis, Interval, is_quiet


@dataclass(frozen=True, kw_only=True, slots=True)
class TwinNoise:
    """What the A/A check of a group showed: time of the reference over that of its twin, which is the same network.

    `excludes`: the interval does not hold 1. `silences`: so the group has no verdicts.
    """

    reference: str
    ratio: Interval
    basis: Basis
    excludes: bool
    silences: bool

    @property
    def width(self) -> float:
        """Width of the interval of the ratio's logarithm, infinite where there is none."""
        low, high = self.ratio.low, self.ratio.high
        return math.inf if low is None or high is None else math.log(high / low)


@dataclass(frozen=True, kw_only=True, slots=True)
class CanaryNoise:
    """What fixed work showed while a group was measured: quartile distance over median of its time."""

    reference: str
    spread: float
    quiet: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class NoiseCard:
    """How noisy the machine was, over all groups. SI units; None: not in the records.

    `samples` and `voided` count the timed cells' samples, also those of launches that are invalid. `steal_share` is the
    mean over all samples, voided ones too, `most_steal_share` that of the worst one; `pressure_share` and `load` are
    the highest seen; `clock_low_per_s` and `clock_high_per_s` are cycles a second.
    """

    twins: tuple[TwinNoise, ...]
    canaries: tuple[CanaryNoise, ...]
    samples: int
    voided: int | None
    threads: tuple[tuple[str, int], ...]
    steal_share: float | None = None
    most_steal_share: float | None = None
    pressure_share: float | None = None
    load: float | None = None
    clock_low_per_s: float | None = None
    clock_high_per_s: float | None = None


def noise_of(
    cells: Sequence[Cell], asides: Asides, comparisons: Comparisons, threads: Mapping[str, int]
) -> NoiseCard | None:
    """Return the noise card of the timed `cells`, None where nothing was timed."""
    timed = [cell for cell in cells if cell.case.task in TIMED and _raw([cell], "latency_s")]
    if not timed:
        return None
    groups = comparisons.groups.values()
    beside = [found for group in groups for role in ("twin", "canary") if (found := asides.of(group.reference, role))]
    watched = [*timed, *beside]
    steal = _raw(watched, "steal_share")
    clocks = _raw(watched, "clock_cycles_per_s")
    rejected = [count for cell in timed if (count := voided(cell.records)) is not None]
    return NoiseCard(
        twins=tuple(twin for group in groups if (twin := _twin(group)) is not None),
        canaries=tuple(
            CanaryNoise(reference=group.reference.case.label(), spread=group.spread, quiet=is_quiet(group.spread))
            for group in groups
            if group.spread is not None
        ),
        samples=len(_raw(timed, "latency_s")),
        voided=sum(rejected) if rejected else None,
        threads=tuple(threads.items()),
        steal_share=statistics.fmean(steal) if steal else None,
        most_steal_share=max(steal, default=None),
        pressure_share=max(_raw(watched, "pressure_share"), default=None),
        load=max(_raw(watched, "load"), default=None),
        clock_low_per_s=min(clocks, default=None),
        clock_high_per_s=max(clocks, default=None),
    )


def _twin(group: Group) -> TwinNoise | None:
    if group.twin is None:
        return None
    return TwinNoise(
        reference=group.reference.case.label(),
        ratio=group.twin.ratio,
        basis=group.twin.basis,
        excludes=excludes_none(group.twin),
        silences=group.margin.silenced,
    )


def _raw(cells: Iterable[Cell], quantity: str) -> list[float]:
    """Return all samples of `quantity`, of voided blocks and invalid launches too: noise is what made them so."""
    return [value for cell in cells for record in cell.records for value in record.samples(quantity)]
