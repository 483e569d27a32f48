"""A whole run on a pretended machine: rounds, whose turn it is, what hangs, what is gone on with, what is refused."""

from dataclasses import replace
from types import SimpleNamespace
from typing import cast

import pytest

from cnnbench import machine
from cnnbench.orchestrator.group import GroupRounds
from cnnbench.orchestrator.run import LATE
from cnnbench.orchestrator.running_cell import CellResult
from cnnbench.orchestrator.schedule import next_group
from cnnbench.spec import UsageError
from cnnbench.workers.messages import Failure, Known
from tests.factories import MACHINE
from tests.orchestrator.fake_run import World, asked


def test_every_group_has_a_round_before_any_has_two(world: World) -> None:
    world.run(asked("mlp", "lenet", total_s=60.0))
    assert world.rounds[:3] == ["mlp infer", "lenet infer", "lineup infer"]
    assert world.log[3:5] == ["complexity mlp eager", "complexity lenet eager"]
    assert sorted(world.rounds[3:6]) == sorted(world.rounds[:3])


def test_a_run_ends_within_its_budget(world: World) -> None:
    world.run(asked("mlp", total_s=95.0))
    assert world.rounds == ["mlp infer"] * 9
    assert world.now == 1090.0


def test_records_are_numbered_by_round(world: World) -> None:
    world.run(asked("mlp", total_s=35.0))
    cells = [(r.round, r.case.role) for r in world.kept if r.case.role in ("timed", "aa_control", "control_workload")]
    roles = ["timed", "timed", "aa_control", "control_workload"]
    assert [cell for cell in cells if cell[0] < 3] == [
        *((0, role) for role in roles),
        (0, "timed"),  # the counts
        *((number, role) for number in (1, 2) for role in roles),
    ]


def test_compiling_is_apart_from_the_budget(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    from cnnbench.record import Measurement
    from tests.orchestrator import fake_run as made

    plain = made.latencies

    def compiled(case, number):  # type: ignore[no-untyped-def]
        found = plain(case, number)
        more = Measurement(quantity="compile_s", samples=(20.0,))
        first = number == 1 and case.role == "aa_control"
        return replace(found, measurements=(*found.measurements, *([more] if first else [])))

    monkeypatch.setattr(made, "latencies", compiled)
    world.run(asked("mlp", total_s=35.0))
    assert world.now == 1050.0


def test_what_hangs_is_asked_once(world: World) -> None:
    world.hanging = ("mlp",)
    world.run(asked("mlp", "lenet", batch_sizes=(1, 8), total_s=60.0))
    assert world.rounds.count("mlp infer") == 1
    assert not [line for line in world.log if "mlp" in line and not line.startswith("round")]
    failed = {(r.case.batch_size, r.case.variant.name, r.status, r.error) for r in world.timed if r.case.model == "mlp"}
    error = "no answer within 10 s (--timeout)"
    assert failed == {(b, v, "timeout", error) for b in (1, 8) for v in ("eager", "channels_last")}


def test_what_a_hang_took_is_given_back(world: World) -> None:
    world.hanging = ("mlp",)
    world.run(asked("mlp", "lenet", total_s=60.0))
    assert world.now == 1070.0


def test_a_file_that_hangs_is_not_built(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    silent = Failure(status="timeout", error="no answer within 10 s")
    found = Known(model="./net.py:build", input_shape=(3, 8, 8), failure=silent)
    monkeypatch.setattr("cnnbench.orchestrator.run.find", lambda *_: found)
    world.run(asked("./net.py:build", total_s=60.0))
    assert world.log == []  # no ceilings either, as there is nothing under them
    assert [(r.status, r.error) for r in world.timed] == [("timeout", "no answer within 10 s")] * 2


def test_groups_whose_turn_never_came_are_not_started(world: World) -> None:
    world.round_s = 40.0
    world.run(asked("mlp", "lenet", "perceptron", total_s=40.0))
    assert world.rounds == ["mlp infer", "lenet infer"]
    assert {(r.case.model, r.status, r.error) for r in world.timed if r.status != "ok"} == {
        ("perceptron", "not started", LATE)
    }


def test_a_compiled_cell_without_a_second_round_is_not_started(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def measure(group: GroupRounds, **_: object) -> tuple[CellResult, ...]:
        return tuple(seen for seen in world.measure(group) if not seen.case.variant.compile_mode)

    monkeypatch.setattr(GroupRounds, "measure", measure)
    world.run(asked("mlp", variants=("eager", "compile"), total_s=15.0))
    assert [(r.case.variant.name, r.status, r.error) for r in world.timed] == [
        ("eager", "ok", None),
        ("compile", "not started", LATE),
    ]


def test_a_resumed_run_goes_on_with_its_next_round(world: World) -> None:
    world.run(asked("mlp", total_s=35.0))
    first, world.kept, world.now = world.kept, [], 2000.0
    world.run(asked("mlp", total_s=65.0), first, spent_s=35.0)
    assert sorted({record.round for record in world.timed}) == [3, 4, 5]
    assert not [record for record in world.kept if record.case.task == "complexity"]


def test_resume_with_spent_budget_does_missing_pieces(world: World) -> None:
    world.run(asked("mlp", total_s=35.0))
    first, world.kept = [r for r in world.kept if r.case.task != "complexity"], []
    world.log.clear()
    world.run(asked("mlp", total_s=35.0), first, spent_s=35.0)
    assert world.rounds == []
    assert [record.case.task for record in world.kept] == ["complexity"]


def test_a_training_that_did_not_fit_is_tried_again(world: World) -> None:
    request = asked("mlp", accuracy="digits")
    world.run(request)
    world.run(request, world.kept)
    assert world.trained == ["mlp", "mlp"]


def test_another_environment_is_refused(world: World) -> None:
    world.run(asked("mlp"))
    world.environment = replace(MACHINE, torch="2.12.0")
    with pytest.raises(UsageError) as caught:
        world.run(asked("mlp"), world.kept)
    assert str(caught.value) == (
        "This run began in another environment: torch was '2.11.0' and is '2.12.0'. Give a new folder with --output."
    )


def test_other_threads_are_refused(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "default_threads", lambda: 4)
    world.run(asked("mlp", threads=2))
    with pytest.raises(UsageError) as caught:
        world.run(asked("mlp", threads=3), world.kept)
    assert str(caught.value) == (
        "This run began with 2 threads per cell, but now it has 3. Use the same --threads, or a new folder with "
        "--output."
    )


def group(rounds: int, last_s: float, *, is_lineup: bool = False) -> GroupRounds:
    return cast("GroupRounds", SimpleNamespace(rounds=rounds, fewest_rounds=rounds, last_s=last_s, is_lineup=is_lineup))


def test_dear_groups_get_fewer_rounds_but_three_first() -> None:
    dear, cheap = group(2, 16.0), group(6, 1.0)
    assert next_group([dear, cheap]) is dear
    dear.rounds = 3  # 3 x 4 is more than 6 x 1, but one of its cells joined later
    assert next_group([dear, cheap]) is dear
    dear = group(3, 16.0)
    assert next_group([dear, cheap]) is cheap
    cheap.rounds = 13
    assert next_group([dear, cheap]) is dear
    assert next_group([]) is None


def test_line_up_gets_twice_rounds_of_equally_costly_group() -> None:
    models, variants = group(7, 4.0, is_lineup=True), group(4, 4.0)
    assert next_group([models, variants]) is models
    models.rounds = 9
    assert next_group([models, variants]) is variants
