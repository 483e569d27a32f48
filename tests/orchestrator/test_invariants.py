"""What is looked at without timing: which pieces of work there are, how many at once, and what cannot be had."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pytest

from cnnbench import machine
from cnnbench.orchestrator import invariants as exact
from cnnbench.orchestrator.estimates import COMPILE_S, COMPLEXITY_S
from cnnbench.orchestrator.events import Progress
from cnnbench.orchestrator.invariants import CheckOptions, examine
from cnnbench.record import Environment, Record
from cnnbench.spec import Request, Shape, Training
from tests.orchestrator.fake_run import BOOM, World
from tests.orchestrator.plans import NO_COMPILER

OUTSIDE = "./net.py:make"


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> World:
    """Return a machine with two cores on which models are looked at."""
    made = World()

    @contextmanager
    def hosting(request: Request) -> Iterator[World]:
        made.log.append(f"host with {', '.join(v for section in request.sections for v in section.variants)}")
        yield made

    def ask(_: object, names: Sequence[str]) -> tuple[Environment, dict[str, Shape]]:
        return made.environment, {name: (3, 9, 9) for name in names if ".py:" in name}

    monkeypatch.setattr(machine, "usable_cores", lambda: 2)
    monkeypatch.setattr(machine, "default_threads", lambda: 2)
    for name, stand_in in {"open_host": hosting, "ask": ask, "limit_of": lambda _: 123}.items():
        monkeypatch.setattr(exact, name, stand_in)
    return made


def look(*asked: CheckOptions) -> tuple[list[Record], list[Progress]]:
    told: list[Progress] = []
    return list(examine(asked, told.append)), told


def test_counts_alone_compile_and_train_nothing(here: World) -> None:
    records, _ = look(CheckOptions(model="lenet"), CheckOptions(model="mlp"))
    assert here.log == ["host with eager, eager", "complexity lenet eager", "complexity mlp eager"]
    assert [(r.case.model, r.case.task, r.case.role, r.status) for r in records] == [
        ("lenet", "complexity", "timed", "ok"),
        ("mlp", "complexity", "timed", "ok"),
    ]


def test_workers_fill_cores_longest_first_with_one_thread(here: World) -> None:
    records, told = look(
        CheckOptions(model="lenet", compiled=True, dataset="digits", epochs=3, seed=7), CheckOptions(model="mlp")
    )
    assert here.log == [
        "host with compile, eager",
        "numerics lenet compile",
        "accuracy lenet eager",
        "complexity lenet eager",
        "complexity mlp eager",
    ]
    assert here.at_work == [1, 2, 1, 2]
    assert here.open == 0
    assert {record.case.variant.threads for record in records} == {1}
    (training,) = [job for job in here.jobs if job.case.task == "accuracy"]
    assert (training.training, training.case.dataset, training.case.seed) == (Training(epochs=3), "digits", 7)
    assert (training.case.recipe, training.checkpoint, training.limit_s) == ("tutorial", None, None)
    assert [progress.text for progress in told] == [
        "starting workers (importing torch)",
        "compiling lenet, training lenet",
        "counting lenet, counting mlp",
    ]
    left = [progress.remaining_s for progress in told[1:]]
    assert left == pytest.approx([(COMPILE_S + exact.TRAINING_S + 2 * COMPLEXITY_S) / 2, COMPLEXITY_S])


def test_each_network_has_its_own_input(here: World) -> None:
    records, _ = look(
        CheckOptions(model="lenet"),
        CheckOptions(model=OUTSIDE),
        CheckOptions(model="net.py:other", input_shape=(1, 8, 8)),
    )
    assert [record.case.input_shape for record in records] == [(3, 32, 32), (3, 9, 9), (1, 8, 8)]


def test_a_machine_that_cannot_compile_is_a_record_that_says_why(here: World) -> None:
    here.environment = NO_COMPILER
    records, _ = look(CheckOptions(model="lenet", compiled=True))
    assert [(r.case.role, r.case.variant.name, r.status, r.error) for r in records] == [
        ("numerics", "compile", "unsupported", NO_COMPILER.compile_blocker),
        ("timed", "eager", "ok", None),
    ]


def test_a_piece_that_fails_costs_the_others_nothing(here: World) -> None:
    here.failing = ("numerics",)
    records, _ = look(CheckOptions(model="lenet", compiled=True))
    assert [(record.case.role, record.status, record.error) for record in records] == [
        ("numerics", "failed", BOOM.error),
        ("timed", "ok", None),
    ]


def test_an_interruption_ends_the_workers(here: World) -> None:
    found = examine([CheckOptions(model="lenet"), CheckOptions(model="mlp")], lambda _: None)
    next(found)
    assert here.open == 2
    found.close()  # type: ignore[attr-defined]  # a generator
    assert here.open == 0


def test_pieces_have_the_limits_of_measured_cells(here: World) -> None:
    look(CheckOptions(model="lenet"))
    assert [job.memory_limit_bytes for job in here.jobs] == [123]
    assert here.waits == [exact.ANSWER_S]
