"""Refuse to compare unlike conditions, and find the reference of each cell."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields

from cnnbench.analysis.cells import TIMED, Cell
from cnnbench.record import Environment, Record
from cnnbench.spec import UsageError

# The variant of a reference that names none: the model as PyTorch runs it by default.
DEFAULT_VARIANT = "eager"


def check_environments(records: Iterable[Record]) -> None:
    """Refuse records of different environments.

    Raises:
        UsageError: two environments differ; the message names each field that differs, and both values.
    """
    first: Record | None = None
    for record in records:
        first = first or record
        # Comparing each with the first is enough: equality carries over.
        if record.environment != first.environment:
            raise UsageError(_difference_message(first, record))


def _difference_message(first: Record, other: Record) -> str:
    pairs = [
        (field.name, getattr(first.environment, field.name), getattr(other.environment, field.name))
        for field in fields(Environment)
    ]
    differ = "; ".join(f"{name} is {one!r} and {two!r}" for name, one, two in pairs if one != two)
    return (
        f"Records of different environments cannot be compared: {differ} (in {first.case.label()}, started "
        f"{first.started}, and in {other.case.label()}, started {other.started}). Report each run on its own, "
        "or measure both again in one run."
    )


def check_threads(cells: Sequence[Cell]) -> dict[str, int]:
    """Return the number of threads of the timed cells, by device.

    Raises:
        UsageError: two timed cells of one device differ; the message names both values.
    """
    first: dict[str, Cell] = {}
    for cell in cells:
        case = cell.case
        if case.task not in TIMED:
            continue
        # The first timed cell of a device sets the number that all later ones must have.
        one = first.setdefault(case.device, cell).case
        if one.variant.threads != case.variant.threads:
            raise UsageError(
                f"Cells with different threads cannot be compared: threads is {one.variant.threads} in {one.label()} "
                f"and {case.variant.threads} in {case.label()}. Report each run on its own, or measure both again "
                "with the same `--threads`."
            )

    return {device: cell.case.variant.threads for device, cell in first.items()}


@dataclass(frozen=True, kw_only=True, slots=True)
class References:
    """Find the cell that another one is compared with.

    `wanted` is `MODEL`, `MODEL/VARIANT`, or None for each model's own `eager`. `timed` are the timed cells by model,
    variant, device, batch size and task.
    """

    wanted: str | None
    timed: dict[tuple[str, str, str, int, str], list[Cell]]

    def of(self, cell: Cell) -> Cell | None:
        """Return the reference of `cell`, at the same device, batch and task; None if there is none.

        Of several, the one whose input shape, weights and dataset are the same is preferred, in this order.
        """
        case = cell.case
        model, variant = self._names(case.model)
        found = self.timed.get((model, variant, case.device, case.batch_size, case.task), [])
        return max(found, key=lambda other: _match_rank(cell, other), default=None)

    def _names(self, own: str) -> tuple[str, str]:
        """Return model and variant of the reference; the name of a model may itself contain a slash."""
        if self.wanted is None:
            return own, DEFAULT_VARIANT
        if "/" not in self.wanted or any(key[0] == self.wanted for key in self.timed):
            return self.wanted, DEFAULT_VARIANT
        model, _, variant = self.wanted.rpartition("/")
        return model, variant


def references(cells: Sequence[Cell], wanted: str | None) -> References:
    """Return a `References` that searches the timed `cells`."""
    timed: dict[tuple[str, str, str, int, str], list[Cell]] = {}
    for cell in cells:
        case = cell.case
        if case.task in TIMED:
            key = (case.model, case.variant.name, case.device, case.batch_size, case.task)
            timed.setdefault(key, []).append(cell)
    return References(wanted=wanted, timed=timed)


def unpaired_labels(cells: Sequence[Cell], compared: References) -> tuple[str, ...]:
    """Return the labels of the cells that were in no round together with their reference."""
    found = []
    for cell in cells:
        # Cells that failed, or whose reference did, have a reason of their own.
        other = compared.of(cell) if cell.case.task in TIMED and cell.status == "ok" else None
        if other is not None and other.status == "ok" and not cell.rounds.keys() & other.rounds.keys():
            found.append(cell.case.label())
    return tuple(dict.fromkeys(found))


def _match_rank(cell: Cell, other: Cell) -> tuple[bool, bool, bool]:
    one, two = cell.case, other.case
    return one.input_shape == two.input_shape, one.weights == two.weights, one.dataset == two.dataset


@dataclass(frozen=True, kw_only=True, slots=True)
class Unlike:
    """A condition in which two runs differ, with the values of both.

    `where` is the first row that differs in it; None for a condition of the whole run.
    """

    field: str
    base: object
    head: object
    where: str | None = None

    def __str__(self) -> str:
        """Return the difference in words."""
        row = "" if self.where is None else f" ({self.where})"
        return f"{self.field} is {self.base!r} and {self.head!r}{row}"


# What must agree in two runs before they are compared: the environment, and these conditions of each shared row.
_CASE_CONDITIONS = ("threads", "precision", "input_shape", "dataset", "recipe", "weights")
CONDITIONS = (*(field.name for field in fields(Environment)), *_CASE_CONDITIONS)


def unlike_conditions(base: Sequence[Cell], head: Sequence[Cell]) -> tuple[Unlike, ...]:
    """Return the conditions in which the cells of two runs differ, each pair of values once.

    Each run has one environment. Cells match by role, model, variant, device, batch size and task. Of several that
    match, the one that agrees in most conditions is taken.
    """
    one, two = (cells[0].records[0].environment for cells in (base, head))
    found = [
        Unlike(field=field.name, base=before, head=after)
        for field in fields(Environment)
        if (before := getattr(one, field.name)) != (after := getattr(two, field.name))
    ]
    seen: dict[tuple[str, object, object], Unlike] = {}

    for cell in base:
        # A cell that only one run has is no difference in conditions.
        others = [_conditions(other) for other in head if _stands_for(other) == _stands_for(cell)]
        if not others:
            continue
        own = _conditions(cell)
        nearest = max(others, key=lambda other: sum(own[name] == other[name] for name in own))
        # A condition often differs in the same way in all rows; only the first row is named.
        for name, value in own.items():
            if value != nearest[name]:
                difference = Unlike(field=name, base=value, head=nearest[name], where=cell.case.label())
                seen.setdefault((name, value, nearest[name]), difference)

    return (*found, *seen.values())


def _stands_for(cell: Cell) -> tuple[object, ...]:
    case = cell.case
    return case.role, case.model, case.variant.name, case.device, case.batch_size, case.task


def _conditions(cell: Cell) -> dict[str, object]:
    case = cell.case
    values = (case.variant.threads, case.variant.precision, case.input_shape, case.dataset, case.recipe, case.weights)
    return dict(zip(_CASE_CONDITIONS, values, strict=True))


def refuse_unlike(found: Sequence[Unlike], allowed: Sequence[str]) -> None:
    """Refuse conditions that differ and are not `allowed`.

    Raises:
        UsageError: a field differs; the message names it with both values, and the option that allows it.
    """
    wrong = [condition for condition in found if condition.field not in allowed]
    if wrong:
        # Fields that are allowed already are named as well, so that the option can be copied as it is.
        names = ",".join(dict.fromkeys(condition.field for condition in found))
        raise UsageError(
            f"BASE and HEAD were measured under unlike conditions: {'; '.join(map(str, wrong))}. Measure both under "
            f"the same conditions, or compare them anyway with --allow {names}."
        )
