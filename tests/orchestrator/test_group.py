"""A group over its rounds: who takes part, what a failure costs, when it has ended, and what its records hold."""

from dataclasses import replace

import pytest

from cnnbench.machine import Counters
from cnnbench.orchestrator.blocks import far_slower
from cnnbench.orchestrator.group import FEWEST_COMPILED, GroupRounds
from cnnbench.orchestrator.running_cell import RunningCell
from cnnbench.record import Measurement
from cnnbench.spec import Case
from cnnbench.stats import NO_PRIOR, Prior
from cnnbench.workers.messages import Failure
from tests.factories import AMP, LAST, case
from tests.orchestrator.fakes import BOOM, NOTHING_COUNTED, READY, SILENT, Script, Stage, Use, recorded, sample, stolen

STEADY = Script()
UNEVEN = [Script(latencies=(value,)) for value in (1.0, 1.1, 1.25, 1.05, 1.2, 1.15, 1.3, 0.95)]
"""A cell whose rounds differ."""

EVEN = [Script(latencies=(value,)) for value in (1.0, 1.001, 1.002, 0.999, 0.998, 1.0015, 1.0005, 0.9995)]
"""A cell whose rounds differ by a thousandth or two."""


def test_each_round_has_new_workers(clock: Use) -> None:
    stage = clock(Stage(STEADY, STEADY, aa_control=STEADY, control_workload=STEADY))
    rounds = stage.rounds()
    stage.measure(3, rounds=rounds)
    assert rounds.rounds == 3
    assert len(stage.workers) == 12
    assert all(w.closed for w in stage.workers)


def test_workers_are_closed_when_the_user_interrupts(clock: Use) -> None:
    stage = clock(Stage(STEADY, STEADY))

    def interrupted(_: object) -> None:
        raise KeyboardInterrupt

    stage.cases[1] = replace(stage.cases[1], variant=replace(AMP, compile_mode="default"))
    with pytest.raises(KeyboardInterrupt):
        stage.measure(2, on_progress=interrupted)
    assert all(w.closed for w in stage.workers)


def test_a_timeout_ends_a_cell_at_once(clock: Use) -> None:
    stage = clock(Stage(STEADY, [STEADY, Script(ready=SILENT), STEADY]))
    found = stage.measure(4)
    assert [[s.case.variant.name for s in seen] for seen in found] == [["eager", "channels_last"]] * 2 + [["eager"]] * 2


def test_a_cell_may_fail_once_after_it_went_well(clock: Use) -> None:
    stage = clock(Stage(STEADY, [STEADY, Script(ready=BOOM), STEADY, Script(ready=BOOM), STEADY]))
    found = stage.measure(5)
    assert [len(seen) for seen in found] == [2, 2, 2, 2, 1]


def test_a_cell_that_never_went_well_is_not_tried_again(clock: Use) -> None:
    stage = clock(Stage(STEADY, Script(ready=BOOM)))
    assert [len(seen) for seen in stage.measure(2)] == [2, 1]


def test_what_a_failure_took_is_told_and_not_counted(clock: Use) -> None:
    stage = clock(Stage(STEADY, Script(ready=SILENT, warm_s=120.0)))
    rounds = stage.rounds()
    ((_, last),) = stage.measure(rounds=rounds)
    assert last.lost_s == 120.0
    assert rounds.last_s == 1.0  # warming up and three blocks


def test_timed_out_sample_does_not_count_as_round_cost(clock: Use) -> None:
    stage = clock(Stage(STEADY, Script(latencies=(SILENT,), take_s=120.0)))
    rounds = stage.rounds()
    stage.measure(rounds=rounds)
    assert rounds.last_s < 3.0


def test_a_resumed_group_does_not_count_cold_compiling(clock: Use) -> None:
    stage = clock(Stage(STEADY, STEADY, control_workload=STEADY))
    compiled(stage)
    found = stage.measure(2)
    records = [replace(recorded(one, at), duration_s=2.0) for at, seen in enumerate(found) for one in seen]
    rounds = stage.rounds()
    rounds.resume(records)
    assert (rounds.last_s, rounds.spent_s) == (1.5, 3.5)  # half a second was the compiler's


def compiled(stage: Stage) -> Case:
    stage.cases[1] = replace(stage.cases[1], variant=replace(AMP, name="compile", compile_mode="default"))
    return stage.cases[1]


def test_a_compiled_cell_skips_the_first_round(clock: Use) -> None:
    stage = clock(Stage(STEADY, STEADY))
    compiled(stage)
    found = stage.measure(3)
    assert [len(seen) for seen in found] == [1, 2, 2]
    first, later = (seen[1].outcome.measurements[0] for seen in found[1:])
    assert first == Measurement(quantity="compile_s", samples=(0.5,))
    assert later == Measurement(quantity="compile_warm_s", samples=(0.5,))


def test_a_dear_compiled_cell_joins_four_rounds(clock: Use) -> None:
    stage = clock(Stage(STEADY, Script(ready=replace(READY, first_call_s=50.0))))
    compiled(stage)
    rounds, joined = stage.rounds(), []
    for left in range(9, -1, -1):
        stage.rounds_left = float(left)
        (seen,) = stage.measure(rounds=rounds)
        joined.append(len(seen) == 2)
    assert sum(joined) == FEWEST_COMPILED
    assert joined[1:3] == [True, True]  # the second one tells what starting it costs


FORTY_TIMES = Script(ready=replace(READY, iteration_s=1.25))


def test_far_slower_cell_gives_one_sample_in_three_rounds(clock: Use) -> None:
    stage = clock(Stage(EVEN, FORTY_TIMES, aa_control=list(reversed(EVEN))))
    rounds = stage.rounds()
    found = stage.measure(6, rounds=rounds)
    assert [len(seen) for seen in found] == [3, 3, 3, 2, 2, 2]
    slow = [seen.outcome.measurements for seen in found[0] if seen.case == stage.cases[1]]
    assert [len(m.samples) for m in slow[0] if m.quantity == "latency_s"] == [1]
    assert rounds.fewest_rounds == 3
    assert rounds.is_finished(NO_PRIOR)  # how precisely it is known does not matter


@pytest.mark.parametrize(("disturbed", "joins"), [(1, 4), (9, 6)])
def test_far_slower_cell_joins_again_if_it_had_no_pair(clock: Use, disturbed: int, joins: int) -> None:
    first_rejected = Script(latencies=(stolen(), 1.0, 1.0))  # the block in which the slow cell has its sample
    reference = [STEADY, *[first_rejected] * disturbed, STEADY]
    stage = clock(Stage(reference, FORTY_TIMES, aa_control=list(reversed(EVEN))))
    found = stage.measure(8, rounds=stage.rounds())
    assert [len(seen) for seen in found] == [3] * joins + [2] * (8 - joins)


def test_a_reference_that_did_not_start_makes_no_cell_far_slower() -> None:
    slow, quick = replace(READY, iteration_s=0.1), replace(READY, iteration_s=0.02)  # samples of 0.4 and 0.08 s
    cell = RunningCell(case=case("net", LAST), ready=slow)
    assert far_slower(cell, RunningCell(case=case("net"), ready=quick))
    assert not far_slower(cell, RunningCell(case=case("net"), failure=BOOM))


def test_fewest_rounds_follow_cell_joining_last(clock: Use) -> None:
    stage = clock(Stage(STEADY, STEADY))
    compiled(stage)
    rounds = stage.rounds()
    stage.measure(3, rounds=rounds)
    assert (rounds.rounds, rounds.fewest_rounds) == (3, 2)


def test_a_compiled_cell_without_a_second_round_never_began(clock: Use) -> None:
    stage = clock(Stage(STEADY, STEADY))
    late = compiled(stage)
    rounds = stage.rounds()
    stage.measure(rounds=rounds)
    assert rounds.never_begun_cases == [late]
    stage.measure(rounds=rounds)
    assert rounds.never_begun_cases == []


def test_a_cell_that_failed_has_begun(clock: Use) -> None:
    stage = clock(Stage(STEADY, Script(ready=BOOM)))
    rounds = stage.rounds()
    stage.measure(rounds=rounds)
    assert rounds.never_begun_cases == []


def test_a_compiled_reference_is_in_every_round(clock: Use) -> None:
    stage = clock(Stage(STEADY, STEADY))
    stage.cases[0] = replace(stage.cases[0], variant=replace(AMP, name="compile", compile_mode="default"))
    assert [len(seen) for seen in stage.measure(2)] == [2, 2]


def test_narrow_intervals_end_a_group_after_six_rounds(clock: Use) -> None:
    stage = clock(Stage(EVEN, list(reversed(EVEN))))
    rounds, ended = stage.rounds(), []
    for _ in range(7):
        stage.measure(rounds=rounds)
        ended.append(rounds.is_finished(NO_PRIOR))
    assert ended == [False] * 5 + [True] * 2


def test_wide_intervals_go_on(clock: Use) -> None:
    stage = clock(Stage(EVEN, UNEVEN))
    rounds = stage.rounds()
    stage.measure(8, rounds=rounds)
    assert not rounds.is_finished(NO_PRIOR)
    assert rounds.widest_half_width(NO_PRIOR) > 0.05
    assert len(rounds.variances()) == 1


def test_all_pairs_of_a_line_up_say_how_its_rounds_scatter(clock: Use) -> None:
    stage = clock(Stage(EVEN, UNEVEN, list(reversed(UNEVEN))))
    stage.cases = [replace(one, role="lineup") for one in stage.cases]
    rounds = stage.rounds()
    stage.measure(8, rounds=rounds)
    assert len(rounds.variances()) == 3
    tight = Prior(variance=1e-9, degrees=2.0)
    assert rounds.widest_half_width(tight) == rounds.widest_half_width(
        NO_PRIOR
    )  # what variants scatter by does not count


def test_a_cell_alone_is_judged_by_its_latency(clock: Use) -> None:
    stage = clock(Stage(UNEVEN))
    rounds = stage.rounds()
    stage.measure(8, rounds=rounds)
    assert not rounds.is_finished(NO_PRIOR)


def test_a_group_without_a_cell_is_over(clock: Use) -> None:
    stage = clock(Stage(Script(ready=BOOM), Script(), control_workload=Script()))
    rounds = stage.rounds()
    assert (rounds.has_missing, rounds.is_over) == (True, False)
    stage.measure(rounds=rounds)
    assert (rounds.has_missing, rounds.is_over, rounds.is_finished(NO_PRIOR)) == (False, True, True)


def test_giving_up_names_what_was_never_measured(clock: Use) -> None:
    stage = clock(Stage(STEADY, STEADY, aa_control=STEADY))
    late = Failure(status="not started", error="too late")
    assert stage.rounds().give_up(late) == stage.cases
    assert stage.rounds().give_up(late, "other") == []
    rounds = stage.rounds()
    stage.measure(rounds=rounds)
    assert (rounds.give_up(late), rounds.is_over) == ([], True)


def test_a_resumed_group_goes_on_with_its_next_round(clock: Use) -> None:
    stage = clock(Stage(EVEN, EVEN))
    found = stage.measure(3)
    records = [replace(recorded(one, at), duration_s=2.0) for at, seen in enumerate(found) for one in seen]
    rounds: GroupRounds = stage.rounds()
    rounds.resume([*records, recorded(replace(found[0][0], case=case("other")))])
    assert (rounds.rounds, rounds.last_s, rounds.spent_s, rounds.has_missing) == (3, 2.0, 6.0, False)
    assert len(rounds.variances()) == 1


def test_the_columns_of_an_outcome(clock: Use) -> None:
    phases = ("forward_s", "backward_s")
    counted = {"device_s": 0.75, "cpu_share": 0.96875, "steal_share": 0.015625}
    samples = (sample(1.0, 0.25, 0.5, **counted), sample(2.0000000004, 0.25, 0.5))
    stage = clock(Stage(Script(ready=replace(READY, phases=phases, reading_s=1.5e-07), latencies=samples)))
    ((seen,),) = stage.measure()
    blocks = (0, 1, 2)
    assert seen.outcome.measurements == (
        Measurement(quantity="first_call_s", samples=(0.5,)),
        Measurement(quantity="warmup_s", samples=(0.125,)),
        Measurement(quantity="passes_s", samples=(11.000000002,)),  # 0.5 + 0.125 + 3 x 0.125 + 2 x (1 + 2 + 2)
        Measurement(quantity="reading_s", samples=(1.5e-07,)),
        Measurement(quantity="latency_s", samples=(1.0, 2.0, 2.0), iterations_per_sample=3, blocks=blocks),
        Measurement(
            quantity="sample_s", samples=(2.0, 4.000000001, 4.000000001), iterations_per_sample=3, blocks=blocks
        ),
        Measurement(quantity="forward_s", samples=(0.25,) * 3, iterations_per_sample=3, blocks=blocks),
        Measurement(quantity="backward_s", samples=(0.5,) * 3, iterations_per_sample=3, blocks=blocks),
        Measurement(quantity="device_s", samples=(0.75,), iterations_per_sample=3, blocks=(0,)),
        Measurement(quantity="cpu_share", samples=(0.96875,), iterations_per_sample=3, blocks=(0,)),
        Measurement(quantity="steal_share", samples=(0.015625,), iterations_per_sample=3, blocks=(0,)),
        Measurement(quantity="iteration_s", samples=(1.0, 2.0, 2.0, 3.0, 2.0, 3.0), blocks=(0, 0, 1, 1, 2, 2)),
    )


BEFORE = Counters(at_s=10.0, steal_ticks=0, total_ticks=0, pressure_us=1_000_000, load=0.5, clock_cycles_per_s=2e9)
AFTER = Counters(at_s=20.0, steal_ticks=5, total_ticks=50, pressure_us=3_000_000, load=1.5, clock_cycles_per_s=3e9)


def test_the_canary_says_what_the_machine_s_counters_saw(clock: Use) -> None:
    stage = Stage(STEADY, control_workload=STEADY)
    stage.counters = [BEFORE, AFTER]
    ((eager, control_workload),) = clock(stage).measure()
    assert control_workload.outcome.measurements[-3:] == (
        Measurement(quantity="pressure_share", samples=(0.2,)),
        Measurement(quantity="load", samples=(1.5,)),
        Measurement(quantity="clock_cycles_per_s", samples=(2.5e9,)),
    )
    assert not any(m.quantity == "load" for m in eager.outcome.measurements)


def test_a_canary_that_failed_says_nothing(clock: Use) -> None:
    stage = Stage(STEADY, control_workload=Script(ready=BOOM))
    stage.counters = [BEFORE, NOTHING_COUNTED]
    ((eager, control_workload),) = clock(stage).measure()
    assert (eager.failure, control_workload.failure, control_workload.outcome.measurements) == (None, BOOM, ())
