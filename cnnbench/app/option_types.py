"""Types of option values that several commands take: durations, counts, shapes, comma-separated lists."""

from __future__ import annotations

import re

import click

from cnnbench.plans import seconds
from cnnbench.spec import UsageError

_COUNT = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9}
_NUMBER = re.compile(r"^\s*(\d+(?:\.\d+)?)\s*([a-zA-Z]*)\s*$")


class Duration(click.ParamType[float]):
    """A time such as 20ms, 90s, 8m30s or 1h, in seconds; a bare number means seconds."""

    name = "duration"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return the time in seconds."""
        if isinstance(value, float):
            return value
        try:
            return seconds(str(value))
        except UsageError as error:
            self.fail(str(error), param, ctx)


class Count(click.ParamType[int]):
    """A number such as 500k, 5M or 3504872."""

    name = "count"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return the number."""
        if isinstance(value, int):
            return value
        found = _NUMBER.match(str(value))
        if found is None or found[2].lower() not in _COUNT:
            self.fail(f"'{value}' is not a number. Write it like 3504872, 500k or 5M.", param, ctx)
        return round(float(found[1]) * _COUNT[found[2].lower()])


class Percent(click.ParamType[float]):
    """A share such as 3%, 0.5% or 0.03, above 0 and below 100 %."""

    name = "percent"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return the share, such as 0.03 for 3%."""
        text = str(value).strip()
        # What is no number becomes 0 and gets the same message as a share out of range.
        try:
            share = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
        except ValueError:
            share = 0.0
        if not 0 < share < 1:
            self.fail(f"'{value}' is not a share. Write it like 3% or 0.03.", param, ctx)
        return share


class ShapeType(click.ParamType[tuple[int, ...]]):
    """The shape of one image: channels x height x width, such as 3x32x32."""

    name = "CxHxW"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, ...]:
        """Return (channels, height, width)."""
        if isinstance(value, tuple):
            return value
        words = str(value).lower().split("x")
        if len(words) != 3 or not all(w.isdecimal() and int(w) > 0 for w in words):  # noqa: PLR2004
            self.fail(f"'{value}' is not a shape. Write channels x height x width, like 3x32x32.", param, ctx)
        return tuple(int(w) for w in words)


class Size(click.ParamType[tuple[int, ...]]):
    """Height and width of an image, such as 224x244, or 224 for both; 1x224x224 gives the channels too."""

    name = "size"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, ...]:
        """Return (height, width), or (channels, height, width)."""
        if isinstance(value, tuple):
            return value
        words = str(value).lower().split("x")
        if len(words) > 3 or not all(w.isdecimal() and int(w) > 0 for w in words):  # noqa: PLR2004
            self.fail(f"'{value}' is not a size. Write it like 224, 224x224 or 1x224x224.", param, ctx)
        found = tuple(int(word) for word in words)
        return found if len(found) > 1 else found * 2


class Words(click.ParamType[tuple[str, ...]]):
    """Comma-separated words, from `choices` if there are any."""

    name = "list"

    def __init__(self, choices: tuple[str, ...] = ()) -> None:
        self.choices = choices

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, ...]:
        """Return the words, each once, in order."""
        if isinstance(value, tuple):
            return value
        words = tuple(dict.fromkeys(w.strip() for w in str(value).split(",") if w.strip()))
        wrong = [w for w in words if self.choices and w not in self.choices]
        if wrong or not words:
            allowed = f"Use one or more of {', '.join(self.choices)}" if self.choices else "Name at least one"
            self.fail(f"'{value}' is not valid. {allowed}.", param, ctx)
        return words


class Numbers(click.ParamType[tuple[int, ...]]):
    """Comma-separated whole numbers from 1 on."""

    name = "list"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, ...]:
        """Return the numbers, each once, in order."""
        if isinstance(value, tuple):
            return value
        words = [w.strip() for w in str(value).split(",")]
        if not all(w.isdecimal() and int(w) > 0 for w in words):
            self.fail(f"'{value}' is not a list of positive whole numbers. Write it like 1,8.", param, ctx)
        return tuple(dict.fromkeys(int(w) for w in words))


# Option of every command that reads a dataset.
data_dir_option = click.option(
    "--data-dir", metavar="FOLDER", help="Folder with datasets, searched before CNNBENCH_DATA and ./data."
)

# Types without settings, made once for all commands.
DURATION = Duration()
COUNT = Count()
PERCENT = Percent()
SHAPE = ShapeType()
SIZE = Size()
NUMBERS = Numbers()

# Formats of a plain listing.
TABLE_FORMATS = ("table", "csv", "json")
