"""When a group stops: narrow intervals, its share of the budget, the deadline, the last look; workers only pretend."""

import pytest

from cnnbench.record import Caution
from tests.orchestrator.pretended import SILENT, Script, Stage, Use, blocks, stolen, wide


@pytest.mark.parametrize(
    ("take_s", "taken"),
    [
        (0.2, 12),  # 12 blocks of two cells are 4.8 s
        (0.05, 40),  # 12, 18 and 27 blocks are below three seconds, 40 are 4 s
        (0.055, 40),  # 27 blocks are 2.97 s
        (0.06, 27),  # 27 blocks are 3.24 s
    ],
)
def test_narrow_intervals_stop_at_a_look_once_three_seconds_were_measured(
    clock: Use, take_s: float, taken: int
) -> None:
    stage = clock(Stage(Script(take_s=take_s), Script(take_s=take_s)))
    seen = stage.measure()
    assert [len(blocks(s)) for s in seen] == [taken, taken]
    assert [s.outcome.cautions for s in seen] == [(), ()]


def test_wide_intervals_go_on_to_the_look_where_they_are_narrow_while_others_are_left_out(clock: Use) -> None:
    slow_start = Script(latencies=(1.5, 1.5, 1.5, 1.5, 1.0), take_s=0.3)  # x(10) of 12 is 1.5, x(14) of 18 is 1.0
    seen = clock(Stage(slow_start)).measure()
    assert (len(blocks(seen[0])), seen[0].outcome.cautions) == (18, ())
    paired = clock(Stage(slow_start, slow_start, Script(latencies=slow_start.latencies))).measure()
    assert [blocks(s) for s in paired] == [tuple(range(18)), tuple(range(12)), tuple(range(12))]


def test_the_reference_goes_on_with_those_that_are_wide(clock: Use) -> None:
    seen = clock(Stage(Script(), Script(latencies=(1.0, 1.2) * 7 + (1.0,)), Script())).measure()
    # 7 of 40 differences are below 0, so 259 of their 820 Walsh averages, and the interval starts at w(265)
    assert [len(blocks(s)) for s in seen] == [40, 40, 12]


def test_a_spent_share_ends_the_group_with_a_caution_for_the_wide_ones(clock: Use) -> None:
    eager, last = clock(Stage(Script(), Script(latencies=(1.0, 1.2) * 10))).measure(sampling_s=10.0)
    assert (len(blocks(eager)), eager.outcome.cautions) == (10, ())
    assert (len(blocks(last)), last.outcome.cautions) == (10, (wide("+-9.1 %"),))


def test_the_reference_is_judged_by_its_own_interval(clock: Use) -> None:
    seen = clock(Stage(Script(latencies=(1.0, 1.2) * 10))).measure(sampling_s=5.0)
    assert (len(blocks(seen[0])), seen[0].outcome.cautions) == (10, (wide("+-9.1 %"),))


@pytest.mark.parametrize(("device", "cautions"), [("cpu", ()), ("cuda", (wide("+-1.0 %"),))])
def test_a_cuda_device_is_asked_for_more(clock: Use, device: str, cautions: tuple[Caution, ...]) -> None:
    seen = clock(Stage(Script(latencies=(1.0, 1.02) * 10), device=device)).measure(sampling_s=5.0)
    assert seen[0].outcome.cautions == cautions


NOISY = (1.0, 1.05)
SPIKED = (1.0, 1.0, 1.0, stolen(1.5))


@pytest.mark.parametrize(
    ("canary", "cautions"),
    [
        (None, ()),
        (Script(latencies=NOISY * 5), ()),
        (Script(), (wide("+-1.5 %"),)),
        (Script(latencies=SPIKED * 3), (wide("+-1.5 %"),)),  # what is voided makes no machine noisy
    ],
)
def test_a_machine_is_asked_for_more_where_the_canary_is_quiet(
    clock: Use, canary: Script | None, cautions: tuple[Caution, ...]
) -> None:
    seen = clock(Stage(Script(latencies=(1.0, 1.03) * 10), canary=canary)).measure(sampling_s=10.0)
    assert seen[0].outcome.cautions == cautions


def test_a_spent_share_still_gives_the_six_blocks_of_an_interval(clock: Use) -> None:
    seen = clock(Stage(Script())).measure(sampling_s=0.0)
    assert (blocks(seen[0]), seen[0].outcome.cautions) == ((0, 1, 2, 3, 4, 5), ())


@pytest.mark.parametrize(("deadline_s", "taken"), [(-1.0, 1), (0.0, 1), (1.2, 3), (1.5, 3), (1.6, 4)])
def test_the_deadline_ends_a_group_after_one_block_at_the_least(clock: Use, deadline_s: float, taken: int) -> None:
    seen = clock(Stage(Script())).measure(sampling_s=60.0, deadline_s=deadline_s)
    assert blocks(seen[0]) == tuple(range(taken))
    assert seen[0].outcome.cautions == (wide("too few samples for an interval"),)


def test_the_last_look_ends_a_group_that_never_gets_narrow(clock: Use) -> None:
    stage = clock(Stage(Script(latencies=(1.0, 1.2) * 500, take_s=0.001, warm_s=1e6)))
    seen = stage.measure(sampling_s=1e6, deadline_s=3e6)
    assert (len(blocks(seen[0])), seen[0].outcome.cautions) == (1000, (wide("+-9.1 %"),))


def test_what_a_failing_cell_took_is_not_taken_from_the_others(clock: Use) -> None:
    hangs = Script(ready=SILENT, warm_s=120.0)
    eager, _ = clock(Stage(Script(take_s=0.2), hangs)).measure(deadline_s=5.0)
    assert (len(blocks(eager)), eager.outcome.cautions) == (18, ())  # 3.6 s: the first look after three seconds


def test_a_cell_that_hangs_in_a_sample_does_not_end_the_group(clock: Use) -> None:
    hangs = Script(take_s=10.0, latencies=(1.0, SILENT))
    eager, _ = clock(Stage(Script(take_s=0.2), hangs)).measure(sampling_s=14.0, deadline_s=15.0)
    assert len(blocks(eager)) == 12  # the first look, although both limits are behind by then
