"""Group the warnings of rows by code, with the facts and the advice that they share."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from cnnbench.record import RecordedWarning
from cnnbench.text import number_of, one_line


@dataclass(frozen=True, kw_only=True, slots=True)
class RowWarning:
    """A warning and the label of the row that it is about."""

    row: str
    warning: RecordedWarning


@dataclass(frozen=True, kw_only=True, slots=True)
class Warned:
    """All warnings with one code: the advice, and each fact (without its full stop) with its rows."""

    code: str
    advice: str
    facts: tuple[tuple[str, tuple[str, ...]], ...]

    @property
    def rows(self) -> tuple[str, ...]:
        """Return the rows that the warnings are about, each once."""
        return tuple(dict.fromkeys(row for _, rows in self.facts for row in rows))

    def in_short(self) -> str:
        """Return one line for a terminal: code, number of rows and advice."""
        advice = self.advice.rstrip(".")
        if advice and not advice[1:2].isupper():  # keep an acronym as it is
            advice = advice[0].lower() + advice[1:]
        return "; ".join(part for part in (f"(!) {self.code}: {number_of(len(self.rows), 'row')}", advice) if part)


def group_by_code(warnings: Iterable[RowWarning]) -> tuple[Warned, ...]:
    """Return `warnings` grouped by code, in order of first appearance, with each piece of advice once."""
    # Dictionaries keep the order of first appearance; their keys make each advice and fact appear once.
    advices: dict[str, dict[str, None]] = {}
    facts: dict[str, dict[str, list[str]]] = {}
    for marked in warnings:
        warning = marked.warning
        code, fact, advice = one_line(warning.code), one_line(warning.fact), one_line(warning.advice)
        advices.setdefault(code, {})[advice] = None
        facts.setdefault(code, {}).setdefault(fact.rstrip("."), []).append(marked.row)

    return tuple(
        Warned(
            code=code,
            advice=" ".join(advices[code]),
            facts=tuple((fact, tuple(dict.fromkeys(rows))) for fact, rows in found.items()),
        )
        for code, found in facts.items()
    )
