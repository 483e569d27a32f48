"""What can be asked: identities of cases, names that are not known, exit codes."""

from dataclasses import FrozenInstanceError, replace
from typing import Any

import pytest

from cnnbench.spec import (
    Budget,
    Case,
    CnnbenchError,
    InvalidError,
    MissingError,
    UnsupportedError,
    UsageError,
    Variant,
    unknown_name,
)
from tests.factories import AMP, case

NOTHING = Budget(total_s=0.0, timeout_s=0.0)


def test_key_leaves_seed_and_budget_out_and_nothing_else() -> None:
    asked = case("lenet", AMP, task="train", batch_size=8, shape=(1, 28, 28), dataset="digits", seed=7)
    assert asked.key() == Case(
        model="lenet",
        variant=AMP,
        task="train",
        device="cpu",
        batch_size=8,
        input_shape=(1, 28, 28),
        dataset="digits",
        weights="none",
        seed=0,
        budget=NOTHING,
    )


def test_identity_keeps_the_seed() -> None:
    asked = case("lenet", seed=7)
    assert asked.identity() == replace(asked, budget=NOTHING)
    assert asked.identity() != replace(asked, seed=8).identity()


@pytest.mark.parametrize(
    "change",
    [
        {"model": "resnet18"},
        {"variant": Variant(name="eager", threads=2)},
        {"task": "train"},
        {"device": "cuda"},
        {"batch_size": 2},
        {"input_shape": (1, 28, 28)},
        {"dataset": "digits"},
        {"recipe": "fast"},
        {"weights": "pretrained"},
    ],
    ids=lambda change: next(iter(change)),
)
def test_every_condition_is_part_of_the_key(change: dict[str, Any]) -> None:
    asked = case("lenet")
    assert replace(asked, **change).key() != asked.key()


def test_keys_without_seed_and_budget_are_equal() -> None:
    first, second = case("lenet"), replace(case("lenet"), seed=3, budget=Budget(total_s=9.0, timeout_s=1.0))
    assert {first.key(): "joined"}[second.key()] == "joined"


def test_label_is_what_a_person_calls_the_cell() -> None:
    assert case("lenet", AMP, task="train", batch_size=8).label() == "lenet amp cpu train batch 8"


def test_types_cannot_be_changed_or_grown() -> None:
    asked = case("lenet")
    with pytest.raises(FrozenInstanceError):
        asked.seed = 3  # type: ignore[misc]
    assert not hasattr(asked, "__dict__")


@pytest.mark.parametrize(
    ("given", "more", "message"),
    [
        ("lennet", "", "Unknown model 'lennet'. Did you mean lenet, lenet5?"),
        ("lennet", "See list.", "Unknown model 'lennet'. Did you mean lenet, lenet5? See list."),
        ("zzz", "", "Unknown model 'zzz'. Known: lenet, lenet5, vgg16."),
        ("", "See list.", "Unknown model ''. Known: lenet, lenet5, vgg16. See list."),
    ],
)
def test_unknown_name_answers_with_close_or_known_ones(given: str, more: str, message: str) -> None:
    error = unknown_name("model", given, iter(["vgg16", "lenet5", "lenet"]), more)
    assert (type(error), str(error)) == (UsageError, message)


def test_unknown_name_lists_forty_names_at_most() -> None:
    names = [f"n{at:02}" for at in range(41)]
    assert str(unknown_name("model", "zzz", names)) == f"Unknown model 'zzz'. Known: {', '.join(names[:40])}."


@pytest.mark.parametrize(
    ("error", "code"),
    [(CnnbenchError, 1), (UsageError, 2), (MissingError, 3), (UnsupportedError, 1), (InvalidError, 1)],
)
def test_exit_codes(error: type[CnnbenchError], code: int) -> None:
    assert issubclass(error, CnnbenchError)
    assert error.exit_code == code
