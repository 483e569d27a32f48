"""What a run does besides its groups, a piece of work at a time: counting, numerical errors, memories, ceilings."""

import pytest

from cnnbench.orchestrator.messages import Job
from tests.orchestrator.world import World, asked, by_identity


def test_pieces_come_before_the_groups_and_in_the_first_launch_only(world: World) -> None:
    world.run(asked("mlp", "lenet", launches=2))
    groups = ["group mlp infer", "group lenet infer"]
    assert world.log == [
        "complexity mlp eager",
        "complexity lenet eager",
        "numerics mlp channels_last",
        "numerics lenet channels_last",
        "memory mlp eager",
        "memory mlp channels_last",
        "memory lenet eager",
        "memory lenet channels_last",
        "layers mlp eager",
        "layers lenet eager",
        "ceilings",
        *groups,
        *groups,
    ]
    assert [line for line in world.told if "numerical" in line] == [
        f"numerical error and memory: {model}" for model in ("mlp", "lenet", "mlp", "mlp", "lenet", "lenet")
    ]
    assert {record.launch for record in world.kept if record.case.role not in {"timed", "twin", "canary"}} == {0}


def test_pieces_that_are_compiled_come_after_their_group(world: World) -> None:
    world.run(asked("mlp", "lenet", variants=("compile",)))
    assert world.log == [
        "complexity mlp eager",
        "complexity lenet eager",
        "memory mlp eager",
        "memory lenet eager",
        "layers mlp eager",
        "layers lenet eager",
        "ceilings",
        "group mlp infer",
        "numerics mlp compile",
        "memory mlp compile",
        "group lenet infer",
        "numerics lenet compile",
        "memory lenet compile",
    ]
    assert [line for line in world.told if "compiled" in line] == [
        f"error and memory of what was compiled: {model}" for model in ("mlp", "mlp", "lenet", "lenet")
    ]


def test_later_launches_leave_what_is_compiled_alone(world: World) -> None:
    world.run(asked("mlp", variants=("compile",), launches=2))
    assert world.log[-4:] == ["group mlp infer", "numerics mlp compile", "memory mlp compile", "group mlp infer"]


def test_each_task_s_memory_comes_after_its_own_group(world: World) -> None:
    world.run(asked("mlp", variants=("compile",), tasks=("infer", "train")))
    kept = [record.case for record in world.kept if record.case.variant.compile_mode]
    found = [(case.role, case.task) for case in kept if case.role in {"timed", "memory"}]
    assert found == [("timed", "infer"), ("memory", "infer"), ("timed", "train"), ("memory", "train")]


def test_what_is_compiled_for_training_only_has_its_memory_measured(world: World) -> None:
    world.run(asked("mlp", variants=("compile",), tasks=("train",)))
    assert world.log[-2:] == ["group mlp train", "memory mlp compile"]


def test_as_many_workers_count_as_there_are_cores_and_those_with_a_thread_on_every_core_work_one_by_one(
    world: World,
) -> None:
    world.run(asked("mlp", "lenet"))
    assert world.at_work == [1, 2] + [1] * 8


def test_workers_with_fewer_threads_than_cores_work_side_by_side(world: World) -> None:
    world.run(asked("mlp", "lenet", threads=1))
    assert world.at_work == [1, 2] * 4 + [1, 1]


def test_pieces_get_their_case_and_limits(world: World) -> None:
    world.run(asked("mlp", "lenet"))
    assert world.open == 0
    assert world.jobs[0] == Job(case=world.kept[0].case, scratch=world.jobs[0].scratch, memory_limit_bytes=123)
    assert {job.scratch for job in world.jobs} == {world.jobs[0].scratch}


@pytest.mark.parametrize(("timeout_s", "waited_s"), [(600.0, 60.0), (5.0, 5.0)])
def test_a_piece_is_not_waited_for_longer_than_a_minute(world: World, timeout_s: float, waited_s: float) -> None:
    world.run(asked("mlp", timeout_s=timeout_s))
    assert world.waits == [waited_s] * 5


@pytest.mark.parametrize(
    ("piece_s", "done"),
    [
        (2.0, 6),  # 18 s are a fifth of the budget
        (4.5, 5),
        (5.0, 4),
        (20.0, 1),
    ],
)
def test_errors_and_memories_are_measured_in_their_share_of_the_budget(world: World, piece_s: float, done: int) -> None:
    world.piece_s = piece_s
    world.run(asked("mlp", "lenet"))
    pieces = [line for line in world.log if line.startswith(("numerics", "memory"))]
    assert (
        pieces
        == [
            "numerics mlp channels_last",
            "numerics lenet channels_last",
            "memory mlp eager",
            "memory mlp channels_last",
            "memory lenet eager",
            "memory lenet channels_last",
        ][:done]
    )
    assert world.log[-2:] == ["group mlp infer", "group lenet infer"]


@pytest.mark.parametrize(
    ("total_s", "piece_s", "done"),
    [(90.0, 3.0, 3), (90.0, 5.0, 2), (90.0, 20.0, 1), (60.0, 0.5, 3), (59.0, 0.5, 0)],  # 9 s are a tenth of the budget
)
def test_layers_are_timed_in_their_share_of_a_budget_that_is_long_enough(
    world: World, total_s: float, piece_s: float, done: int
) -> None:
    world.piece_s = piece_s
    world.run(asked("mlp", "lenet", "perceptron", total_s=total_s))
    assert [line for line in world.log if line.startswith("layers")] == [
        "layers mlp eager",
        "layers lenet eager",
        "layers perceptron eager",
    ][:done]


def test_a_resumed_run_does_what_is_missing(world: World) -> None:
    request = asked("mlp")
    world.run(request)
    done = [r for r in world.kept if (r.case.role, r.case.variant.name) != ("memory", "channels_last")]
    assert len(done) == len(world.kept) - 1
    world.log.clear()
    world.run(request, by_identity(done))
    assert world.log == ["memory mlp channels_last"]


def test_what_failed_is_done_again(world: World) -> None:
    world.failing = ("numerics",)
    world.run(asked("mlp"))
    world.failing = ()
    world.log.clear()
    world.run(asked("mlp"), by_identity(world.kept))
    assert world.log == ["numerics mlp channels_last"]


def test_a_piece_that_fails_is_a_record_and_the_run_goes_on_with_its_time(world: World) -> None:
    world.piece_s, world.failing = 3.0, ("numerics",)
    world.run(asked("mlp"))
    (failed,) = [record for record in world.kept if record.status != "ok"]
    assert (failed.case.role, failed.status, failed.error) == ("numerics", "failed", "ValueError: boom (net.py:3)")
    # Of 90 s counting and layers took three each and both memories six; what the error took is not counted. Two cells,
    # a twin and a canary take 3.2 s to start.
    assert world.sampling_s == [pytest.approx(90.0 - 12.0 - 3.2, abs=0.001)]


# Ceilings


def test_a_run_too_short_for_ceilings_leaves_them_out(world: World) -> None:
    world.run(asked("mlp", total_s=29.0))
    assert "ceilings" not in world.log


def test_ceilings_are_found_once_a_run(world: World) -> None:
    world.run(asked("mlp"))
    assert [record.case.model for record in world.kept if record.case.role == "ceilings"] == ["machine"]
    world.log.clear()
    world.run(asked("mlp"), by_identity(world.kept))
    assert world.log == []
