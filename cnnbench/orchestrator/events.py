"""Events of a run: callbacks for records and progress, and where the time went."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from cnnbench.record import Record
from cnnbench.spec import Case


@dataclass(frozen=True, kw_only=True, slots=True)
class Progress:
    """What the run is doing, how long it has run, and how long it is expected to go on, in seconds.

    `lasting`: the text should stay visible.
    """

    text: str
    elapsed_s: float
    remaining_s: float
    lasting: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Hooks:
    """Callbacks of a run: `on_record` gets each record as soon as it exists, `on_progress` what is being done.

    `completed` holds the records of an earlier part of the run, by `Case.identity()` and round number.
    """

    on_record: Callable[[Record], None]
    on_progress: Callable[[Progress], None]
    completed: Mapping[tuple[Case, int], Record]


@dataclass(frozen=True, kw_only=True, slots=True)
class TimeSpent:
    """Where the time of a run went, in seconds.

    `wall_s` is all of it. `passes_s` is the time of timed and warm-up passes, training steps included. `compile_s` is
    the time of first calls of compiled variants.
    """

    wall_s: float
    passes_s: float
    compile_s: float
