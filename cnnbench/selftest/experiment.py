"""Types of an experiment, its settings and its figures."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

Form = Literal["short", "full"]
Load = Literal["idle", "burst"]


class NotRunHere(Exception):  # noqa: N818  # no error: a machine may lack what an experiment needs
    """An experiment cannot be done on this machine; the message says what it needs."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Setting:
    """Settings of an experiment; `on_progress` gets what is being done and the share that is done (0 to 1)."""

    form: Form = "short"
    load: Load = "idle"
    seed: int = 0
    on_progress: Callable[[str, float], None] = lambda _text, _share: None

    @property
    def is_full(self) -> bool:
        """Return whether the experiment has its full length."""
        return self.form == "full"


@dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    """What an experiment found.

    `measured` says in words what was measured. `values` are in SI units, and `shown` is their text. `bound` is the
    bound in words, and `holds` says whether it held. `holds` None: the experiment was not done here, for the `reason`.
    """

    measured: str
    values: tuple[float, ...] = ()
    shown: str = ""
    bound: str = ""
    holds: bool | None
    reason: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Figure:
    """One figure of the proof: its experiment, part, form and load, what was found, and how long it took."""

    id: str
    part: str
    form: Form
    load: Load
    found: Found
    seconds: float

    @property
    def holds(self) -> bool | None:
        """Return whether the bound held; None if it was not measured."""
        return self.found.holds


Experimenting = Callable[[str, Setting], Found]


@dataclass(frozen=True, kw_only=True, slots=True)
class Experiment:
    """One experiment: its title, the condition that it tests, and the function (part, setting) -> `Found` that does it.

    Each of `parts` gives a figure of its own; `short_parts` are the parts of the short form, if they differ. `cheap`:
    it is a test of the package as well. `loads`: it is done under load bursts too, if that is asked for. `short_s` and
    `full_s` are the expected seconds of all parts; they only serve to show the time that is left.
    """

    id: str
    title: str
    holds_if: str
    module: str
    function: str
    parts: tuple[str, ...] = ("",)
    short_parts: tuple[str, ...] = ()
    cheap: bool = False
    loads: bool = False
    short_s: float
    full_s: float

    def load(self) -> Experimenting:
        """Import the experiment and return its function."""
        module = importlib.import_module(f"cnnbench.selftest.experiments.{self.module}")
        found: Experimenting = getattr(module, self.function)
        return found

    def parts_of(self, form: Form) -> tuple[str, ...]:
        """Return the parts that the experiment has in `form`."""
        return self.short_parts if form == "short" and self.short_parts else self.parts

    def expected_s(self, form: Form) -> float:
        """Return the expected seconds of one part in `form`."""
        return (self.full_s if form == "full" else self.short_s) / len(self.parts_of(form))
