"""Several sets of workers in one launch: how many, what each is given, and when they end; workers only pretend."""

import random
from dataclasses import replace
from types import SimpleNamespace
from typing import cast

import pytest

from cnnbench.orchestrator import group
from cnnbench.orchestrator.cell import Cell
from cnnbench.orchestrator.group import number_of_sets
from cnnbench.orchestrator.host import Host
from cnnbench.orchestrator.messages import Built
from cnnbench.record import Caution, Measurement
from cnnbench.runners.sampling import SampleShape
from tests.made import COMPILE, case
from tests.orchestrator.pretended import BOOM, QUICK, SILENT, Script, Stage, Use, blocks, stolen, wide

STEADY = Script(ready=QUICK, take_s=0.25, warm_s=0.25)
"""A cell that is precise at once, takes a quarter of a second a block, and as long to start."""

SLOWER = replace(STEADY, latencies=(1.2,))
UNEVEN = (STEADY, SLOWER) * 4
"""A cell of which every second set is a fifth slower: no interval over sets becomes narrow."""

FOUR_SETS_S = 15.5
"""Seconds in which two cells have four sets of seven blocks: three more starts of 0.5 s, and 4 x 3.5 s."""


@pytest.mark.parametrize(
    ("sampling_s", "setup_s", "block_s", "expected"),
    [
        (60.0, 0.0, 0.0, 8),
        (60.0, 1.0, 0.1, 8),
        (60.0, 6.0, 0.1, 6),  # half of 60 s is five more starts
        (60.0, 10.0, 0.1, 4),
        (60.0, 10.5, 0.1, 1),  # three would show too little
        (60.0, 4.0, 1.0, 6),  # 8: 32 s for 48 blocks, 7: 36 s for 42, 6: 40 s for 36
        (60.0, 4.0, 2.0, 4),  # 4: 48 s for 24 blocks
        (60.0, 4.0, 2.01, 1),
        (0.0, 1.0, 0.1, 1),
        (-5.0, 1.0, 0.1, 1),
    ],
)
def test_as_many_sets_as_are_worth_their_start(
    sampling_s: float, setup_s: float, block_s: float, expected: int
) -> None:
    assert number_of_sets(sampling_s, setup_s, block_s) == expected


def test_each_set_is_started_sampled_for_an_equal_time_and_closed(clock: Use) -> None:
    stage = clock(Stage(STEADY, STEADY))
    eager, last = stage.measure(sampling_s=FOUR_SETS_S)
    order, expected = random.Random("0 0"), []
    for _ in range(4):
        expected += ["build eager", "build channels_last", "warm eager", "warm channels_last"]
        for _ in range(7):
            names = ["eager", "channels_last"]
            order.shuffle(names)
            expected += names
        expected += ["close eager", "close channels_last"]
    assert stage.log == expected
    assert stage.now == 1000.0 + 0.5 + FOUR_SETS_S
    for seen in (eager, last):
        assert (seen.failure, blocks(seen), seen.outcome.sets) == (None, tuple(range(28)), (0, 7, 14, 21))
        assert seen.outcome.cautions == ()


def test_one_set_is_not_told(clock: Use) -> None:
    seen = clock(Stage(STEADY, STEADY)).measure(sampling_s=FOUR_SETS_S - 2.5)
    assert [s.outcome.sets for s in seen] == [(), ()]


def test_progress_goes_on_over_the_sets(clock: Use) -> None:
    stage = clock(Stage(STEADY, STEADY))
    stage.measure(sampling_s=FOUR_SETS_S)
    per_set = [
        "net eager cpu infer batch 1: building, with 1 more",
        "net eager cpu infer batch 1: warming up",
        "net channels_last cpu infer batch 1: warming up",
    ]
    assert stage.told == [
        line
        for first in (0, 7, 14, 21)
        for line in (*per_set, *(f"net cpu infer batch 1: 2 cells, block {first + at}" for at in (1, 5)))
    ]


def test_only_the_first_set_compiles(clock: Use) -> None:
    stage = clock(Stage(STEADY, STEADY))
    stage.cases = [replace(c, variant=replace(c.variant, compile_mode="default")) for c in stage.cases]
    stage.measure(sampling_s=FOUR_SETS_S)
    assert [line.partition(": ")[2] for line in stage.told if "warming" in line] == [
        *["compiling (a minute or so) and warming up"] * 2,
        *["warming up"] * 6,
    ]


def test_later_sets_keep_the_shape_of_the_first_and_its_first_call(clock: Use) -> None:
    other = replace(QUICK, first_call_s=0.125, warmup_s=0.5, shape=SampleShape(rewarm=9, readings=9, group=9))
    stage = clock(Stage((STEADY, replace(STEADY, ready=other)), STEADY))
    seen = stage.measure(sampling_s=FOUR_SETS_S)[0]
    assert [worker.shape for worker in stage.of("eager")] == [None, QUICK.shape, QUICK.shape, QUICK.shape]
    assert seen.outcome.measurements[:3] == (
        Measurement(quantity="first_call_s", samples=(0.5,)),
        Measurement(quantity="warmup_s", samples=(1.625,)),  # 0.125 + 3 x 0.5
        Measurement(quantity="passes_s", samples=(61.125,)),  # and 28 x (0.125 + 2)
    )
    assert {m.units for m in seen.outcome.measurements if m.quantity in {"latency_s", "sample_s"}} == {3}


def test_later_workers_of_a_cell_warm_up_briefly_on_a_cpu(clock: Use) -> None:
    stage = clock(Stage(STEADY, STEADY, twin=STEADY, canary=STEADY))
    stage.measure(sampling_s=2 * FOUR_SETS_S)
    for name in ("eager", "channels_last", "twin", "canary"):
        assert [worker.brief for worker in stage.of(name)] == [False, True, True, True], name
    on_cuda = clock(Stage(STEADY, STEADY, device="cuda"))
    on_cuda.measure(sampling_s=FOUR_SETS_S)
    assert [worker.brief for worker in on_cuda.of("eager")] == [False] * 4


def test_a_later_start_saves_most_of_warming_up_and_of_compiling() -> None:
    warm = replace(QUICK, first_call_s=20.0, warmup_s=0.55, iteration_s=0.01)
    cells = [
        Cell(case=case("net"), ready=warm),
        Cell(case=case("net"), ready=replace(warm, iteration_s=0.1)),  # three calls
        Cell(case=case("net", COMPILE), ready=replace(warm, warmup_s=0.1)),
        Cell(case=replace(case("net"), role="canary"), ready=warm),
        Cell(case=replace(case("net"), device="cuda"), ready=warm),
        Cell(case=case("net")),
    ]
    assert group._saved_s(cells) == pytest.approx(0.4 + 0.25 + 0.4 + 0.6 * 20.0)


def test_what_every_set_says_is_told_once(clock: Use) -> None:
    caution = Caution(code="no_effect", fact="nothing changes", advice="Look.")
    stage = clock(Stage(replace(STEADY, built=Built(cautions=(caution,))), STEADY))
    assert stage.measure(sampling_s=FOUR_SETS_S)[0].outcome.cautions == (caution,)


@pytest.mark.parametrize(("cell", "sets"), [(STEADY, 4), (UNEVEN, 8)])
def test_the_group_ends_once_four_sets_are_precise(clock: Use, cell: Script | tuple[Script, ...], sets: int) -> None:
    stage = clock(Stage(STEADY, cell))
    stage.measure(sampling_s=27.5)  # 8 sets of 6 blocks: 7 more starts of 0.5 s and 8 x 3 s
    assert [len(stage.of(name)) for name in ("eager", "channels_last")] == [sets, sets]
    assert stage.now == 1000.0 + sets * 3.5


def test_narrow_blocks_do_not_end_a_set(clock: Use) -> None:
    stage = clock(Stage(STEADY, STEADY))
    stage.measure(sampling_s=155.0)  # eight sets of 18.9 s
    assert len(stage.taken) == 4 * 2 * 38


def test_a_precise_cell_makes_room_while_reference_twin_and_canary_go_on(clock: Use) -> None:
    stage = clock(Stage(STEADY, STEADY, UNEVEN, twin=STEADY, canary=STEADY))
    eager, last, amp, twin, canary = stage.measure(sampling_s=68.75)  # 7 more starts of 1.25 s and 8 x 7.5 s
    names = ("eager", "channels_last", "amp", "twin", "canary")
    assert [len(stage.of(name)) for name in names] == [8, 4, 8, 8, 8]
    sets = (0, 6, 12, 18, 24, 32, 40, 48)  # a second a block without channels_last
    for seen in (eager, amp, twin, canary):
        assert (blocks(seen), seen.outcome.sets) == (tuple(range(55)), sets)
    assert (blocks(last), last.outcome.sets) == (tuple(range(24)), sets)
    assert [s.outcome.cautions for s in (eager, last, twin, canary)] == [(), (), (), ()]
    assert amp.outcome.cautions == (wide("+-8.1 %"),)  # t(7) x ln(1.2) / 2 x sqrt(8 / 7) / sqrt(8)


def test_a_twin_that_differs_by_set_keeps_the_group_going_without_a_caution(clock: Use) -> None:
    stage = clock(Stage(STEADY, STEADY, twin=UNEVEN))
    twin = stage.measure(sampling_s=41.25)[2]
    assert [len(stage.of(name)) for name in ("eager", "channels_last", "twin")] == [8, 4, 8]
    assert twin.outcome.cautions == ()


def test_all_blocks_together_are_as_many_as_the_last_look(clock: Use) -> None:
    fast = Script(ready=replace(QUICK, iteration_s=0.001), take_s=0.001)
    stage = clock(Stage(fast, tuple(replace(fast, latencies=(1.0 + at / 10,)) for at in range(8))))
    seen = stage.measure(sampling_s=1e4, deadline_s=1e5)[0]
    assert (len(blocks(seen)), seen.outcome.sets) == (1000, tuple(range(0, 1000, 125)))


def test_a_cell_that_is_compared_with_nothing_has_one_set(clock: Use) -> None:
    seen = clock(Stage(STEADY)).measure(sampling_s=FOUR_SETS_S)[0]
    assert seen.outcome.sets == ()


def test_noise_does_not_change_the_number_of_sets(clock: Use) -> None:
    noisy = replace(STEADY, latencies=(1.0, 1.5) * 200)
    stage = clock(Stage(STEADY, noisy))
    seen = stage.measure(sampling_s=FOUR_SETS_S)[1]
    assert len(seen.outcome.sets) == len(stage.of("channels_last")) == 4


@pytest.mark.parametrize(
    ("deadline_s", "sets", "taken"),
    [
        (4.0, (0,), 7),  # 0.5 s and 3.5 s
        (4.1, (0, 7), 8),  # a second set is started, and gives a block
        (6.2, (0, 7), 11),
        (9.0, (0, 7, 14), 15),
    ],
)
def test_the_deadline_ends_the_sets(clock: Use, deadline_s: float, sets: tuple[int, ...], taken: int) -> None:
    stage = clock(Stage(STEADY, STEADY))
    seen = stage.measure(sampling_s=FOUR_SETS_S, deadline_s=deadline_s)[0]
    assert blocks(seen) == tuple(range(taken))
    assert seen.outcome.sets == (sets if len(sets) > 1 else ())
    assert all(worker.closed for worker in stage.workers)


def test_a_set_that_starts_slowly_takes_its_time_from_the_blocks(clock: Use) -> None:
    slow = replace(STEADY, warm_s=5.0)
    stage = clock(Stage((STEADY, slow, STEADY, STEADY), STEADY))
    begin = stage.now
    stage.measure(sampling_s=FOUR_SETS_S)
    assert stage.now - begin <= 0.5 + FOUR_SETS_S + 1.0  # the first start, the share, and the blocks under way


# Failures


def test_a_cell_that_fails_in_a_later_set_has_failed_and_the_others_go_on(clock: Use) -> None:
    fails = (STEADY, replace(STEADY, latencies=(1.0, 1.0, BOOM)))
    stage = clock(Stage(STEADY, fails))
    eager, last = stage.measure(sampling_s=FOUR_SETS_S)
    assert (last.failure, blocks(last), last.lost_s) == (BOOM, tuple(range(9)), 3.0)
    assert [len(stage.of(name)) for name in ("eager", "channels_last")] == [4, 2]
    # Seven blocks with it; three, and then twenty in the two seconds left and the three that it took. The sets that
    # follow start faster without it, which gives each of them a block more.
    assert (eager.outcome.sets, len(blocks(eager))) == ((0, 7, 30, 45), 60)


@pytest.mark.parametrize(
    ("fails_at", "sets"),
    [
        (0, (0, 6, 12, 18)),  # seven sets of 3 s were planned
        (1, (0, 8, 21, 33)),  # four of 5.4375 s, the first of them with three cells; the rest start faster
    ],
)
def test_a_cell_that_hangs_in_a_set_costs_the_later_sets_nothing(
    clock: Use, fails_at: int, sets: tuple[int, ...]
) -> None:
    hangs = replace(STEADY, ready=SILENT, warm_s=100.0)
    stage = clock(Stage(STEADY, STEADY, (*[STEADY] * fails_at, hangs)))
    eager, last, _ = stage.measure(sampling_s=24.0, deadline_s=25.0)
    assert (eager.outcome.sets, last.outcome.sets) == (sets, sets)


def test_what_cannot_be_built_again_has_failed(clock: Use) -> None:
    stage = clock(Stage(STEADY, (STEADY, replace(STEADY, built=BOOM))))
    last = stage.measure(sampling_s=FOUR_SETS_S)[1]
    assert (last.failure, stage.log.count("warm channels_last")) == (BOOM, 1)


def test_a_cell_that_was_precise_comes_back_where_the_reference_fails(clock: Use) -> None:
    fails = (*[STEADY] * 4, replace(STEADY, latencies=(BOOM,)))
    stage = clock(Stage(fails, STEADY, UNEVEN))
    eager, last, amp = stage.measure(sampling_s=41.25)
    assert (eager.failure, last.failure, amp.failure) == (BOOM, None, None)
    assert [len(stage.of(name)) for name in ("eager", "channels_last", "amp")] == [5, 7, 8]
    assert amp.outcome.cautions == (wide("+-9.0 %"),)  # four of seven sets are slower than channels_last


@pytest.mark.parametrize(
    ("fails", "taken"),
    [(replace(STEADY, built=BOOM), 0), (replace(STEADY, ready=BOOM), 0), (replace(STEADY, latencies=(1.0, BOOM)), 2)],
)
def test_twin_and_canary_alone_are_not_measured(clock: Use, fails: Script, taken: int) -> None:
    stage = clock(Stage(fails, fails, twin=STEADY, canary=STEADY))
    twin = None if taken else BOOM  # that of a reference that never ran is not run either
    assert [s.failure for s in stage.measure()] == [BOOM, BOOM, twin, None]
    assert [stage.taken.count(name) for name in ("twin", "canary")] == [taken, taken]
    assert all(worker.closed for worker in stage.workers)


def test_a_ratio_that_is_precise_enough_ends_a_group_whatever_the_reference_does(clock: Use) -> None:
    wild = replace(STEADY, latencies=tuple(2.0 if at % 2 else 1.0 for at in range(40)))
    stage = clock(Stage(wild, wild))
    seen = stage.measure(sampling_s=60.0, ratio_within=0.01)
    assert [len(s.outcome.sets) for s in seen] == [4, 4]
    whole = clock(Stage(wild, wild))
    assert [len(s.outcome.sets) for s in whole.measure(sampling_s=60.0)] == [8, 8]  # its own time is not known so well


def test_a_ratio_that_is_not_precise_enough_uses_every_set(clock: Use) -> None:
    stage = clock(Stage(STEADY, UNEVEN))
    _, last = stage.measure(sampling_s=60.0, ratio_within=0.01)
    assert len(last.outcome.sets) == 8
    assert last.outcome.cautions[-1].code == "precision_not_reached"


def test_models_of_another_environment_are_started_there(clock: Use) -> None:
    stage, other = clock(Stage(STEADY, STEADY)), list[int]()
    stage.cases[1] = replace(stage.cases[1], model="elsewhere")
    start = stage.start

    def begin() -> object:
        other.append(1)
        return start()

    host = cast("Host", SimpleNamespace(start=begin))
    seen = stage.measure(sampling_s=FOUR_SETS_S, others={"elsewhere": host})
    assert (len(other), len(stage.workers)) == (4, 8)
    assert [s.failure for s in seen] == [None, None]


def test_one_side_alone_is_measured_no_longer_than_tells_its_time(clock: Use) -> None:
    stage = clock(Stage(STEADY, Script(built=BOOM)))
    eager, last = stage.measure(sampling_s=60.0, ratio_within=0.01)
    assert (last.failure, blocks(eager)) == (BOOM, tuple(range(6)))
    assert stage.now == 1000.0 + 0.25 + 6 * 0.25


@pytest.mark.parametrize(
    ("sampling_s", "ratio", "expected"), [(40.0, None, 0), (40.0, 0.001, 4), (35.5, 0.001, 0), (48.0, None, 4)]
)
def test_a_ratio_uses_the_fewest_sets_wherever_they_fit(
    clock: Use, sampling_s: float, ratio: float | None, expected: int
) -> None:
    """A set takes 8 s to start and six blocks 3 s, so four fit 36 s, and starting them is half of 48 s."""
    stage = clock(Stage(*(replace(STEADY, warm_s=4.0) for _ in range(2))))
    _, last = stage.measure(sampling_s=sampling_s, ratio_within=ratio)
    assert len(last.outcome.sets) == expected


@pytest.mark.parametrize(("good", "ratio", "status"), [(3, 0.001, None), (3, None, "invalid"), (1, 0.001, "invalid")])
def test_a_ratio_bears_more_voided_samples(clock: Use, good: int, ratio: float | None, status: str | None) -> None:
    """Of each set's seven samples `good` ones count."""
    disturbed = replace(STEADY, latencies=(*([1.0] * good), stolen()))
    stage = clock(Stage(STEADY, disturbed))
    _, last = stage.measure(sampling_s=FOUR_SETS_S, ratio_within=ratio)
    assert (None if last.failure is None else last.failure.status) == status
