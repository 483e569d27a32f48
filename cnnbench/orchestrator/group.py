"""Measure one group in one launch: build, warm up in turn, then samples in shuffled blocks until it is enough."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from cnnbench import stats
from cnnbench.orchestrator.host import Host, Worker
from cnnbench.orchestrator.messages import Built, Failure, Job, Ready, Reply, Take, Taken, Warm
from cnnbench.orchestrator.planning import SETUP_S, Group, fixed_s
from cnnbench.record import Caution, Measurement, Outcome
from cnnbench.runners.sampling import WARM_CAP_S, Sample
from cnnbench.spec import Case

LOOKS = (12, 18, 27, 40, 60, 90, 135, 200, 300, 450, 675, 1000)
"""Numbers of blocks after which the width of the intervals is looked at; looking oftener would favour lucky streaks."""

WIDTH_CPU = 0.02
WIDTH_CUDA = 0.005
"""Half-width of an interval, relative, at which measuring stops. Width may stop a run, significance never."""

MEASURED_S = 3.0
"""Seconds of blocks before the width may stop a group: noise slower than this would not have been seen."""

LEAST_BLOCKS = 6
"""Blocks that a group takes when its own share is spent but not the run's budget: the fewest that give an interval."""

EMULATED_PATIENCE_S = 10.0
EMULATED_WARM_S = 5.0
"""Seconds until an emulated variant must have warmed up, compiling apart, and when a warm-up that does not settle ends;
one that takes longer is given up, because it would eat the budget. Our choice."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """What a group may spend: seconds of blocks, not beyond `deadline` (monotonic); memory and warm-up of a worker."""

    sampling_s: float
    deadline: float
    scratch: str
    memory_bytes: int | None
    warm_cap_s: float
    emulated: Mapping[Case, str]


@dataclass(kw_only=True, slots=True)
class Cell:
    """One case while it is measured; a failed one keeps its failure and takes no further part."""

    case: Case
    worker: Worker
    failure: Failure | None = None
    ready: Ready | None = None
    cautions: list[Caution] = field(default_factory=list)
    samples: dict[int, Sample] = field(default_factory=dict)  # by block
    waited_s: float = 0.0

    @property
    def alive(self) -> bool:
        """Whether the cell still takes part."""
        return self.failure is None


@dataclass(frozen=True, kw_only=True, slots=True)
class Seen:
    """What came of one case: a failure, or an outcome."""

    case: Case
    failure: Failure | None
    outcome: Outcome
    lost_s: float = 0.0  # that the case took without a result; the others should not pay for it


Tell = Callable[[str], None]


def measure_group(host: Host, group: Group, limits: Limits, *, launch: int, tell: Tell) -> tuple[Seen, ...]:
    """Measure the cases of `group` side by side and return what came of each; the workers end here in any case."""
    cells = [Cell(case=case, worker=host.start()) for case in group.cases]
    try:
        _build(cells, limits, tell)
        for cell in cells:
            if cell.alive:
                compiles = (
                    "compiling (a minute or so) and warming up" if cell.case.variant.compile_mode else "warming up"
                )
                tell(f"{cell.case.label()}: {compiles}")
                _warm(cell, limits)
        _take_blocks(cells, limits, random.Random(f"{group.cases[0].seed} {launch}"), tell)  # noqa: S311  # an order
    finally:
        for cell in cells:
            cell.worker.close()
    return tuple(_seen(cell) for cell in cells)


def _seen(cell: Cell) -> Seen:
    lost_s = 0.0 if cell.failure is None else cell.waited_s
    return Seen(case=cell.case, failure=cell.failure, outcome=_outcome(cell), lost_s=lost_s)


def _receive(cell: Cell, timeout_s: float) -> Reply:
    """Return the cell's next message, and add to the cell how long it was waited for."""
    begin = time.monotonic()
    reply = cell.worker.receive(timeout_s)
    cell.waited_s += time.monotonic() - begin
    if isinstance(reply, Failure) and reply.status == "timeout" and timeout_s == cell.case.budget.timeout_s:
        return replace(reply, error=f"{reply.error} (--timeout)")
    return reply


def _build(cells: Sequence[Cell], limits: Limits, tell: Tell) -> None:
    """Build all networks at once: nothing is timed yet, so they may share the cores."""
    tell(f"{cells[0].case.label()}: building" + (f", with {len(cells) - 1} more" if len(cells) > 1 else ""))
    for cell in cells:
        cell.worker.send(
            Job(
                case=cell.case,
                scratch=limits.scratch,
                memory_limit_bytes=limits.memory_bytes if cell.case.device == "cpu" else None,
                warm_cap_s=min(limits.warm_cap_s, EMULATED_WARM_S if cell.case in limits.emulated else WARM_CAP_S),
            )
        )
    for cell in cells:
        reply = _receive(cell, cell.case.budget.timeout_s)
        if isinstance(reply, Failure):
            cell.failure = reply
        else:
            assert isinstance(reply, Built)
            cell.cautions += reply.cautions


def _warm(cell: Cell, limits: Limits) -> None:
    emulated = limits.emulated.get(cell.case)
    patience = cell.case.budget.timeout_s
    if emulated is not None:
        patience = min(patience, EMULATED_PATIENCE_S + fixed_s(cell.case) - SETUP_S)
    cell.worker.send(Warm())
    reply = _receive(cell, patience)
    if isinstance(reply, Ready):
        cell.ready = reply
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


def _take_blocks(cells: Sequence[Cell], limits: Limits, order: random.Random, tell: Tell) -> None:
    """Take samples block by block, each block in a new order, until width, budget or the last look ends it."""
    begin = time.monotonic()
    lost_before = _lost_s(cells)
    for block in range(LOOKS[-1]):
        alive = [cell for cell in cells if cell.alive]
        now = time.monotonic()
        deadline = limits.deadline + _lost_s(cells)
        until = min(deadline, begin + limits.sampling_s + _lost_s(cells) - lost_before)
        if not alive or (now >= until and block >= LEAST_BLOCKS) or (now >= deadline and block):
            break
        if block in LOOKS and now - begin >= MEASURED_S and _precise(alive):
            return
        if block % 4 == 0:
            tell(_block_text(alive, block))
        order.shuffle(alive)
        for cell in alive:
            _take(cell, block)
    _caution_width([cell for cell in cells if cell.alive])


def _lost_s(cells: Sequence[Cell]) -> float:
    """Return the seconds that failed cells took: the others get them on top."""
    return sum(cell.waited_s for cell in cells if not cell.alive)


def _take(cell: Cell, block: int) -> None:
    cell.worker.send(Take())
    reply = _receive(cell, cell.case.budget.timeout_s)
    if isinstance(reply, Taken):
        cell.samples[block] = reply.sample
    else:
        assert isinstance(reply, Failure)
        cell.failure = reply


def _block_text(cells: Sequence[Cell], block: int) -> str:
    first = cells[0].case
    return f"{first.model} {first.device} {first.task} batch {first.batch_size}: {len(cells)} cells, block {block + 1}"


def _precise(cells: Sequence[Cell]) -> bool:
    return all(width(cell, cells[0]) <= (WIDTH_CUDA if cell.case.device == "cuda" else WIDTH_CPU) for cell in cells)


def width(cell: Cell, reference: Cell) -> float:
    """Return the relative half-width of the interval that the cell's row will show; infinite while there is none."""
    own = {block: s.latency_s for block, s in cell.samples.items()}
    if cell is reference:
        interval = stats.median(list(own.values()))
    else:
        base = {block: s.latency_s for block, s in reference.samples.items()}
        paired = stats.ratio_by_block(base, own)
        if paired is None:
            return math.inf
        interval = paired
    if interval.low is None or interval.high is None:
        return math.inf
    return (interval.high - interval.low) / 2 / interval.center


def _caution_width(cells: Sequence[Cell]) -> None:
    for cell in cells:
        if (wide := width(cell, cells[0])) > (WIDTH_CUDA if cell.case.device == "cuda" else WIDTH_CPU):
            by = f"+-{100 * wide:.1f} %" if math.isfinite(wide) else "too few samples for an interval"
            fact = f"the interval is wider than asked for when the budget is spent ({by})"
            cell.cautions.append(Caution(code="precision_not_reached", fact=fact, advice="Give it a larger --budget."))


def _outcome(cell: Cell) -> Outcome:
    if cell.ready is None or cell.failure is not None or not cell.samples:
        return Outcome(cautions=tuple(cell.cautions))
    return Outcome(measurements=(*_once(cell, cell.ready), *_by_block(cell, cell.ready)), cautions=tuple(cell.cautions))


def _once(cell: Cell, ready: Ready) -> tuple[Measurement, ...]:
    first = "compile_s" if cell.case.variant.compile_mode else "first_call_s"
    passes = ready.warmup_s + sum(s.rewarm_s + s.sample_s for s in cell.samples.values())
    values = ((first, ready.first_call_s), ("warmup_s", ready.warmup_s), ("passes_s", passes))
    return tuple(Measurement(quantity=q, samples=(_ns(v),)) for q, v in values)


def _by_block(cell: Cell, ready: Ready) -> tuple[Measurement, ...]:
    blocks = tuple(cell.samples)
    samples = tuple(cell.samples.values())
    units = ready.shape.iterations
    columns = [("latency_s", [s.latency_s for s in samples]), ("sample_s", [s.sample_s for s in samples])]
    columns += [(phase, [s.phases_s[k] for s in samples]) for k, phase in enumerate(ready.phases)]
    kept = [(block, t) for block, s in cell.samples.items() for t in s.iterations_s]
    table = [Measurement(quantity=q, samples=tuple(map(_ns, v)), units=units, blocks=blocks) for q, v in columns]
    if kept:
        each = tuple(_ns(t) for _, t in kept)
        table.append(Measurement(quantity="iteration_s", samples=each, blocks=tuple(b for b, _ in kept)))
    return tuple(table)


def _ns(seconds: float) -> float:
    """Return `seconds` to the nanosecond, which is what the clock counts in."""
    return round(seconds, 9)
