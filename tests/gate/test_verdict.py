"""Verdicts of a gate from records of two sides: what passes, fails, is measured once more, and what is said."""

import math
from collections.abc import Sequence
from dataclasses import replace

import pytest

from cnnbench.gate.slowdowns import FEW_ROUNDS, NO_BLOCKS
from cnnbench.gate.verdict import GateCell, Question, gate_cells, gate_report, lacking, suspected
from cnnbench.record import Record
from cnnbench.stats import FEWEST_ROUNDS, Slowdown
from tests.factories import AMP, MACHINE, beside, case, numerics, record, timed
from tests.gate.records import broken, compared, sides, two

QUESTION = Question(base="main (1)", head="the working tree", threshold=0.05)


def one_cell(records: Sequence[Record], threshold: float = 0.05) -> GateCell:
    (cell,) = gate_cells([compared()], records, threshold)
    return cell


def bounds(found: Slowdown | None) -> tuple[float, float, float]:
    """Return centre, lower and upper bound of a slowdown."""
    assert found is not None
    assert found.low is not None
    assert found.high is not None
    return found.center, found.low, found.high


def least(found: Slowdown | None) -> str:
    """Return the lower bound of a slowdown in words."""
    return f"{100 * bounds(found)[1]:.1f} %"


def near(found: Slowdown | None, factor: float) -> bool:
    """Return whether a slowdown is that of `factor`, with bounds about a per cent to either side."""
    center, low, high = bounds(found)
    reach = [math.log1p(high) - math.log1p(center), math.log1p(center) - math.log1p(low)]
    return center + 1 == pytest.approx(factor, rel=1e-5) and reach == [pytest.approx(0.01, abs=0.004)] * 2


@pytest.mark.parametrize(
    ("factor", "known"),
    [
        (1.0, "0.0 % slower (at most {high:.1f} % slower"),
        (1.02, "2.0 % slower (at most {high:.1f} % slower"),
        (0.995, "0.5 % faster (at most {high:.1f} % slower"),
        (0.9, "10.0 % faster (at least {high:.1f} % faster"),
    ],
)
def test_what_is_slower_by_the_threshold_at_most_passes(factor: float, known: str) -> None:
    records = two(factor * (1 + 1e-12))
    cell = one_cell(records)
    assert near(cell.first, factor)
    said = known.format(high=abs(100 * bounds(cell.first)[2]))
    assert cell.sentence == f"net eager batch 1: {said}, at 99 % confidence): PASS"
    assert (cell.verdict, cell.again) == ("pass", None)
    assert suspected([compared()], records, 0.05) == frozenset()
    assert cell.base_latency_s == pytest.approx(0.01005)
    assert cell.head_latency_s == pytest.approx(0.01005 * factor, rel=0.02)


def test_interval_around_threshold_is_inconclusive_not_repeated() -> None:
    cell = one_cell(two(1.05))
    assert near(cell.first, 1.05)
    _, low, high = bounds(cell.first)
    assert (cell.verdict, cell.sentence) == (
        "inconclusive",
        f"net eager batch 1: 5.0 % slower (between {100 * low:.1f} % slower and {100 * high:.1f} % slower, "
        "each at 99 % confidence): INCONCLUSIVE, 5 % lies in between",
    )
    assert suspected([compared()], two(1.05), 0.05) == frozenset()


def test_what_is_slower_twice_fails() -> None:
    first = two(1.1)
    assert suspected([compared()], first, 0.05) == {first[0].case.key()}
    cell = one_cell([*first, *two(1.09, time=1)])
    assert near(cell.first, 1.1)
    assert near(cell.again, 1.09)
    assert (cell.verdict, cell.sentence) == (
        "fail",
        f"net eager batch 1: 10.0 % slower (at least {least(cell.first)}, at 99 % confidence), above 5 %: FAIL, "
        f"and again 9.0 % slower (at least {least(cell.again)}, at 99 % confidence), above 5 %",
    )


@pytest.mark.parametrize(
    ("factor", "again"),
    [
        (1.0, "0.0 % slower (at most {high:.1f} % slower, at 99 % confidence)"),
        (1.055, "5.5 % slower (between {low:.1f} % slower and {high:.1f} % slower, each at 99 % confidence)"),
    ],
)
def test_what_is_slower_once_only_is_inconclusive(factor: float, again: str) -> None:
    cell = one_cell([*two(1.1), *two(factor * (1 + 1e-12), time=1)])
    _, low, high = bounds(cell.again)
    assert (cell.verdict, cell.sentence) == (
        "inconclusive",
        f"net eager batch 1: 10.0 % slower (at least {least(cell.first)}, at 99 % confidence), "
        "above 5 %: INCONCLUSIVE, "
        f"not confirmed by the second measurement: {again.format(low=100 * low, high=100 * high)}",
    )


def test_what_was_not_measured_once_more_does_not_fail() -> None:
    cell = one_cell(two(1.1))
    assert (cell.verdict, cell.sentence) == (
        "inconclusive",
        f"net eager batch 1: 10.0 % slower (at least {least(cell.first)}, at 99 % confidence), "
        "above 5 %: INCONCLUSIVE, "
        "it was not measured again",
    )


def test_the_threshold_is_the_one_that_was_asked_for() -> None:
    records = [*two(1.05), *two(1.05, time=1)]
    assert one_cell(records, 0.03).verdict == "fail"
    assert one_cell(records, 0.1).verdict == "pass"


def test_more_cells_make_each_harder_to_fail() -> None:
    alone = two(1.0625)
    records = [*alone, *two(1.0 + 1e-12, name="other")]
    both = [compared(), compared("other")]
    lows = [
        bounds(cells[0].first)[1] for cells in (gate_cells([compared()], alone, 0.5), gate_cells(both, records, 0.5))
    ]
    assert lows[0] > lows[1] + 0.001
    threshold = sum(lows) / 2
    assert suspected([compared()], alone, threshold) == {alone[0].case.key()}
    assert suspected(both, records, threshold) == frozenset()
    found = [(cell.model, cell.verdict) for cell in gate_cells(both, records, threshold)]
    assert found == [("net", "inconclusive"), ("other", "pass")]


def test_variants_are_own_cells_and_wrong_scores_need_repeat() -> None:
    slow = [*two(1.0), *two(1.2, variant=AMP)]
    again = two(1.2, variant=AMP, time=1)
    assert [(c.label(), c.verdict) for c in gate_cells([compared()], [*slow, *again], 0.05)] == [
        ("net eager batch 1", "pass"),
        ("net amp batch 1", "fail"),
    ]
    fine = two(0.5, variant=AMP)
    wrong = [
        record(beside(one, "numerics"), *numerics(error, 0.1))
        for one, error in zip(sides(variant=AMP), (0.01, 0.5), strict=True)
    ]
    (cell,) = gate_cells([compared()], [*fine, *wrong], 0.05)
    assert (cell.verdict, cell.first, cell.sentence) == (
        "inconclusive",
        None,
        "net amp batch 1: HEAD computes wrong scores: its largest relative error against fp64 is 0.5, and 0.1 is "
        "allowed: INCONCLUSIVE, it was not measured again",
    )


def test_what_does_not_run_any_more_fails_if_it_does_not_again() -> None:
    first = broken("head")
    assert suspected([compared()], first, 0.05) == {first[0].case.key()}
    cell = one_cell([*first, *broken("head", time=1, status="timeout", error="no answer within 120 s")])
    assert (cell.verdict, cell.first, cell.again, cell.sentence) == (
        "fail",
        None,
        None,
        "net eager batch 1: HEAD failed: ValueError: boom (net.py:3): FAIL, "
        "and again HEAD gave no answer: no answer within 120 s",
    )
    cell = one_cell([*first, *two(1.0 + 1e-12, time=1)])
    assert (cell.verdict, cell.sentence) == (
        "inconclusive",
        "net eager batch 1: HEAD failed: ValueError: boom (net.py:3): INCONCLUSIVE, not confirmed by the second "
        f"measurement: 0.0 % slower (at most {100 * bounds(cell.again)[2]:.1f} % slower, at 99 % confidence)",
    )


@pytest.mark.parametrize(
    ("records", "reason"),
    [
        (broken("base"), "BASE failed: ValueError: boom (net.py:3)"),
        (broken("head", status="not started", error="no time"), "HEAD was not started: no time"),
        ([*broken("base")[::2], *broken("head")[1::2]], "BASE failed: ValueError: boom (net.py:3)"),
        (two(1.3, rounds=FEWEST_ROUNDS - 1), FEW_ROUNDS),
        ([record(case("net@base-1"), *timed([1.0]))], "HEAD was not measured"),
    ],
    ids=["base broken", "no time", "both broken", "few rounds", "one side"],
)
def test_unjudgeable_cell_is_inconclusive_and_not_repeated(records: list[Record], reason: str) -> None:
    cell = one_cell(records)
    assert (cell.verdict, cell.sentence) == ("inconclusive", f"net eager batch 1: INCONCLUSIVE, {reason}")
    assert suspected([compared()], records, 0.05) == frozenset()


def test_invalid_head_result_counts_as_regression() -> None:
    cell = one_cell([*broken("head", status="invalid", error="NaN"), *broken("head", status="invalid", time=1)])
    assert cell.verdict == "fail"


def test_sides_without_a_common_block_are_not_compared() -> None:
    base, head = two(1.0, rounds=1)
    late = replace(
        head, measurements=tuple(replace(m, blocks=tuple(b + 24 for b in m.blocks)) for m in head.measurements)
    )
    assert one_cell([base, late]).sentence == f"net eager batch 1: INCONCLUSIVE, {NO_BLOCKS}"


@pytest.mark.parametrize(
    ("in_base", "in_head", "absent", "verdict", "sentence"),
    [
        ("No file.", None, True, "pass", "net: new in HEAD, so there is nothing to compare with: PASS"),
        ("It raised.", None, False, "inconclusive", "net: INCONCLUSIVE, BASE cannot make it here: It raised."),
        (None, "No file.", True, "fail", "net: HEAD does not have it any more: FAIL. No file."),
        (None, "It raised.", False, "fail", "net: HEAD cannot make it any more: FAIL. It raised."),
    ],
)
def test_what_a_side_lacks(
    in_base: str | None, in_head: str | None, *, absent: bool, verdict: str, sentence: str
) -> None:
    cell = lacking("net", in_base=in_base, in_head=in_head, absent=absent)
    assert (cell.verdict, cell.sentence, cell.label()) == (verdict, sentence, "net")


def cells(*verdicts: str) -> list[GateCell]:
    return [
        GateCell(model=f"net{at}", verdict=verdict, sentence="")  # type: ignore[arg-type]  # one of three words
        for at, verdict in enumerate(verdicts)
    ]


@pytest.mark.parametrize(
    ("verdicts", "fails", "expected"),
    [
        (("pass", "pass"), True, ("pass", False, "PASS: nothing is {known}.")),
        (
            ("pass", "inconclusive"),
            False,
            ("inconclusive", False, "PASS: nothing is known to be {known}, but net1 is inconclusive."),
        ),
        (
            ("inconclusive", "inconclusive"),
            True,
            (
                "inconclusive",
                True,
                "FAIL: net0 and net1 are inconclusive, and inconclusive cells count as failures.",
            ),
        ),
        (
            ("fail", "inconclusive", "fail"),
            False,
            ("fail", True, "FAIL: net0 and net2 are worse in the working tree than in main (1)."),
        ),
        (("fail",), False, ("fail", True, "FAIL: net0 is worse in the working tree than in main (1).")),
    ],
)
def test_the_whole(verdicts: tuple[str, ...], *, fails: bool, expected: tuple[str, bool, str]) -> None:
    question = replace(QUESTION, inconclusive_fails=fails)
    found = gate_report(
        question, cells(*verdicts), notes=["a note"], environment=MACHINE, started="2026-01-02T03:04:05Z", wall_s=9.0
    )
    verdict, failed, sentence = expected
    known = "more than 5 % slower in the working tree than in main (1)"
    assert (found.verdict, found.failed, found.sentence) == (verdict, failed, sentence.format(known=known))
    assert (found.notes, found.wall_s, found.question) == (("a note",), 9.0, question)
