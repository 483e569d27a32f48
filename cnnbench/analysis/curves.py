"""Trainings as curves: a quantity by epoch or by step, over the seeds of one model; and tests of moved images."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from cnnbench import stats
from cnnbench.quantity import DIRECTIONS
from cnnbench.record import Record
from cnnbench.spec import Case

Part = Literal["training", "validation"]

_PREFIXES: tuple[tuple[Part, str], ...] = (("training", "train"), ("validation", "val"))


@dataclass(frozen=True, kw_only=True, slots=True)
class Curve:
    """One quantity on one part of a dataset, over the trainings of one model.

    `name` is the model's, with what tells it from the others. At each of `xs` (epoch or step) `middle` is the mean
    over the `seeds`, `low` and `high` the least and the most of them.
    """

    name: str
    part: Part
    seeds: int
    xs: tuple[float, ...]
    middle: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]


def trained(records: Iterable[Record]) -> dict[str, list[Record]]:
    """Return the trainings that ended well by model; where one was trained in several ways, by these too."""
    found = [record for record in records if record.status == "ok" and record.samples("train_loss")]
    names = {record.case.model for record in found}
    ways: tuple[Callable[[Case], str], ...] = (
        lambda case: case.dataset or "",
        lambda case: case.recipe,
        lambda case: case.variant.name,
    )
    varying = [way for way in ways if len({way(record.case) for record in found}) > 1]

    def name(case: Case) -> str:
        return " ".join(([case.model] if len(names) > 1 or not varying else []) + [way(case) for way in varying])

    groups: dict[str, list[Record]] = {}
    for record in found:
        groups.setdefault(name(record.case), []).append(record)
    return groups


def by_epoch(groups: dict[str, list[Record]], what: Literal["loss", "top1"]) -> tuple[Curve, ...]:
    """Return the curves of `what` by epoch on the training and the validation images of each group."""
    return _curves(groups, [(part, f"{prefix}_{what}") for part, prefix in _PREFIXES], "")


def by_step(groups: dict[str, list[Record]], what: Literal["loss", "top1"]) -> tuple[Curve, ...]:
    """Return the curves of `what` by step, of the groups that have records within epochs."""
    return _curves(groups, [(part, f"step_{prefix}_{what}") for part, prefix in _PREFIXES], "step_step")


def _curves(groups: dict[str, list[Record]], quantities: Sequence[tuple[Part, str]], at: str) -> tuple[Curve, ...]:
    """Return a curve for each group and quantity, as far as all seeds of a group go."""
    found = []
    for name, records in groups.items():
        for part, quantity in quantities:
            columns = list(zip(*(record.samples(quantity) for record in records), strict=False))
            if columns:
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
    """The share of test images that are right when all are moved by so many pixels (from 0 on), with its interval."""

    direction: str
    shares: tuple[stats.Interval, ...]


def moved(record: Record) -> tuple[Moved, ...]:
    """Return how a model does on moved images, by direction; nothing where that was not tested."""
    correct, tested = record.samples("shift_correct"), record.samples("tested")
    most = len(correct) // len(DIRECTIONS)
    if not most:
        return ()
    still = record.samples("correct")[0]

    def share(right: float) -> stats.Interval:
        return stats.wilson(round(right), round(tested[0]))

    return tuple(
        Moved(direction=name, shares=tuple(map(share, (still, *correct[at * most : (at + 1) * most]))))
        for at, name in enumerate(DIRECTIONS)
    )
