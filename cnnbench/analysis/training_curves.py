"""Build curves of trainings by epoch or by step, over the seeds of a model, and of accuracy on moved images."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from cnnbench import stats
from cnnbench.quantities import DIRECTIONS
from cnnbench.record import Record
from cnnbench.spec import Case

Part = Literal["training", "validation"]

_PREFIXES: tuple[tuple[Part, str], ...] = (("training", "train"), ("validation", "val"))


@dataclass(frozen=True, kw_only=True, slots=True)
class Curve:
    """One quantity on one part of a dataset, over the trainings of one model.

    `name` distinguishes the curve: the model, and how it was trained if that varies. At each of `xs` (epoch or step),
    `middle` is the mean over the `seeds`; `low` and `high` are the lowest and the highest value.
    """

    name: str
    part: Part
    seeds: int
    xs: tuple[float, ...]
    middle: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]


def trainings_by_name(records: Iterable[Record]) -> dict[str, list[Record]]:
    """Return the trainings that succeeded, by model.

    The names include dataset, recipe or variant if these vary.
    """
    # Only trainings record a loss by epoch; all other records drop out.
    found = [record for record in records if record.status == "ok" and record.samples("train_loss")]
    names = {record.case.model for record in found}
    ways: tuple[Callable[[Case], str], ...] = (
        lambda case: case.dataset or "",
        lambda case: case.recipe,
        lambda case: case.variant.name,
    )
    varying = [way for way in ways if len({way(record.case) for record in found}) > 1]

    # Only what varies is named, so that legends stay short.
    def name(case: Case) -> str:
        return " ".join(([case.model] if len(names) > 1 or not varying else []) + [way(case) for way in varying])

    groups: dict[str, list[Record]] = {}
    for record in found:
        groups.setdefault(name(record.case), []).append(record)
    return groups


def epoch_curves(groups: dict[str, list[Record]], what: Literal["loss", "top1"]) -> tuple[Curve, ...]:
    """Return the curves of `what` by epoch, on the training and on the validation images, for each group."""
    return _curves(groups, [(part, f"{prefix}_{what}") for part, prefix in _PREFIXES], "")


def step_curves(groups: dict[str, list[Record]], what: Literal["loss", "top1"]) -> tuple[Curve, ...]:
    """Return the curves of `what` by step, for each group that has records within epochs."""
    return _curves(groups, [(part, f"step_{prefix}_{what}") for part, prefix in _PREFIXES], "step_step")


def _curves(groups: dict[str, list[Record]], quantities: Sequence[tuple[Part, str]], at: str) -> tuple[Curve, ...]:
    """Return a curve for each group and quantity; it ends where the shortest training of the group ends."""
    found = []
    for name, records in groups.items():
        for part, quantity in quantities:
            # Each column holds the values of all seeds at one epoch or step.
            columns = list(zip(*(record.samples(quantity) for record in records), strict=False))
            if columns:
                # Without recorded steps, the values belong to epochs 1, 2, ...
                xs = records[0].samples(at) if at else tuple(map(float, range(1, len(columns) + 1)))
                found.append(
                    Curve(
                        name=name,
                        part=part,
                        seeds=len(records),
                        xs=xs[: len(columns)],
                        middle=tuple(sum(column) / len(column) for column in columns),
                        low=tuple(map(min, columns)),
                        high=tuple(map(max, columns)),
                    )
                )

    return tuple(found)


@dataclass(frozen=True, kw_only=True, slots=True)
class Moved:
    """The accuracy on test images that are all moved in one direction.

    `shares` are the shares of right images, with intervals, when they are moved by 0, 1, 2, ... pixels.
    """

    direction: str
    shares: tuple[stats.Interval, ...]


def moved(record: Record) -> tuple[Moved, ...]:
    """Return the accuracy of a model on moved images, by direction; empty if that was not tested."""
    correct, tested = record.samples("shift_correct"), record.samples("tested")
    # `correct` holds the counts for 1 to `most` pixels in one direction, then in the next.
    most = len(correct) // len(DIRECTIONS)
    if not most:
        return ()
    # Images that are not moved are the first value in every direction.
    still = record.samples("correct")[0]

    def share(right: float) -> stats.Interval:
        return stats.wilson_interval(round(right), round(tested[0]))

    return tuple(
        Moved(direction=name, shares=tuple(map(share, (still, *correct[at * most : (at + 1) * most]))))
        for at, name in enumerate(DIRECTIONS)
    )
