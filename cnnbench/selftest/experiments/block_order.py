"""Check the order of cells in the blocks of a round, and what a drift of the machine does to the estimate (V16)."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass, field
from typing import Any, cast

from cnnbench.orchestrator.blocks import SamplingWindow, take_blocks
from cnnbench.orchestrator.running_cell import RunningCell
from cnnbench.selftest import Found, Setting
from cnnbench.selftest.experiments.known_slowdown import case_of
from cnnbench.stats import compare_rounds
from cnnbench.timing.loop import Sample
from cnnbench.workers.messages import Taken

# Cells, shuffles, and the least p of uniform positions: of a chi-squared test of how often each cell had each position.
CELLS = 4
SHUFFLES = 10_000
LEAST_P = 0.01

# Blocks of a round, rounds of a run with drift, and runs, of which the worst counts.
BLOCKS = 4
ROUNDS = 10
DRIFTING_RUNS = 20

# Share by which the machine becomes slower during a run, and share by which the estimate may move.
DRIFT = 0.20
MOST_MOVED = 0.002

# Standard deviation of the logarithm of a sample's time, as on a quiet machine. With much more, the drift now and then
# moves a round past the limit of what counts as far off, and the estimate jumps by the weight of that round.
JITTER = 0.002


@dataclass
class _Machine:
    """A machine with jitter that gets slower by the share `drift` over `samples` samples; `taken` notes their cells."""

    samples: int
    jitter: random.Random
    drift: float = 0.0
    taken: list[int] = field(default_factory=list)

    def sample(self, cell: int) -> Sample:
        seconds = 0.01 * self.jitter.lognormvariate(0.0, JITTER) * (1 + self.drift * len(self.taken) / self.samples)
        self.taken.append(cell)
        return Sample(
            latency_s=seconds, sample_s=seconds, rewarm_s=0.0, tail_s=0.0, iterations_s=(seconds,), phases_s=()
        )


@dataclass
class _Pretended:
    """A stand-in for the worker of one cell."""

    machine: _Machine
    cell: int

    def send(self, _request: object) -> None:
        """Accept the request."""

    def receive(self, _timeout_s: float) -> Taken:
        """Return a sample of the machine as it is now."""
        return Taken(sample=self.machine.sample(self.cell))


def check_block_order(part: str, setting: Setting) -> Found:
    """Check whether positions are uniform, or how far a drift moves the estimate (V16).

    Blocks are taken by the code that takes them in a run.
    """
    return _positions(setting) if part == "positions" else _check_drift(setting)


def _round(machine: _Machine, count: int, seed: int, number: int) -> list[RunningCell]:
    """Return `count` equal cells after round `number`, taken as a run does; each round has an order of its own."""
    cells = [RunningCell(case=case_of("lenet", seed)) for _ in range(count)]
    for at, cell in enumerate(cells):
        cell.worker = cast("Any", _Pretended(machine, at))
    turn = SamplingWindow(count=BLOCKS, least=BLOCKS, deadline=math.inf)
    take_blocks(cells, turn, random.Random(f"{seed} {number}"))  # noqa: S311  # an order
    return cells


def _positions(setting: Setting) -> Found:
    from scipy.stats import chisquare

    # Counts by cell (rows) and position in a block (columns).
    places = [[0] * CELLS for _ in range(CELLS)]
    rounds = math.ceil(SHUFFLES / BLOCKS)
    for number in range(rounds):
        machine = _Machine(samples=CELLS * BLOCKS, jitter=random.Random(setting.seed))  # noqa: S311  # times
        _round(machine, CELLS, setting.seed, number)
        # The machine notes the cells one after the other, `CELLS` of them to a block.
        for at, cell in enumerate(machine.taken):
            places[cell][at % CELLS] += 1

    # Of the CELLS x CELLS counts only (CELLS - 1)^2 are free, because each row and each column adds up to the shuffles.
    p = float(chisquare([n for row in places for n in row], ddof=CELLS**2 - 1 - (CELLS - 1) ** 2).pvalue)
    rarest, commonest = min(map(min, places)), max(map(max, places))

    return Found(
        measured=f"places of {CELLS} cells in the {rounds * BLOCKS} blocks of {rounds} rounds: chi-squared test of "
        "uniformity",
        values=(p, float(rarest), float(commonest)),
        shown=f"p = {p:.3f} ({rarest} to {commonest} times each)",
        bound=f"p at least {LEAST_P:g}",
        holds=p >= LEAST_P,
    )


def _check_drift(setting: Setting) -> Found:
    seeds = [DRIFTING_RUNS * setting.seed + run for run in range(DRIFTING_RUNS)]
    # Each run is simulated with and without the drift. The jitter is the same, so nothing else moves the estimate.
    moved = [_center(seed, DRIFT) - _center(seed, 0.0) for seed in seeds]
    worst = math.expm1(max(moved, key=abs))
    return Found(
        measured=f"how far the estimate of two equal cells moves where a quiet machine gets {100 * DRIFT:.0f} % slower "
        f"during {ROUNDS} rounds of {BLOCKS} blocks, the worst of {DRIFTING_RUNS} runs",
        values=(worst,),
        shown=f"{100 * worst:+.3f} %",
        bound=f"less than {100 * MOST_MOVED:g} %",
        holds=abs(worst) < MOST_MOVED,
    )


def _center(seed: int, drift: float) -> float:
    """Return the estimate of a run for two equal cells, in ln; a seed gives the same jitter with any drift."""
    jitter = random.Random(seed)  # noqa: S311  # times
    machine = _Machine(samples=2 * ROUNDS * BLOCKS, drift=drift, jitter=jitter)
    rounds = [_round(machine, 2, seed, number) for number in range(ROUNDS)]
    effect = compare_rounds([_differences(first, second) for first, second in rounds])
    assert effect is not None
    return effect.center


def _differences(first: RunningCell, second: RunningCell) -> list[float]:
    return [math.log(one.latency_s / second.samples[block].latency_s) for block, one in first.samples.items()]
