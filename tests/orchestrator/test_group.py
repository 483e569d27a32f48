"""The order of work in a group, failures in it, and what becomes of the samples, with workers that only pretend."""

import random
from dataclasses import replace

import pytest

from cnnbench.orchestrator.cell import Seen
from cnnbench.orchestrator.expected import COMPILE_S
from cnnbench.orchestrator.group import EMULATED_PATIENCE_S
from cnnbench.orchestrator.hooks import Live
from cnnbench.orchestrator.messages import Built, Failure, Job
from cnnbench.record import Caution, Measurement, Outcome
from tests.made import AMP, COMPILE
from tests.orchestrator.pretended import BOOM, READY, SILENT, Script, Stage, Use, blocks, sample, wide


def test_all_are_built_first_then_warmed_up_in_turn(clock: Use) -> None:
    stage = clock(Stage(Script(), Script(), Script()))
    stage.measure(sampling_s=1.0)
    assert stage.log[:6] == [
        "build eager",
        "build channels_last",
        "build amp",
        "warm eager",
        "warm channels_last",
        "warm amp",
    ]
    assert [w.requests[0] for w in stage.workers] == [
        Job(case=c, scratch="/scratch", memory_limit_bytes=123, warm_cap_s=4.0) for c in stage.cases
    ]
    assert [w.closed for w in stage.workers] == [True, True, True]
    assert stage.told == [
        "net eager cpu infer batch 1: building, with 2 more",
        "net eager cpu infer batch 1: warming up",
        "net channels_last cpu infer batch 1: warming up",
        "net amp cpu infer batch 1: warming up",
        "net cpu infer batch 1: 3 cells, block 1",
        "net cpu infer batch 1: 3 cells, block 5",
    ]


def test_how_cells_stand_is_told_every_four_blocks(clock: Use) -> None:
    stage = clock(Stage(Script(latencies=(1.0, 2.0, 3.0, 4.0)), Script(latencies=(0.5,)), twin=Script()))
    stage.measure(sampling_s=9.0)
    eager, last = stage.cases
    assert stage.live[:2] == [
        tuple(Live(case=c, samples=0, latency_s=None, low_s=None, high_s=None) for c in (eager, last)),
        (
            Live(case=eager, samples=4, latency_s=2.5, low_s=None, high_s=None),
            Live(case=last, samples=4, latency_s=0.5, low_s=None, high_s=None),
        ),
    ]


def test_a_cuda_cell_has_no_limit_on_private_memory(clock: Use) -> None:
    stage = clock(Stage(Script(), device="cuda"))
    stage.measure(sampling_s=1.0)
    assert stage.workers[0].requests[0] == Job(
        case=stage.cases[0], scratch="/scratch", memory_limit_bytes=None, warm_cap_s=4.0
    )


@pytest.mark.parametrize(("seed", "launch"), [(0, 0), (0, 1), (7, 0)])
def test_the_order_of_each_block_follows_from_seed_and_launch(clock: Use, seed: int, launch: int) -> None:
    order = random.Random(f"{seed} {launch}")
    expected = []
    for _ in range(6):
        names = ["eager", "channels_last", "amp"]
        order.shuffle(names)
        expected += names
    for _ in range(2):
        stage = clock(Stage(Script(), Script(), Script()))
        stage.cases = [replace(c, seed=seed) for c in stage.cases]
        stage.measure(sampling_s=1.0, launch=launch)
        assert stage.taken == expected


def test_launches_have_orders_of_their_own(clock: Use) -> None:
    orders = []
    for launch in range(3):
        stage = clock(Stage(Script(), Script(), Script()))
        stage.measure(sampling_s=1.0, launch=launch)
        orders.append(tuple(stage.taken))
    assert len(set(orders)) == 3


def test_a_cell_that_fails_in_the_middle_leaves_and_the_others_go_on(clock: Use) -> None:
    stage = clock(Stage(Script(), Script(latencies=(1.0, 1.0, BOOM)), Script(latencies=(2.0,))))
    eager, last, amp = stage.measure(sampling_s=1.0)
    assert (last.failure, blocks(last), last.lost_s) == (BOOM, (0, 1), 1.5)  # what was seen until then is kept
    assert (eager.failure, blocks(eager)) == (None, (0, 1, 2, 3, 4, 5))
    assert (amp.failure, blocks(amp)) == (None, (0, 1, 2, 3, 4, 5))
    assert stage.taken.count("channels_last") == 3
    assert [w.closed for w in stage.workers] == [True, True, True]
    assert stage.told[-1] == "net cpu infer batch 1: 2 cells, block 5"


def test_a_cell_that_cannot_be_built_is_not_warmed_up(clock: Use) -> None:
    stage = clock(Stage(Script(built=BOOM), Script()))
    eager, last = stage.measure(sampling_s=1.0)
    assert eager == Seen(case=stage.cases[0], failure=BOOM, outcome=Outcome())
    assert (last.failure, blocks(last)) == (None, (0, 1, 2, 3, 4, 5))
    assert "warm eager" not in stage.log
    assert stage.told[1] == "net channels_last cpu infer batch 1: warming up"


def test_without_a_cell_that_lives_no_block_is_taken(clock: Use) -> None:
    stage = clock(Stage(Script(ready=BOOM), Script(built=BOOM)))
    assert [s.failure for s in stage.measure()] == [BOOM, BOOM]
    assert stage.log == ["build eager", "build channels_last", "warm eager", "close eager", "close channels_last"]


def test_what_a_failed_case_took_is_told_as_lost(clock: Use) -> None:
    slow = Script(ready=SILENT, warm_s=10.0)
    stage = clock(Stage(Script(warm_s=3.0), slow))
    assert [s.lost_s for s in stage.measure(sampling_s=1.0)] == [0.0, 10.0]


def test_compiling_is_announced(clock: Use) -> None:
    stage = clock(Stage(Script(), canary=Script()))
    stage.cases = [replace(c, variant=COMPILE) for c in stage.cases]
    stage.measure(sampling_s=1.0)
    assert stage.told[1:3] == [
        "net compile cpu infer batch 1: compiling (a minute or so) and warming up",
        "net compile cpu infer batch 1 (canary): warming up",
    ]


EMULATED = "bf16 is emulated here"


def test_an_emulated_cell_that_does_not_warm_up_soon_is_unsupported(clock: Use) -> None:
    stage = clock(Stage(Script(), Script(), Script(ready=SILENT)))
    amp = stage.measure(sampling_s=1.0, emulated={stage.cases[2]: EMULATED})[2]
    gave_up = Failure(status="unsupported", error="bf16 is emulated here; given up after 10 s of warm-up")
    assert amp == Seen(case=stage.cases[2], failure=gave_up, outcome=Outcome())
    assert [w.waits[1] for w in stage.workers] == [600.0, 600.0, 10.0]


def test_a_shorter_timeout_is_all_the_patience_that_there_is(clock: Use) -> None:
    stage = clock(Stage(Script(ready=SILENT)))
    stage.cases = [replace(c, budget=replace(c.budget, timeout_s=4.0)) for c in stage.cases]
    seen = stage.measure(emulated={stage.cases[0]: EMULATED})
    assert seen[0].failure == Failure(
        status="unsupported", error="bf16 is emulated here; given up after 4 s of warm-up"
    )


def test_the_twin_of_a_reference_that_did_not_warm_up_is_not_waited_for(clock: Use) -> None:
    stage = clock(Stage(Script(ready=SILENT), Script(), twin=Script(ready=SILENT), canary=Script()))
    seen = stage.measure(sampling_s=1.0, emulated={stage.cases[0]: EMULATED})
    gave_up = Failure(status="unsupported", error="bf16 is emulated here; given up after 10 s of warm-up")
    assert [s.failure for s in seen] == [gave_up, None, gave_up, None]
    assert [w.waits[1:2] for w in stage.workers] == [[10.0], [600.0], [], [600.0]]


def test_an_emulated_cell_that_fails_has_failed(clock: Use) -> None:
    stage = clock(Stage(Script(ready=BOOM)))
    assert stage.measure(emulated={stage.cases[0]: EMULATED})[0].failure == BOOM


def test_a_cell_that_hangs_and_is_not_emulated_has_timed_out(clock: Use) -> None:
    told = Failure(status="timeout", error="no answer within 10 s (--timeout)")
    assert clock(Stage(Script(ready=SILENT))).measure()[0].failure == told


def test_an_emulated_cell_that_compiles_gets_the_time_that_compiling_takes(clock: Use) -> None:
    stage = clock(Stage(Script(), Script()))
    compiled = replace(stage.cases[1], variant=replace(AMP, name="amp+compile", compile_mode="default"))
    stage.cases = [stage.cases[0], compiled]
    stage.measure(sampling_s=1.0, emulated={compiled: EMULATED})
    assert [w.waits[1] for w in stage.workers] == [600.0, EMULATED_PATIENCE_S + COMPILE_S]


def test_cautions_are_kept_in_the_order_of_the_work(clock: Use) -> None:
    built = Caution(code="no_effect", fact="nothing changes", advice="Look.")
    unsteady = Caution(code="not_steady", fact="not settled", advice="Wait.")
    script = Script(built=Built(cautions=(built,)), ready=replace(READY, cautions=(unsteady,)))
    stage = clock(Stage(script))
    seen = stage.measure(deadline_s=0.0, emulated={stage.cases[0]: EMULATED})
    emulated = Caution(
        code="emulated", fact=EMULATED, advice="Its time says nothing about a machine that has bf16 instructions."
    )
    assert seen[0].outcome.cautions == (built, unsteady, emulated, wide("too few samples for an interval"))


def test_workers_are_closed_when_the_user_interrupts(clock: Use) -> None:
    stage = clock(Stage(Script(), Script()))

    def interrupted(text: str) -> None:
        if "block 5" in text:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stage.measure(tell=interrupted)
    assert [w.closed for w in stage.workers] == [True, True]
    assert len(stage.taken) == 8


def test_the_columns_of_an_outcome(clock: Use) -> None:
    phases = ("forward_s", "backward_s")
    counted = {"device_s": 0.75, "cpu_share": 0.96875, "steal_share": 0.015625}
    samples = (sample(1.0, 0.25, 0.5, **counted), sample(2.0000000004, 0.25, 0.5, **counted))
    stage = clock(Stage(Script(ready=replace(READY, phases=phases, reading_s=1.5e-07), latencies=samples)))
    seen = stage.measure(deadline_s=0.75)
    both = (0, 1)
    assert seen[0].outcome.measurements == (
        Measurement(quantity="first_call_s", samples=(0.5,)),
        Measurement(quantity="warmup_s", samples=(0.125,)),
        Measurement(quantity="passes_s", samples=(6.375000001,)),  # 0.125 + 2 x 0.125 + 2 x (1 + 2)
        Measurement(quantity="reading_s", samples=(1.5e-07,)),
        Measurement(quantity="latency_s", samples=(1.0, 2.0), units=6, blocks=both),
        Measurement(quantity="sample_s", samples=(2.0, 4.000000001), units=6, blocks=both),
        Measurement(quantity="forward_s", samples=(0.25, 0.25), units=6, blocks=both),
        Measurement(quantity="backward_s", samples=(0.5, 0.5), units=6, blocks=both),
        Measurement(quantity="device_s", samples=(0.75, 0.75), units=6, blocks=both),
        Measurement(quantity="cpu_share", samples=(0.96875, 0.96875), units=6, blocks=both),
        Measurement(quantity="steal_share", samples=(0.015625, 0.015625), units=6, blocks=both),
        Measurement(quantity="iteration_s", samples=(1.0, 2.0, 2.0, 3.0), blocks=(0, 0, 1, 1)),
    )


def test_the_first_call_of_a_compiled_variant_is_its_compile_time(clock: Use) -> None:
    stage = clock(Stage(Script()))
    stage.cases = [replace(c, variant=replace(c.variant, compile_mode="default")) for c in stage.cases]
    seen = stage.measure(deadline_s=0.0)
    assert seen[0].outcome.measurements[0] == Measurement(quantity="compile_s", samples=(0.5,))


def test_what_one_sample_lacks_is_missing_in_its_block_alone(clock: Use) -> None:
    samples = (sample(1.0, device_s=0.75), sample(1.0), sample(1.0, device_s=0.5))
    seen = clock(Stage(Script(latencies=samples))).measure(deadline_s=1.25)
    found = {m.quantity: m for m in seen[0].outcome.measurements}
    assert found["device_s"] == Measurement(quantity="device_s", samples=(0.75, 0.5), units=6, blocks=(0, 2))
    assert found["latency_s"].blocks == (0, 1, 2)
    assert "cpu_share" not in found


def test_grouped_iterations_give_no_single_ones(clock: Use) -> None:
    stage = clock(Stage(Script(latencies=(replace(sample(1.0), iterations_s=()),))))
    seen = stage.measure(deadline_s=0.0)
    assert [m.quantity for m in seen[0].outcome.measurements] == [
        "first_call_s",
        "warmup_s",
        "passes_s",
        "latency_s",
        "sample_s",
    ]
