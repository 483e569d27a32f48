"""What a run does beside its rounds, piece by piece: counts, errors, memories, layers, ceilings, trainings."""

import pytest

from cnnbench.jobs import Job
from cnnbench.orchestrator.side_jobs import NO_TIME
from tests.orchestrator.fake_run import World, asked


def beside(world: World) -> list[str]:
    """Return the pieces that were done, without the rounds."""
    return [line for line in world.log if not line.startswith("round")]


def test_pieces_come_after_the_first_round(world: World) -> None:
    world.run(asked("mlp", "lenet", total_s=120.0))
    assert world.log[:7] == [
        "round mlp infer",
        "round lenet infer",
        "round lineup infer",
        "complexity mlp eager",
        "complexity lenet eager",
        "numerics mlp channels_last",
        "numerics lenet channels_last",
    ]
    assert sorted(beside(world)[4:]) == [
        "ceilings",
        *(f"layers {model} eager" for model in ("lenet", "mlp")),
        *(f"memory {model} {v}" for model in ("lenet", "mlp") for v in ("channels_last", "eager")),
    ]


def test_pieces_take_their_share_of_the_time(world: World) -> None:
    world.piece_s, world.round_s = 1.0, 5.0
    world.run(asked("mlp", "lenet", total_s=120.0))
    later = [at for at, line in enumerate(world.log) if line.startswith(("memory", "layers"))]
    assert any(line.startswith("round") for line in world.log[later[0] : later[-1]])
    assert len(later) == 6


def test_optional_pieces_wait_for_three_rounds(world: World) -> None:
    world.piece_s, world.round_s = 1.0, 5.0
    world.run(asked("mlp", "lenet", total_s=120.0))
    before = world.log[: next(at for at, line in enumerate(world.log) if line.startswith(("memory", "layers")))]
    assert [before.count(f"round {name} infer") for name in ("mlp", "lenet", "lineup")] == [3, 3, 3]


def test_what_does_not_fit_is_not_started(world: World) -> None:
    world.piece_s = 30.0
    world.run(asked("mlp", total_s=60.0))
    assert beside(world) == ["complexity mlp eager", "numerics mlp channels_last"]
    late = [(r.case.role, r.status, r.error) for r in world.kept if r.status != "ok"]
    assert late == [("memory", "not started", NO_TIME)] * 2 + [("ceilings", "not started", NO_TIME)]


@pytest.mark.parametrize(("total_s", "layers"), [(119.0, 0), (120.0, 1)])
def test_layers_are_timed_in_longer_runs_only(world: World, total_s: float, layers: int) -> None:
    world.run(asked("mlp", total_s=total_s))
    assert sum(line.startswith("layers") for line in world.log) == layers


def test_a_run_too_short_for_ceilings_leaves_them_out(world: World) -> None:
    world.run(asked("mlp", total_s=29.0))
    assert "ceilings" not in world.log


def test_what_is_compiled_is_checked_after_its_second_round(world: World) -> None:
    world.run(asked("mlp", variants=("compile",), total_s=90.0))
    at = world.log.index("numerics mlp compile")
    assert world.log[:at].count("round mlp infer") == 2
    assert "memory mlp compile" in world.log


def test_training_only_compile_measures_memory_not_numerics(world: World) -> None:
    world.run(asked("mlp", variants=("compile",), tasks=("train",), total_s=90.0))
    assert "memory mlp compile" in world.log
    assert not [line for line in world.log if line.startswith("numerics")]


def test_counts_use_all_cores_and_numerics_their_threads(world: World) -> None:
    world.run(asked("mlp", "lenet"))
    assert world.at_work[:4] == [1, 2, 1, 1]
    world.at_work.clear()
    world.run(asked("mlp", "lenet", threads=1))
    assert world.at_work[:4] == [1, 2, 1, 2]


def test_pieces_get_their_case_and_limits(world: World) -> None:
    world.run(asked("mlp", "lenet"))
    assert world.open == 0
    counted = next(r for r in world.kept if r.case.task == "complexity")
    assert world.jobs[0] == Job(case=counted.case, scratch=world.jobs[0].scratch, memory_limit_bytes=123)
    assert {job.scratch for job in world.jobs} == {world.jobs[0].scratch}


@pytest.mark.parametrize(("timeout_s", "waited_s"), [(600.0, 60.0), (5.0, 5.0)])
def test_a_piece_is_not_waited_for_longer_than_a_minute(world: World, timeout_s: float, waited_s: float) -> None:
    world.run(asked("mlp", timeout_s=timeout_s))
    assert world.waits == [waited_s] * 4


def test_a_resumed_run_does_what_is_missing(world: World) -> None:
    world.run(asked("mlp"))
    done = [r for r in world.kept if (r.case.role, r.case.variant.name) != ("memory", "channels_last")]
    world.log.clear()
    world.run(asked("mlp"), done)
    assert beside(world) == ["memory mlp channels_last"]


def test_what_failed_is_done_again(world: World) -> None:
    world.failing = ("numerics",)
    world.run(asked("mlp"))
    failed = [r for r in world.kept if r.status != "ok"]
    assert [(r.case.role, r.status, r.error) for r in failed] == [("numerics", "failed", "ValueError: boom (net.py:3)")]
    world.failing = ()
    world.log.clear()
    world.run(asked("mlp"), world.kept)
    assert beside(world) == ["numerics mlp channels_last"]


def test_the_time_of_a_failure_is_given_back(world: World) -> None:
    world.piece_s, world.failing = 2.0, ("memory",)
    world.run(asked("mlp", total_s=90.0))
    assert len([line for line in world.log if line.startswith("memory")]) == 2
    plain, failed = 2 * 2.0, 2 * 2.0
    assert len(world.rounds) == int((90.0 + failed - plain - failed) // 10)


def test_trainings_get_half_of_what_is_left_and_the_last_one_all(world: World) -> None:
    world.train_s = 2.0
    world.run(asked("mlp", "lenet", accuracy="digits", total_s=90.0))
    assert world.trained == ["mlp", "lenet"]
    assert world.limits_s == [pytest.approx(27.0 / 2), pytest.approx(25.0)]


def test_trainings_know_the_latency_of_an_image(world: World) -> None:
    world.run(asked("mlp", accuracy="digits", total_s=90.0))
    seen = [r for r in world.timed if r.case.task == "infer" and r.case.variant.name == "eager"]
    assert world.images_s == [min(seen[0].samples("latency_s"))]  # of the one round before it
