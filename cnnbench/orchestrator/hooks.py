"""What a run tells its caller while it goes on: records, progress, and at its end where the time went."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from cnnbench.record import Record
from cnnbench.spec import Case


@dataclass(frozen=True, kw_only=True, slots=True)
class Progress:
    """What the run is doing, how long it has run, and how long it is expected to go on, in seconds.

    `lasting`: the text is worth keeping in sight.
    """

    text: str
    elapsed_s: float
    remaining_s: float
    lasting: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Live:
    """How a cell stands that is being measured: its samples, and median and 95 % interval of its latency (seconds)."""

    case: Case
    samples: int
    latency_s: float | None
    low_s: float | None
    high_s: float | None


def _nobody(_: Sequence[Live]) -> None:
    return None


@dataclass(frozen=True, kw_only=True, slots=True)
class Hooks:
    """What a caller wants to hear: `keep` gets every record as soon as there is one, `tell` what is going on.

    `live` gets between blocks how the cells of a group stand. `already` holds the records of an earlier part of the
    run, by `Case.identity()`: they are not measured again.
    """

    keep: Callable[[Record], None]
    tell: Callable[[Progress], None]
    already: Mapping[Case, Record]
    live: Callable[[Sequence[Live]], None] = _nobody


@dataclass(frozen=True, kw_only=True, slots=True)
class Spent:
    """Where the time of a run went, in seconds: all of it; timed and warm-up passes, training steps among them; first
    calls of compiled variants.
    """  # noqa: D205

    wall_s: float
    passes_s: float
    compile_s: float
