"""How workers of a round are started: who goes ahead, what a hang costs, how long each is waited for."""

from dataclasses import replace

import pytest

from cnnbench.jobs import Job
from cnnbench.orchestrator.start_round import COMPILE_TIMEOUT_S
from cnnbench.record import Outcome, RecordedWarning
from cnnbench.workers.messages import Built, Failure
from tests.factories import AMP
from tests.orchestrator.fakes import BOOM, READY, SILENT, Script, Stage, Use

EMULATED = "bf16 is emulated here"
TIMED_OUT = Failure(status="timeout", error="no answer within 600 s (--timeout)")
OOM = Failure(status="oom", error="out of memory")


def test_the_first_cell_goes_ahead_in_the_first_round_only(clock: Use) -> None:
    stage = clock(Stage(Script(), Script(), Script()))
    stage.measure(2)
    starts = [line for line in stage.log if line.startswith(("build", "warm"))]
    others = ["channels_last", "amp"]
    assert starts[:6] == ["build eager", "warm eager", *(f"build {o}" for o in others), *(f"warm {o}" for o in others)]
    assert starts[6:] == [f"{step} {name}" for step in ("build", "warm") for name in ("eager", *others)]


def test_workers_get_their_case_and_limits(clock: Use) -> None:
    stage = clock(Stage(Script(), Script(), device="cuda"))
    stage.measure()
    assert [w.requests[0] for w in stage.workers] == [
        Job(case=c, scratch="/scratch", memory_limit_bytes=None, warm_cap_s=4.0) for c in stage.cases
    ]
    assert all(w.closed for w in stage.workers)


def test_later_rounds_keep_the_shape_of_the_first(clock: Use) -> None:
    stage = clock(Stage(Script()))
    stage.measure(2)
    assert [w.shape for w in stage.workers] == [None, READY.shape]


@pytest.mark.parametrize("failure", [SILENT, BOOM])
def test_what_stops_the_first_cell_stops_its_model(clock: Use, failure: Failure) -> None:
    stage = clock(Stage(Script(ready=failure), Script(), aa_control=Script(), control_workload=Script()))
    ((eager, last, aa_control, control_workload),) = stage.measure()
    met = TIMED_OUT if failure is SILENT else BOOM
    assert [s.failure for s in (eager, last, aa_control, control_workload)] == [met] * 4
    assert [w.name for w in stage.workers] == ["eager"]


def test_lack_of_memory_stops_the_twin_alone(clock: Use) -> None:
    stage = clock(Stage(Script(built=OOM), Script(), aa_control=Script()))
    ((eager, last, aa_control),) = stage.measure()
    assert [s.failure for s in (eager, last, aa_control)] == [OOM, None, OOM]


def test_a_variant_that_hangs_leaves_the_others(clock: Use) -> None:
    stage = clock(Stage(Script(), Script(ready=SILENT), Script()))
    ((eager, last, amp),) = stage.measure()
    assert [s.failure for s in (eager, last, amp)] == [None, TIMED_OUT, None]


def test_an_emulated_cell_is_given_up_soon(clock: Use) -> None:
    stage = clock(Stage(Script(), Script(), Script(ready=SILENT)))
    ((*_, amp),) = stage.measure(emulated={stage.cases[2]: EMULATED})
    gave_up = Failure(status="unsupported", error="bf16 is emulated here; given up after 2 s of warm-up")
    assert (amp.failure, amp.outcome) == (gave_up, Outcome())


def test_compiling_has_ten_minutes(clock: Use) -> None:
    stage = clock(Stage(Script(), Script()))
    stage.cases = [replace(c, budget=replace(c.budget, timeout_s=20.0)) for c in stage.cases]
    stage.cases[1] = replace(stage.cases[1], variant=replace(AMP, name="compile", compile_mode="default"))
    stage.measure(2)
    assert [w.waits[1] for w in stage.workers] == [20.0, 20.0, COMPILE_TIMEOUT_S]
    assert stage.told == ["net compile cpu infer batch 1: compiling (a minute or so)"]


def test_cautions_and_notes_are_kept(clock: Use) -> None:
    built = RecordedWarning(code="no_effect", fact="nothing changes", advice="Look.")
    stage = clock(Stage(Script(built=Built(warnings=(built,), notes=("no convolution",)))))
    ((eager,),) = stage.measure(emulated={stage.cases[0]: EMULATED})
    emulated = RecordedWarning(
        code="emulated", fact=EMULATED, advice="Its time says nothing about a machine that has bf16 instructions."
    )
    assert (eager.outcome.warnings, eager.outcome.notes) == ((built, emulated), ("no convolution",))
