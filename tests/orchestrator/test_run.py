"""A whole run with a pretended host: what is measured again, how the budget is shared, what is refused."""

from dataclasses import replace

import pytest

from cnnbench import machine
from cnnbench.spec import UsageError
from tests.made import MACHINE
from tests.orchestrator.world import World, asked, by_identity


def test_every_launch_gets_an_equal_part_of_the_budget(world: World) -> None:
    world.fixed_s = 3.2  # two cells and a twin, 0.9 s each, and a canary
    world.run(asked("mlp", "lenet", "perceptron", launches=3))
    parts = [sum(world.sampling_s[at : at + 3]) for at in (0, 3, 6)]
    # Of 90 s the starts of two later launches are set aside, 3 x 3.2 s in each are spent before samples; the pretended
    # starts take nothing, so their time goes to the launches that follow.
    warming_up = 3 * 17 * (79_400 + 649_120 + 7_840) / 60e9
    expected = [80 / 3 - 9.6, 80 / 3 + 5 / 2 - 9.6, 80 / 3 + 5 / 2 + 5 - 9.6]
    assert parts == pytest.approx([part - warming_up for part in expected], abs=0.001)


def test_groups_that_end_early_leave_their_time_to_the_later_ones(world: World) -> None:
    world.group_s = 1.0
    world.run(asked("mlp", "lenet", "perceptron"))
    # of 90 s 3.2 s a group are set aside for its start
    assert [round(s, 1) for s in world.sampling_s] == [26.8, 41.3, 84.8]


def test_what_is_done_is_not_measured_again(world: World) -> None:
    request = asked("mlp", "lenet")
    world.run(request)
    first, world.kept = world.kept, []
    world.run(request, by_identity(first))
    assert world.kept == []
    lost = next(r for r in reversed(first) if r.case.variant.name == "channels_last" and r.case.role == "timed")
    world.run(request, by_identity([record for record in first if record is not lost]))
    assert [record.case.label() for record in world.timed] == [
        "lenet eager cpu infer batch 1",
        "lenet channels_last cpu infer batch 1",
    ]


def test_cells_that_were_not_measured_together_are_measured_again(world: World) -> None:
    request = asked("mlp")
    world.run(request)
    first, second = world.timed
    apart = replace(second, started="2026-01-01T00:00:00.000+00:00")
    world.log.clear()
    world.run(request, by_identity([apart if record is second else record for record in world.kept]))
    assert (first.started != apart.started, world.log) == (True, ["group mlp infer"])


@pytest.mark.parametrize(("missing", "again"), [("twin", ["group mlp infer"]), ("canary", [])])
def test_a_group_without_its_twin_is_measured_again(world: World, missing: str, again: list[str]) -> None:
    world.run(asked("mlp"))
    assert [r.case.role for r in world.kept if r.launch == 0][-4:] == ["timed", "timed", "twin", "canary"]
    world.log.clear()
    world.run(asked("mlp"), by_identity([r for r in world.kept if r.case.role != missing]))
    assert world.log == again


def test_groups_are_skipped_a_quarter_beyond_the_budget_and_good_records_stay(world: World) -> None:
    request = asked("mlp", "lenet")
    world.run(request)
    good, last = world.timed[2:]
    failed = replace(last, status="failed", measurements=(), error="boom")
    world.kept, world.group_s = [], 113.0
    world.run(request, by_identity([good, failed]))
    assert [(record.case.label(), record.status) for record in world.timed] == [
        ("mlp eager cpu infer batch 1", "ok"),
        ("mlp channels_last cpu infer batch 1", "ok"),
        ("lenet channels_last cpu infer batch 1", "timeout"),
    ]
    assert world.kept[-1].error == (
        "the budget was spent before its turn; a larger --budget, or the same command with --output of this run"
    )


def test_a_training_that_did_not_fit_is_tried_again(world: World) -> None:
    request = asked("mlp", accuracy="digits")
    world.run(request)
    assert [record.status for record in world.timed] == ["unsupported", "ok", "ok"]
    world.run(request, by_identity(world.kept))
    assert world.trained == ["mlp", "mlp"]


def test_trainings_come_first_and_the_groups_get_what_they_leave_of_their_share(world: World) -> None:
    world.train_s = 2.0
    world.run(asked("mlp", "lenet", accuracy="digits"))
    assert [line for line in world.log if line.startswith(("train", "group"))] == [
        "train mlp",
        "train lenet",
        "group mlp infer",
        "group lenet infer",
    ]
    assert world.limits_s == [pytest.approx(27.0 / 2), pytest.approx(25.0)]  # a share of 90 s, the last one gets all
    # the pretended start of the first group takes nothing, that of the second is set aside
    assert sum(world.sampling_s) == pytest.approx(90.0 - 4.0 - 3.2, abs=0.01)


def test_later_launches_do_not_train_again(world: World) -> None:
    world.run(asked("mlp", accuracy="digits", launches=2))
    assert world.trained == ["mlp"]


def test_another_environment_is_refused(world: World) -> None:
    request = asked("mlp")
    world.run(request)
    world.environment = replace(MACHINE, torch="2.12.0")
    with pytest.raises(UsageError) as caught:
        world.run(request, by_identity(world.kept))
    assert str(caught.value) == (
        "This run began in another environment: torch was '2.11.0' and is '2.12.0'. Give a new folder with --output."
    )


def test_other_threads_are_refused(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "default_threads", lambda: 4)
    world.run(asked("mlp", threads=2))
    with pytest.raises(UsageError) as caught:
        world.run(asked("mlp", threads=3), by_identity(world.kept))
    assert str(caught.value) == (
        "This run began with 2 threads a cell, now it is 3. Give the same --threads, or a new folder with --output."
    )
