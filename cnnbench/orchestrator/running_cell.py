"""A cell in one round: its worker, its samples, and the outcome that becomes a record."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from cnnbench.record import DISTURBED, Measurement, Outcome, RecordedWarning
from cnnbench.spec import Case
from cnnbench.timing.loop import Sample
from cnnbench.workers.client import Host, Worker
from cnnbench.workers.messages import Failure, Ready, Reply

ALL_DISTURBED = RecordedWarning(code="disturbed", fact="every sample of a round was disturbed", advice=DISTURBED)


@dataclass(kw_only=True, slots=True)
class RunningCell:
    """One case in one round; a failed cell keeps its failure and takes no further part.

    `samples` are by block. `rejected` gives the reason for each block whose sample an environment counter rejected.
    `host` starts the worker. `first`: no earlier round reached a first call, so this one compiles. `waited_s` are the
    seconds spent waiting for answers.
    """

    case: Case
    host: Host | None = None
    first: bool = True
    worker: Worker | None = None
    failure: Failure | None = None
    ready: Ready | None = None
    warnings: list[RecordedWarning] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    samples: dict[int, Sample] = field(default_factory=dict)
    rejected: dict[int, str] = field(default_factory=dict)
    waited_s: float = 0.0

    @property
    def alive(self) -> bool:
        """Return whether the cell still takes part."""
        return self.failure is None

    def start(self) -> None:
        """Start a worker for the cell."""
        assert self.host is not None
        self.worker = self.host.start()

    def current_worker(self) -> Worker:
        """Return the worker that holds the cell now."""
        assert self.worker is not None
        return self.worker

    def receive(self, timeout_s: float) -> Reply:
        """Return the worker's next message, and add the time of waiting for it to `waited_s`."""
        begin = time.monotonic()
        reply = self.current_worker().receive(timeout_s)
        self.waited_s += time.monotonic() - begin
        return reply

    def close(self) -> None:
        """End the worker, if there is one."""
        if self.worker is not None:
            self.worker.close()


@dataclass(frozen=True, kw_only=True, slots=True)
class CellResult:
    """Result of one case in one round: an outcome, and a failure if the outcome must not be used."""

    case: Case
    failure: Failure | None
    outcome: Outcome
    lost_s: float = 0.0  # time lost to a failed cell; it is added back to the budget


def result_of(cell: RunningCell, more: Mapping[str, float | None]) -> CellResult:
    """Return the result of `cell`.

    `more` are quantities that were measured once beside the samples; None if a quantity could not be measured.
    """
    outcome = _outcome(cell)
    if outcome.measurements:
        extra = tuple(Measurement(quantity=name, samples=(v,)) for name, v in more.items() if v is not None)
        outcome = replace(outcome, measurements=(*outcome.measurements, *extra))
    lost_s = 0.0 if cell.failure is None else cell.waited_s
    return CellResult(case=cell.case, failure=cell.failure, outcome=outcome, lost_s=lost_s)


def _outcome(cell: RunningCell) -> Outcome:
    warnings, notes = tuple(dict.fromkeys(cell.warnings)), tuple(dict.fromkeys(cell.notes))
    if cell.ready is None or not cell.samples:
        return Outcome(warnings=warnings, notes=notes)
    if len(cell.rejected) == len(cell.samples):
        # On a machine that is always busy, a number with a warning says more than no number.
        warnings = (*warnings, ALL_DISTURBED)
    measurements = (*_once_measurements(cell, cell.ready), *_block_measurements(cell, cell.ready))
    return Outcome(measurements=measurements, warnings=warnings, notes=notes)


def _once_measurements(cell: RunningCell, ready: Ready) -> tuple[Measurement, ...]:
    first = _first_call_quantity(cell)
    passes = ready.warmup_s + sum(s.rewarm_s + s.sample_s for s in cell.samples.values())
    passes += ready.first_call_s if first == "first_call_s" else 0.0  # a first call that compiles counts as compiling
    values = [(first, ready.first_call_s), ("warmup_s", ready.warmup_s), ("passes_s", passes)]
    if ready.reading_s is not None:
        values.append(("reading_s", ready.reading_s))
    return tuple(Measurement(quantity=q, samples=(_ns(v),)) for q, v in values)


def _first_call_quantity(cell: RunningCell) -> str:
    """Return the quantity of the first call: cold compiling, compiling with warm caches, or a plain first call."""
    if not cell.case.variant.compile_mode or cell.case.role == "control_workload":
        return "first_call_s"
    return "compile_s" if cell.first else "compile_warm_s"


def _block_measurements(cell: RunningCell, ready: Ready) -> tuple[Measurement, ...]:
    blocks = tuple(cell.samples)
    samples = tuple(cell.samples.values())

    # A record refers to samples by position, not by block. If all were rejected, all are kept, with a warning.
    bad_blocks = cell.rejected if len(cell.rejected) < len(blocks) else {}
    rejected = tuple(at for at, block in enumerate(blocks) if block in bad_blocks)

    # Seconds by block, and shares of CPU time. The device's time and the shares may be unknown (None) in a block.
    values: dict[str, list[float | None]] = {
        name: [getattr(s, name) for s in samples]
        for name in ("latency_s", "lower_decile_s", "lower_quartile_s", "sample_s")
    }
    values |= {phase: [s.phases_s[at] for s in samples] for at, phase in enumerate(ready.phases)}
    values |= {name: [getattr(s, name) for s in samples] for name in ("device_s", "cpu_share", "steal_share")}

    # A quantity lists only the blocks in which it is known; one that is never known is left out.
    table = []
    for name, column in values.items():
        seen = [(block, _ns(value)) for block, value in zip(blocks, column, strict=True) if value is not None]
        if seen:
            own = rejected if name == "latency_s" else ()  # rejected for the latency means rejected for all quantities
            where, what = zip(*seen, strict=True)
            table.append(
                Measurement(
                    quantity=name,
                    samples=what,
                    iterations_per_sample=ready.shape.iterations,
                    blocks=where,
                    rejected=own,
                )
            )

    # Single iterations: several for each block, so a block number occurs more than once.
    kept = [(block, t) for block, s in cell.samples.items() for t in s.iterations_s]
    if kept:
        each = tuple(_ns(t) for _, t in kept)
        table.append(Measurement(quantity="iteration_s", samples=each, blocks=tuple(b for b, _ in kept)))
    return tuple(table)


def _ns(seconds: float) -> float:
    """Return `seconds` rounded to nanoseconds, the unit of the clock."""
    return round(seconds, 9)
