"""Values of options: durations, counts, shapes, sizes, words and numbers."""

import click
import pytest

from cnnbench.app.option_types import COUNT, DURATION, NUMBERS, SHAPE, SIZE, Words

TASKS = Words(("infer", "train"))


@pytest.mark.parametrize(
    ("kind", "given", "expected"),
    [
        (DURATION, "20ms", 0.02),
        (DURATION, "500us", 0.0005),
        (DURATION, "90", 90.0),
        (DURATION, " 1.5 S ", 1.5),
        (DURATION, "8m", 480.0),
        (DURATION, "2min", 120.0),
        (DURATION, "1h", 3600.0),
        (DURATION, "8m30s", 510.0),
        (DURATION, 7.5, 7.5),
        (COUNT, "3504872", 3504872),
        (COUNT, "500k", 500_000),
        (COUNT, "2.5M", 2_500_000),
        (COUNT, "1g", 10**9),
        (COUNT, 12, 12),
        (SHAPE, "3x32x40", (3, 32, 40)),
        (SHAPE, "1X28X28", (1, 28, 28)),
        (SHAPE, (1, 2, 3), (1, 2, 3)),
        (SIZE, "244", (244, 244)),
        (SIZE, "224x192", (224, 192)),
        (SIZE, "1x28x20", (1, 28, 20)),
        (NUMBERS, "8", (8,)),
        (NUMBERS, "8, 1,8", (8, 1)),
        (Words(), "b, a,,b", ("b", "a")),
        (Words(), "torchvision:x", ("torchvision:x",)),
        (TASKS, "train,infer", ("train", "infer")),
        (TASKS, ("anything",), ("anything",)),
    ],
)
def test_a_value_is_understood(kind: click.ParamType[object], given: object, expected: object) -> None:
    assert kind.convert(given, None, None) == expected


TIME = "is not a time above zero. Write it like 20ms, 90s, 8m30s or 1h."
NUMBER = "is not a number. Write it like 3504872, 500k or 5M."
A_SHAPE = "is not a shape. Write channels x height x width, like 3x32x32."
A_SIZE = "is not a size. Write it like 224, 224x224 or 1x224x224."
SOME_NUMBERS = "is not a list of positive whole numbers. Write it like 1,8."


@pytest.mark.parametrize(
    ("kind", "given", "said"),
    [
        *((DURATION, given, TIME) for given in ("", "0", "0s", "-5s", "5x", "soon", "1:30", "5 s s")),
        *((COUNT, given, NUMBER) for given in ("", "k", "5b", "-1", "1e6")),
        *((SHAPE, given, A_SHAPE) for given in ("", "32", "32x32", "3x0x32", "3x32x32x1", "3xax3", "-3x2x2", "3x²x3")),
        *((SIZE, given, A_SIZE) for given in ("", "0", "1x2x3x4", "a", "1.5")),
        *((NUMBERS, given, SOME_NUMBERS) for given in ("", "0", "1,,8", "1,-8", "a", "1.5")),
    ],
)
def test_a_wrong_value_says_how_to_write_it(kind: click.ParamType[object], given: str, said: str) -> None:
    with pytest.raises(click.BadParameter) as caught:
        kind.convert(given, None, None)
    assert caught.value.message == f"'{given}' {said}"


@pytest.mark.parametrize("given", ["", ",", "infer,test", "Infer"])
def test_words_must_be_among_the_choices(given: str) -> None:
    with pytest.raises(click.BadParameter) as caught:
        TASKS.convert(given, None, None)
    assert caught.value.message == f"'{given}' is not valid. Use one or more of infer, train."


def test_no_words_are_wrong_without_choices_too() -> None:
    with pytest.raises(click.BadParameter) as caught:
        Words().convert(" , ", None, None)
    assert caught.value.message == "' , ' is not valid. Name at least one."
