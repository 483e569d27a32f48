"""What a run tells its caller while it goes on: records, progress, and at its end where the time went."""

from __future__ import annotations

from collections.abc import Callable, Mapping
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
class Hooks:
    """Callbacks of a run: `on_record` gets every record as soon as there is one, `on_progress` what is going on.

    `completed` holds the records of an earlier part of the run, by `Case.identity()` and round.
    """

    on_record: Callable[[Record], None]
    on_progress: Callable[[Progress], None]
    completed: Mapping[tuple[Case, int], Record]


@dataclass(frozen=True, kw_only=True, slots=True)
class TimeSpent:
    """Where the time of a run went, in seconds: all of it; timed and warm-up passes, training steps among them; first
    calls of compiled variants.
    """  # noqa: D205

    wall_s: float
    passes_s: float
    compile_s: float
