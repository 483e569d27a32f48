"""Judge the cells of a gate by two measurements: one of all cells, and one of the suspected cells once more."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from cnnbench.gate import text as words
from cnnbench.gate.history import Past
from cnnbench.gate.slowdowns import Compared, SideComparison, side_comparisons
from cnnbench.record import Environment, Record
from cnnbench.spec import Case
from cnnbench.stats import Slowdown

GateVerdict = Literal["pass", "fail", "inconclusive"]

# Numbers of the two measurements: of all cells, and of the suspected cells once more.
FIRST, AGAIN = 0, 1

# Earlier gates of a cell that a report shows: enough to show a creep, few enough to read.
MOST_PAST = 5


@dataclass(frozen=True, kw_only=True, slots=True)
class GateCell:
    """The result for one model under one variant at one batch size.

    `variant` and `batch_size` are None if a side lacks the model. `first` and `again` are the slowdowns of HEAD in the
    two measurements, None if there is none. Latencies are medians of the first measurement, in seconds. `sentence` is
    the result in words.
    """

    model: str
    variant: str | None = None
    batch_size: int | None = None
    verdict: GateVerdict
    first: Slowdown | None = None
    again: Slowdown | None = None
    base_latency_s: float | None = None
    head_latency_s: float | None = None
    sentence: str

    def label(self) -> str:
        """Return the text that names the cell."""
        return self.model if self.variant is None else f"{self.model} {self.variant} batch {self.batch_size}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Question:
    """The question of a gate: is anything in `head` slower than in `base` by more than the share `threshold`.

    `inconclusive_fails`: an inconclusive cell counts as a failure.
    """

    base: str
    head: str
    threshold: float
    inconclusive_fails: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class GateReport:
    """The whole result of a gate.

    `failed` stops a merge. `started` is UTC in ISO 8601, `wall_s` the seconds that the whole gate took. `past` has
    earlier results of these cells from the history; no verdict uses them.
    """

    question: Question
    cells: tuple[GateCell, ...]
    verdict: GateVerdict
    failed: bool
    sentence: str
    notes: tuple[str, ...]
    environment: Environment
    started: str
    wall_s: float
    past: tuple[Past, ...] = ()


def lacking(name: str, *, in_base: str | None, in_head: str | None, absent: bool) -> GateCell:
    """Return the cell of a model that one side lacks, given the error of looking for it there (None: it was found).

    `absent`: the model does not exist there, rather than being broken. A model that is gone from HEAD or broken there
    fails. A model that is new in HEAD passes, because there is nothing to compare it with. A model that BASE has but
    cannot build in the present environment is inconclusive.
    """
    verdict: GateVerdict = "pass" if absent else "inconclusive"
    if in_head is not None:
        verdict = "fail"
    sentence = words.lack_sentence(name, in_base=in_base, in_head=in_head, absent=absent)
    return GateCell(model=name, verdict=verdict, sentence=sentence)


def suspected(compared: Sequence[Compared], records: Sequence[Record], threshold: float) -> frozenset[Case]:
    """Return the cells that must be measured once more, by `Case.key()` of their BASE."""
    seen = side_comparisons(compared, records, time=FIRST, threshold=threshold)
    return frozenset(case for case, look in seen.items() if look.is_suspect)


def gate_cells(compared: Sequence[Compared], records: Sequence[Record], threshold: float) -> tuple[GateCell, ...]:
    """Return the verdict on each cell.

    `fail`: in both measurements HEAD is slower by more than the threshold, or is broken where BASE is not. The bound is
    one-sided, with 99 % confidence over all cells of the gate together. `pass`: HEAD is slower by the threshold at
    most, with 99 % confidence. `inconclusive`: everything else.
    """
    names = {one.base: one.name for one in compared}
    again = side_comparisons(compared, records, time=AGAIN, threshold=threshold)
    return tuple(
        _cell(names[case.model], case, look, again.get(case), threshold)
        for case, look in side_comparisons(compared, records, time=FIRST, threshold=threshold).items()
    )


def gate_report(
    question: Question,
    cells: Sequence[GateCell],
    *,
    notes: Sequence[str],
    environment: Environment,
    started: str,
    wall_s: float,
    past: Sequence[Past] = (),
) -> GateReport:
    """Return the report on all `cells`; it shows the last results of each cell in `past`, the whole history."""
    failing = [cell.label() for cell in cells if cell.verdict == "fail"]
    unclear = [cell.label() for cell in cells if cell.verdict == "inconclusive"]

    # What stops a merge is apart from the verdict: the user chooses what an inconclusive cell counts as.
    failed = bool(failing) or (question.inconclusive_fails and bool(unclear))
    verdict: GateVerdict = "inconclusive" if unclear else "pass"
    if failing:
        verdict = "fail"

    return GateReport(
        question=question,
        cells=tuple(cells),
        verdict=verdict,
        failed=failed,
        sentence=words.whole_sentence(
            (question.base, question.head), question.threshold, failing=failing, unclear=unclear, failed=failed
        ),
        notes=tuple(notes),
        environment=environment,
        started=started,
        wall_s=wall_s,
        past=tuple(one for cell in cells for one in _past_of(cell, past)[-MOST_PAST:]),
    )


def _past_of(cell: GateCell, past: Sequence[Past]) -> list[Past]:
    """Return the results in `past` of the same model, variant and batch size."""
    key = (cell.model, cell.variant, cell.batch_size)
    return [one for one in past if (one.model, one.variant, one.batch_size) == key]


def _cell(name: str, case: Case, first: SideComparison, again: SideComparison | None, threshold: float) -> GateCell:
    label = f"{name} {case.variant.name} batch {case.batch_size}"
    verdict, sentence = _judge(label, first, again, threshold)

    # The latencies are those of the first measurement, the only one that every cell has.
    return GateCell(
        model=name,
        variant=case.variant.name,
        batch_size=case.batch_size,
        verdict=verdict,
        first=first.slowdown,
        again=None if again is None else again.slowdown,
        base_latency_s=first.base_latency_s,
        head_latency_s=first.head_latency_s,
        sentence=sentence,
    )


def _judge(
    label: str, first: SideComparison, again: SideComparison | None, threshold: float
) -> tuple[GateVerdict, str]:
    # A suspected cell can fail but not pass: if the measurements disagree, neither of them is believed.
    if first.is_suspect:
        if again is not None and again.is_suspect:
            return "fail", words.fail_sentence(label, first, again, threshold)
        return "inconclusive", words.unconfirmed_sentence(label, first, again, threshold)
    slowdown = first.slowdown
    if slowdown is not None and slowdown.high is not None and slowdown.high <= threshold:
        return "pass", words.pass_sentence(label, slowdown)
    return "inconclusive", words.unclear_sentence(label, first, threshold)
