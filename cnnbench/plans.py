"""Named plans: read what to measure from `bench/plans/*.toml`, or from a file of the user."""

from __future__ import annotations

import math
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from cnnbench.models import MODELS
from cnnbench.spec import Section, Task, UsageError, unknown_name

# Stands for every built-in model in a plan's list of models.
BUILTIN = "builtin"

# Stands for a budget that is as long as the plan is expected to take.
AUTO = "auto"

_UNITS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}
_PART = re.compile(r"(\d+(?:\.\d+)?)\s*(us|ms|min|s|m|h)\s*")
_NUMBER = re.compile(r"\d+(?:\.\d+)?")

_Positive = Annotated[int, msgspec.Meta(ge=1)]
_Some = msgspec.Meta(min_length=1)


class Part(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One `[[measure]]` table of a plan file."""

    models: Annotated[tuple[str, ...], _Some]
    variants: Annotated[tuple[str, ...], _Some] = ("eager", "channels_last")
    batch_sizes: Annotated[tuple[_Positive, ...], _Some] = (1,)
    tasks: Annotated[tuple[Task, ...], _Some] = ("infer",)


class PlanFile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Content of a plan file; times are kept as written (`8m30s`), and `budget` may be `auto`.

    This is a struct and not a dataclass, because only a struct refuses unknown keys.
    """

    description: str
    measure: Annotated[tuple[Part, ...], _Some]
    budget: str = "60s"
    timeout: str | None = None
    device: Literal["cpu", "cuda", "all"] = "cpu"
    accuracy: str | None = None
    weights: str = "none"
    input_shape: tuple[_Positive, _Positive, _Positive] | None = None
    reference: str | None = None
    threads: _Positive | None = None
    seed: int = 0

    def sections(self) -> tuple[Section, ...]:
        """Return the sections to measure, with `builtin` replaced by the names of all built-in models."""
        return tuple(
            Section(
                models=tuple(m for name in part.models for m in (MODELS if name == BUILTIN else (name,))),
                variants=part.variants,
                batch_sizes=part.batch_sizes,
                tasks=part.tasks,
            )
            for part in self.measure
        )


def seconds(text: str) -> float:
    """Return the seconds of a time such as `20ms`, `90s`, `8m30s` or `1h`; a bare number is in seconds.

    Raises:
        UsageError: the text is not a time above zero.
    """
    written = text.strip().lower()
    if _NUMBER.fullmatch(written):
        written += "s"

    # The whole text must consist of parts: "8m30" or "1h x" is an error, not eight minutes or an hour.
    parts = _PART.findall(written) if re.fullmatch(f"(?:{_PART.pattern})+", written) else []
    total = sum(float(number) * _UNITS[unit] for number, unit in parts)
    if not 0 < total < math.inf:
        raise UsageError(f"'{text}' is not a time above zero. Write it like 20ms, 90s, 8m30s or 1h.")
    return total


def folders() -> tuple[Path, ...]:
    """Return the folders of plans: the repository's `bench/plans`, and the copy inside an installed package."""
    package = Path(__file__).parent
    return (package.parent / "bench" / "plans", package / "_plans")


def list_plans() -> Mapping[str, Path]:
    """Return the files of all named plans by name; a plan of the repository wins over the installed copy."""
    found = (path for folder in reversed(folders()) if folder.is_dir() for path in sorted(folder.glob("*.toml")))
    return {path.stem: path for path in found}


def find_plan(name: str) -> PlanFile:
    """Return the plan with the name `name`, or the plan in the file `name`.

    Raises:
        UsageError: the plan does not exist, or the file is not a plan; the message names the bad field.
    """
    plans = list_plans()
    path = plans.get(name, Path(name))
    if not path.is_file():
        raise unknown_name("plan", name, plans, "You can also give the path of a plan file.")
    return read_plan(path)


def read_plan(path: Path) -> PlanFile:
    """Return the plan in the TOML file `path`.

    Raises:
        UsageError: the file cannot be read, is not TOML, or has a wrong field.
    """
    try:
        return _check_times(msgspec.convert(tomllib.loads(path.read_text(encoding="utf-8")), PlanFile))
    # ValueError: bytes that are no text, no TOML, a wrong field, or a number of thousands of digits.
    except (OSError, ValueError, RecursionError) as error:
        raise UsageError(f"'{path}' is not a plan: {error}. 'bench/plans/quick.toml' is an example.") from error


def _check_times(plan: PlanFile) -> PlanFile:
    # The types only say that times are strings; a wrong one is reported in the form of msgspec, with its path.
    for name, text in (("budget", plan.budget), ("timeout", plan.timeout)):
        try:
            if text is not None and (name, text) != ("budget", AUTO):
                seconds(text)
        except UsageError as error:
            raise msgspec.ValidationError(f"{str(error).removesuffix('.')} - at `$.{name}`") from error
    return plan
