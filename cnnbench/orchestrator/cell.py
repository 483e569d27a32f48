"""A cell while it is measured, and what becomes of its samples."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from cnnbench import stats
from cnnbench.orchestrator.host import Host, Worker
from cnnbench.orchestrator.messages import Failure, Ready, Reply
from cnnbench.quantity import compared
from cnnbench.record import BY_ENVIRONMENT, Caution, Measurement, Outcome
from cnnbench.runners.sampling import Sample
from cnnbench.spec import Case

MOST_VOIDED = 0.2
"""Share of a cell's samples that may be voided; with more, its environment was not fit to measure in
(docs/measurement.md)."""

MOST_VOIDED_OF_RATIO = 0.8
"""The same where only the ratio to another cell is wanted. What one voids, the other loses too; the pairs that are left
were undisturbed on both sides, and that they scatter more beside other work is in the interval over the sets. On two
cores with one other program a fifth to a half of the samples is voided, and a gate must bear that. Our choice."""

FEWEST_JUDGED = 12
"""Samples of a cell before its share of voided ones is judged: the first look. Our choice."""


@dataclass(kw_only=True, slots=True)
class Cell:
    """One case while it is measured; a failed one keeps its failure and takes no further part.

    `samples` are by block. `voided` are the blocks whose sample an environment counter rejected, with the reason.
    `finished`: its interval is narrow enough. `worker` is the one of the present set of workers, started by `host`.
    `ratio_within`: the half-width that is wanted of the ratio to the reference; None: what the machine allows, and of
    the reference's own time as well.
    """

    case: Case
    host: Host | None = None
    ratio_within: float | None = None
    worker: Worker | None = None
    failure: Failure | None = None
    ready: Ready | None = None
    warmup_s: float = 0.0
    cautions: list[Caution] = field(default_factory=list)
    samples: dict[int, Sample] = field(default_factory=dict)
    voided: dict[int, str] = field(default_factory=dict)
    finished: bool = False
    waited_s: float = 0.0

    @property
    def alive(self) -> bool:
        """Whether the cell still takes part."""
        return self.failure is None

    @property
    def good(self) -> dict[int, float]:
        """The latencies of the samples that count, by block."""
        return self.counted("latency_s")

    def counted(self, quantity: str) -> dict[int, float]:
        """Return a time of the samples that count, by block; empty where samples of its shape do not have it."""
        times = {block: getattr(s, quantity) for block, s in self.samples.items() if block not in self.voided}
        return {block: time for block, time in times.items() if time is not None}

    @property
    def unfit(self) -> bool:
        """Whether so many samples were voided that the rest cannot be believed."""
        most = MOST_VOIDED if self.ratio_within is None else MOST_VOIDED_OF_RATIO
        return len(self.samples) >= FEWEST_JUDGED and len(self.voided) > most * len(self.samples)

    def start(self) -> None:
        """Start a worker for the cell."""
        assert self.host is not None
        self.worker = self.host.start()

    def at_work(self) -> Worker:
        """Return the worker that holds the cell now."""
        assert self.worker is not None
        return self.worker

    def receive(self, timeout_s: float) -> Reply:
        """Return the worker's next message, and add up how long it was waited for."""
        begin = time.monotonic()
        reply = self.at_work().receive(timeout_s)
        self.waited_s += time.monotonic() - begin
        if isinstance(reply, Failure) and reply.status == "timeout" and timeout_s == self.case.budget.timeout_s:
            return replace(reply, error=f"{reply.error} (--timeout)")
        return reply

    def close(self) -> None:
        """End the worker, if there is one."""
        if self.worker is not None:
            self.worker.close()


@dataclass(frozen=True, kw_only=True, slots=True)
class Seen:
    """What came of one case: an outcome, and a failure if it must not be used."""

    case: Case
    failure: Failure | None
    outcome: Outcome
    lost_s: float = 0.0  # that the case took without a result; the others should not pay for it


def width(cell: Cell, reference: Cell, sets: Sequence[int]) -> float:
    """Return the relative half-width of the cell's interval in this launch; infinite while there is none.

    `sets` are the first blocks of the sets of workers. A speed-up's width is that of its logarithm.
    """
    if cell.case.role == "canary":
        return 0.0
    if cell is reference:
        if cell.ratio_within is not None:
            return 0.0
        own = list(cell.good.values())
        interval = stats.median(own) if own else None
        if interval is None or interval.low is None or interval.high is None:
            return math.inf
        return (interval.high - interval.low) / 2 / interval.center
    effect = _effect(cell, reference, sets)
    return math.inf if effect is None or effect.half_width is None else effect.half_width


def doubtful(cell: Cell, reference: Cell, sets: Sequence[int]) -> bool:
    """Return whether the blocks of a cell may be correlated, so that its interval may be wider than it seems."""
    if cell is reference or cell.case.role == "canary":
        return False
    effect = _effect(cell, reference, sets)
    return effect is not None and effect.doubtful


def _effect(cell: Cell, reference: Cell, sets: Sequence[int]) -> stats.Effect | None:
    return stats.compare_paired([by_set(*compared(reference.counted, cell.counted), sets)])


def by_set(base: Mapping[int, float], own: Mapping[int, float], sets: Sequence[int]) -> list[list[float]]:
    """Return ln(base / own) of the blocks that both have, in order, by set of workers (`sets`: their first blocks)."""
    found: list[list[float]] = [[] for _ in sets]
    for block in sorted(base.keys() & own.keys()):
        at = sum(first <= block for first in sets) - 1
        found[at].append(math.log(base[block] / own[block]))
    return found


def seen_of(cell: Cell, sets: Sequence[int]) -> Seen:
    """Return what came of `cell`; one whose samples were voided too often is invalid."""
    failure = cell.failure or (_voided(cell) if cell.unfit and cell.case.role == "timed" else None)
    lost_s = 0.0 if cell.failure is None else cell.waited_s
    return Seen(case=cell.case, failure=failure, outcome=_outcome(cell, sets), lost_s=lost_s)


def _voided(cell: Cell) -> Failure:
    reasons = list(cell.voided.values())
    kinds = [re.sub(r"\d+(\.\d+)?", "", reason) for reason in reasons]  # how much it was differs every time
    commonest = reasons[kinds.index(max(dict.fromkeys(kinds), key=kinds.count))]
    error = (
        f"{BY_ENVIRONMENT}{len(reasons)} of {len(cell.samples)} samples were voided, most of them because {commonest}; "
        "measure again when the machine has no other work"
    )
    return Failure(status="invalid", error=error)


def _outcome(cell: Cell, sets: Sequence[int]) -> Outcome:
    if cell.ready is None or not cell.samples:
        return Outcome(cautions=tuple(cell.cautions))
    return Outcome(
        measurements=(*_once(cell, cell.ready), *_by_block(cell, cell.ready)),
        cautions=tuple(dict.fromkeys(cell.cautions)),
        sets=tuple(sets) if len(sets) > 1 else (),
    )


def _once(cell: Cell, ready: Ready) -> tuple[Measurement, ...]:
    compiled = cell.case.variant.compile_mode and cell.case.role != "canary"
    first = "compile_s" if compiled else "first_call_s"
    passes = cell.warmup_s + sum(s.rewarm_s + s.sample_s for s in cell.samples.values())
    values = [(first, ready.first_call_s), ("warmup_s", cell.warmup_s), ("passes_s", passes)]
    if ready.reading_s is not None:
        values.append(("reading_s", ready.reading_s))
    return tuple(Measurement(quantity=q, samples=(_ns(v),)) for q, v in values)


def _by_block(cell: Cell, ready: Ready) -> tuple[Measurement, ...]:
    blocks = tuple(cell.samples)
    samples = tuple(cell.samples.values())
    units = ready.shape.iterations
    voided = tuple(at for at, block in enumerate(blocks) if block in cell.voided)
    values: dict[str, list[float | None]] = {
        name: [getattr(s, name) for s in samples]
        for name in ("latency_s", "lower_decile_s", "lower_quartile_s", "sample_s")
    }
    values |= {phase: [s.phases_s[at] for s in samples] for at, phase in enumerate(ready.phases)}
    values |= {name: [getattr(s, name) for s in samples] for name in ("device_s", "cpu_share", "steal_share")}
    table = []
    for name, column in values.items():
        seen = [(block, _ns(value)) for block, value in zip(blocks, column, strict=True) if value is not None]
        if seen:
            own = voided if name == "latency_s" else ()  # a block that is voided there is voided everywhere
            where, what = zip(*seen, strict=True)
            table.append(Measurement(quantity=name, samples=what, units=units, blocks=where, voided=own))
    kept = [(block, t) for block, s in cell.samples.items() for t in s.iterations_s]
    if kept:
        each = tuple(_ns(t) for _, t in kept)
        table.append(Measurement(quantity="iteration_s", samples=each, blocks=tuple(b for b, _ in kept)))
    return tuple(table)


def _ns(seconds: float) -> float:
    """Return `seconds` to the nanosecond, which is what the clock counts in."""
    return round(seconds, 9)
