"""Samples that an environment counter rejects: voided, repeated, too many; and what the canary's record holds."""

import pytest

from cnnbench.machine import Counters
from cnnbench.orchestrator.cell import Seen
from cnnbench.orchestrator.messages import Failure
from cnnbench.record import Measurement
from cnnbench.runners.sampling import Sample
from tests.orchestrator.pretended import BOOM, NOTHING_COUNTED, Script, Stage, Use, blocks, sample, stolen, wide


def slept(cpu_share: float = 0.5) -> Sample:
    """Return a sample whose one thread was on a core for a part of the time only."""
    return sample(1.0, cpu_share=cpu_share)


def voided(seen: Seen) -> dict[str, tuple[int, ...]]:
    """Return the positions of voided samples by quantity, of the quantities that are taken by block."""
    return {m.quantity: m.voided for m in seen.outcome.measurements if m.blocks}


def test_a_voided_sample_is_marked_and_a_block_more_is_taken(clock: Use) -> None:
    disturbed = Script(latencies=(1.0, stolen(9.0), 1.0), take_s=0.2)
    eager, last = clock(Stage(disturbed, Script(take_s=0.2))).measure()
    assert [blocks(s) for s in (eager, last)] == [tuple(range(13))] * 2
    assert voided(eager) == {"latency_s": (1,), "sample_s": (), "steal_share": (), "iteration_s": ()}
    assert voided(last) == {"latency_s": (), "sample_s": (), "iteration_s": ()}
    latency = eager.outcome.measurements[3]
    assert latency.samples == (1.0, 9.0, *[1.0] * 11)  # it is kept, and marked


def test_a_voided_sample_does_not_count_for_the_width(clock: Use) -> None:
    spikes = (1.0, 1.0, 1.0, 1.0, stolen(9.0), 1.0, 1.0, 1.0, 1.0, stolen(9.0))
    seen = clock(Stage(Script(), Script(latencies=spikes))).measure(sampling_s=10.0)
    assert [(len(blocks(s)), s.outcome.cautions) for s in seen] == [(10, ()), (10, ())]
    seen = clock(Stage(Script(), Script(latencies=[1.0 if isinstance(s, float) else 9.0 for s in spikes]))).measure(
        sampling_s=10.0
    )
    assert seen[1].outcome.cautions == (wide("+-54.9 %"),)


def test_a_block_counts_where_reference_and_cell_are_good(clock: Use) -> None:
    base, own = [1.0] * 8, [1.0] * 8
    six = [stolen() if at == 3 else 1.0 for at, _ in enumerate(base)], [stolen() if at == 5 else 1.0 for at in range(8)]
    five = six[0], [stolen() if at in {5, 6} else 1.0 for at in range(len(own))]
    for (first, second), cautions in ((six, ()), (five, (wide("too few samples for an interval"),))):
        seen = clock(Stage(Script(latencies=first), Script(latencies=second))).measure(sampling_s=8.0)
        assert [len(blocks(s)) for s in seen] == [8, 8]
        assert seen[1].outcome.cautions == cautions


@pytest.mark.parametrize(
    ("latencies", "error"),
    [
        ([stolen()] * 3 + [1.0] * 9, "3 of 12 samples were voided, most of them because the hypervisor gave 50.0 %"),
        ([slept(), stolen(), slept(0.25)] + [1.0] * 9, "3 of 12 samples were voided, most of them because the thread"),
        (  # the commonest kind, of which this is the first
            [slept(), sample(1.0, steal_share=0.5), sample(1.0, steal_share=0.25)] + [1.0] * 9,
            "3 of 12 samples were voided, most of them because the hypervisor gave 50.0 %",
        ),
        ([stolen()] * 12, "12 of 12 samples were voided, most of them because the hypervisor gave 50.0 %"),
    ],
)
def test_a_cell_that_is_voided_too_often_is_invalid(clock: Use, latencies: list[float | Sample], error: str) -> None:
    rest = {
        "%": " of the cores' time to others",
        "d": " was on a core for 50.0 % of the time only",
    }[error[-1]]
    stage = clock(Stage(Script(latencies=latencies)))
    seen = stage.measure(sampling_s=6.0)[0]
    assert seen.failure == Failure(
        status="invalid", error=f"environment: {error}{rest}; measure again when the machine has no other work"
    )
    assert seen.lost_s == 0.0


@pytest.mark.parametrize(
    ("voids", "taken"),
    [
        (2, 12),
        (3, 15),  # a fifth is not too often
        (11, 11),  # too few to judge
    ],
)
def test_a_cell_that_is_voided_sometimes_is_measured(clock: Use, voids: int, taken: int) -> None:
    stage = clock(Stage(Script(latencies=[stolen()] * voids + [1.0])))
    seen = stage.measure(sampling_s=taken / 2)[0]
    assert (seen.failure, len(blocks(seen))) == (None, taken)
    assert voided(seen)["latency_s"] == tuple(range(voids))


def test_twin_and_canary_show_what_was_voided(clock: Use) -> None:
    always = Script(latencies=(stolen(),))
    eager, twin, canary = clock(Stage(Script(), twin=always, canary=always)).measure(sampling_s=18.0)
    assert [s.failure for s in (eager, twin, canary)] == [None, None, None]
    assert [voided(s)["latency_s"] for s in (eager, twin, canary)] == [(), tuple(range(12)), tuple(range(12))]


def test_a_cell_that_is_voided_all_the_time_does_not_hold_up_the_looks_at_the_others(clock: Use) -> None:
    always = Script(latencies=(stolen(),), take_s=0.1)
    stage = clock(Stage(Script(take_s=0.1), always, Script(take_s=0.1)))
    eager, last, amp = stage.measure(sampling_s=12.0)
    assert [len(blocks(s)) for s in (eager, amp)] == [54, 12]  # 12 blocks of 0.3 s, 42 of 0.2 s: it may still recover
    assert last.failure is not None
    assert last.failure.status == "invalid"


def test_a_canary_that_is_voided_all_the_time_does_not_keep_the_group_going(clock: Use) -> None:
    canary = Script(latencies=(stolen(),), take_s=0.2)
    seen = clock(Stage(Script(take_s=0.2), canary=canary)).measure()
    assert [len(blocks(s)) for s in seen] == [12, 12]


def test_a_cell_is_judged_anew_once_a_fifth_or_less_is_voided(clock: Use) -> None:
    recovers = Script(latencies=[stolen()] * 4 + [1.0], take_s=0.2)
    eager, last = clock(Stage(Script(take_s=0.2), recovers)).measure()
    assert (last.failure, voided(last)["latency_s"]) == (None, (0, 1, 2, 3))
    assert [len(blocks(s)) for s in (eager, last)] == [22, 22]  # 18 good ones, the second look


# The canary


BEFORE = Counters(at_s=10.0, steal_ticks=0, total_ticks=0, pressure_us=1_000_000, load=0.5, clock_cycles_per_s=2e9)
AFTER = Counters(at_s=20.0, steal_ticks=5, total_ticks=50, pressure_us=3_000_000, load=1.5, clock_cycles_per_s=3e9)


def test_the_canary_s_record_says_what_the_machine_s_counters_saw(clock: Use) -> None:
    stage = Stage(Script(), Script(), twin=Script(), canary=Script(latencies=(sample(1.0, steal_share=0.015625),)))
    stage.counters = [BEFORE, AFTER]
    *others, canary = clock(stage).measure(sampling_s=0.0)
    assert canary.outcome.measurements[-5:] == (
        Measurement(quantity="steal_share", samples=(0.015625,) * 6, units=6, blocks=(0, 1, 2, 3, 4, 5)),
        Measurement(
            quantity="iteration_s", samples=(1.0, 2.0) * 6, blocks=tuple(block for block in range(6) for _ in range(2))
        ),
        Measurement(quantity="pressure_share", samples=(0.2,)),
        Measurement(quantity="load", samples=(1.5,)),
        Measurement(quantity="clock_cycles_per_s", samples=(2.5e9,)),
    )
    assert not any(m.quantity == "load" for seen in others for m in seen.outcome.measurements)


def test_a_machine_without_counters_leaves_them_out(clock: Use) -> None:
    stage = Stage(Script(), canary=Script())
    stage.counters = [NOTHING_COUNTED, Counters(at_s=1.0, load=1.5)]
    canary = clock(stage).measure(sampling_s=0.0)[1]
    assert [m.quantity for m in canary.outcome.measurements[-2:]] == ["iteration_s", "load"]


def test_a_canary_that_failed_says_nothing(clock: Use) -> None:
    stage = Stage(Script(), canary=Script(ready=BOOM))
    stage.counters = [BEFORE, AFTER]
    eager, canary = clock(stage).measure(sampling_s=0.0)
    assert (eager.failure, canary.failure, canary.outcome.measurements) == (None, BOOM, ())
