"""The blocks of a round: how many, in which order, until when; workers only pretend."""

import random

import pytest

from cnnbench.orchestrator.blocks import SamplingWindow, sampling_window, take_blocks
from cnnbench.orchestrator.running_cell import ALL_DISTURBED, RunningCell
from cnnbench.spec import Role
from cnnbench.timing.loop import SampleShape
from tests.factories import LAST, case
from tests.orchestrator.fakes import READY, SILENT, Script, Stage, Use, blocks, stolen


def cells(iteration_s: float, role: Role = "timed") -> list[RunningCell]:
    """Return two cells, of which each takes four iterations a block."""
    from dataclasses import replace

    ready = replace(READY, iteration_s=iteration_s, shape=SampleShape(rewarm=1, readings=3, group=1))
    return [RunningCell(case=case("net", v, role=role), ready=ready) for v in (case("net").variant, LAST)]


@pytest.mark.parametrize(
    ("iteration_s", "setup_s", "rounds", "count"),
    [
        (0.01, 0.8, 0, 3),
        (0.01, 1.2, 1, 12),  # 1.2 s are 15 blocks of 0.08 s
        (0.01, 0.6, 1, 8),
        (0.01, 0.0, 1, 3),
        (0.2, 1.0, 0, 1),  # a block takes 1.6 s
        (0.2, 1.0, 3, 3),
        (0.2, 8.0, 2, 3),  # there is no interval before the third round
        (0.2, 8.0, 3, 5),
    ],
)
def test_blocks_take_as_long_as_starting_took(iteration_s: float, setup_s: float, rounds: int, count: int) -> None:
    assert sampling_window(cells(iteration_s), setup_s=setup_s, rounds=rounds, deadline=9.0).count == count


def test_the_line_up_takes_two_blocks() -> None:
    turn = sampling_window(cells(0.01, role="lineup"), setup_s=9.0, rounds=1, deadline=9.0)
    assert turn == SamplingWindow(count=2, least=1, deadline=9.0)


def test_each_block_has_an_order_of_its_own(clock: Use) -> None:
    stage = clock(Stage(Script(), Script(), Script()))
    stage.measure()
    order = random.Random("0 0")
    expected = []
    for _ in range(3):
        names = ["eager", "channels_last", "amp"]
        order.shuffle(names)
        expected += names
    assert stage.taken == expected


def test_the_canary_gives_one_sample_a_round(clock: Use) -> None:
    stage = clock(Stage(Script(), Script(), aa_control=Script(), control_workload=Script()))
    stage.measure(2)
    assert stage.taken.count("control_workload") == 2
    assert stage.taken.count("aa_control") == stage.taken.count("eager") > 4


def test_the_deadline_ends_a_round_after_its_fewest_blocks(clock: Use) -> None:
    stage = clock(Stage(Script(), Script()))
    first, second = stage.measure(2, deadline_s=-1.0)
    assert [blocks(s) for s in first] == [(0,), (0,)]
    assert [blocks(s) for s in second] == [(0, 1, 2), (0, 1, 2)]


def test_a_round_without_a_cell_ends(clock: Use) -> None:
    hangs = Script(latencies=(SILENT,))
    stage = clock(Stage(hangs, hangs, aa_control=Script(), control_workload=Script()))
    ((eager, last, *_),) = stage.measure()
    assert (eager.failure, last.failure) == (SILENT, SILENT)
    assert stage.taken.count("aa_control") <= 1


def test_a_voided_sample_is_kept_and_marked(clock: Use) -> None:
    ((eager,),) = clock(Stage(Script(latencies=(1.0, stolen(9.0), 1.0)))).measure()
    latency = next(m for m in eager.outcome.measurements if m.quantity == "latency_s")
    assert (latency.samples, latency.rejected, eager.failure) == ((1.0, 9.0, 1.0), (1,), None)


def test_a_round_of_voided_samples_counts_with_a_warning(clock: Use) -> None:
    ((eager,),) = clock(Stage(Script(latencies=(stolen(),)))).measure()
    assert eager.outcome.warnings == (ALL_DISTURBED,)
    latency = next(m for m in eager.outcome.measurements if m.quantity == "latency_s")
    assert (eager.failure, latency.rejected) == (None, ())


def test_no_cells_take_no_blocks() -> None:
    take_blocks([], SamplingWindow(count=3, least=3, deadline=0.0), random.Random(0))
