"""Verdicts of a gate from records of two sides: what passes, fails, is measured once more, and what is said."""

import math
from collections.abc import Sequence
from dataclasses import replace

import pytest

from cnnbench.analysis.gate import GateCell, Question, gate_cells, gate_report, lacking, suspected
from cnnbench.analysis.gate_look import NO_BLOCKS, ONE_SET
from cnnbench.record import Record
from cnnbench.stats import Slowdown
from tests.analysis.gated import REACH, broken, compared, two
from tests.made import AMP, MACHINE, beside, case, numerics, record, timed

QUESTION = Question(base="main (1)", head="the working tree", threshold=0.05)


def one_cell(records: Sequence[Record], threshold: float = 0.05) -> GateCell:
    (cell,) = gate_cells([compared()], records, threshold)
    return cell


def near(found: Slowdown | None, factor: float) -> bool:
    """Return whether a slowdown is that of `factor` with the bounds that the records have by hand."""
    assert found is not None
    expected = [factor, factor * math.exp(-REACH), factor * math.exp(REACH)]
    return [found.center + 1, (found.low or 0) + 1, (found.high or 0) + 1] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    ("factor", "sentence"),
    [
        (1.0, "net eager batch 1: 0.0 % slower (at most 1.0 % slower, at 99 % confidence): PASS"),
        (1.02, "net eager batch 1: 2.0 % slower (at most 3.0 % slower, at 99 % confidence): PASS"),
        (0.995, "net eager batch 1: 0.5 % faster (at most 0.5 % slower, at 99 % confidence): PASS"),
        (0.9, "net eager batch 1: 10.0 % faster (at least 9.1 % faster, at 99 % confidence): PASS"),
    ],
)
def test_what_is_known_to_be_slower_by_the_threshold_at_most_passes(factor: float, sentence: str) -> None:
    records = two(factor * (1 + 1e-12))
    cell = one_cell(records)
    assert near(cell.first, factor)
    assert (cell.verdict, cell.sentence, cell.again) == ("pass", sentence, None)
    assert suspected([compared()], records, 0.05) == frozenset()
    assert cell.base_latency_s == pytest.approx(0.01005)
    assert cell.head_latency_s == pytest.approx(0.01005 * factor, rel=0.02)


def test_what_may_lie_on_either_side_is_inconclusive_and_not_measured_again() -> None:
    cell = one_cell(two(1.05))
    assert near(cell.first, 1.05)
    assert (cell.verdict, cell.sentence) == (
        "inconclusive",
        "net eager batch 1: 5.0 % slower (between 3.9 % slower and 6.1 % slower, each at 99 % confidence): "
        "INCONCLUSIVE, 5 % lies in between",
    )
    assert suspected([compared()], two(1.05), 0.05) == frozenset()


def test_what_is_slower_twice_fails() -> None:
    first = two(1.1)
    assert suspected([compared()], first, 0.05) == {first[0].case.key()}
    cell = one_cell([*first, *two(1.09, launch=1)])
    assert near(cell.first, 1.1)
    assert near(cell.again, 1.09)
    assert (cell.verdict, cell.sentence) == (
        "fail",
        "net eager batch 1: 10.0 % slower (at least 8.9 %, at 99 % confidence), above 5 %: FAIL, "
        "and again 9.0 % slower (at least 7.9 %, at 99 % confidence), above 5 %",
    )


@pytest.mark.parametrize(
    ("factor", "again"),
    [
        (1.0, "0.0 % slower (at most 1.0 % slower, at 99 % confidence)"),
        (1.055, "5.5 % slower (between 4.4 % slower and 6.6 % slower, each at 99 % confidence)"),
    ],
)
def test_what_is_slower_once_only_is_inconclusive(factor: float, again: str) -> None:
    cell = one_cell([*two(1.1), *two(factor * (1 + 1e-12), launch=1)])
    assert (cell.verdict, cell.sentence) == (
        "inconclusive",
        "net eager batch 1: 10.0 % slower (at least 8.9 %, at 99 % confidence), above 5 %: INCONCLUSIVE, "
        f"it is not so again: {again}",
    )


def test_what_was_not_measured_once_more_does_not_fail() -> None:
    cell = one_cell(two(1.1))
    assert (cell.verdict, cell.sentence) == (
        "inconclusive",
        "net eager batch 1: 10.0 % slower (at least 8.9 %, at 99 % confidence), above 5 %: INCONCLUSIVE, "
        "it was not measured once more",
    )


def test_the_threshold_is_the_one_that_was_asked_for() -> None:
    records = [*two(1.05), *two(1.05, launch=1)]
    assert one_cell(records, 0.03).verdict == "fail"
    assert one_cell(records, 0.1).verdict == "pass"


def test_more_cells_make_each_harder_to_fail() -> None:
    """Holm's correction: 1.0625 is above 5 % by 1.18 % in its logarithm, 5.3 errors, whose p-value is 0.0066."""
    alone = two(1.0625)
    assert suspected([compared()], alone, 0.05) == {alone[0].case.key()}
    records = [*alone, *two(1.0 + 1e-12, name="other")]
    both = [compared(), compared("other")]
    assert suspected(both, records, 0.05) == frozenset()
    assert [(cell.model, cell.verdict, cell.sentence) for cell in gate_cells(both, records, 0.05)] == [
        (
            "net",
            "inconclusive",
            "net eager batch 1: 6.2 % slower (between 5.2 % slower and 7.3 % slower, each at 99 % confidence): "
            "INCONCLUSIVE, that is not sure enough for one of several cells",
        ),
        ("other", "pass", "other eager batch 1: 0.0 % slower (at most 1.0 % slower, at 99 % confidence): PASS"),
    ]


def test_variants_are_cells_of_their_own_and_wrong_scores_are_a_regression() -> None:
    slow = [*two(1.0), *two(1.2, variant=AMP)]
    again = two(1.2, variant=AMP, launch=1)
    assert [(c.label(), c.verdict) for c in gate_cells([compared()], [*slow, *again], 0.05)] == [
        ("net eager batch 1", "pass"),
        ("net amp batch 1", "fail"),
    ]
    fine = two(0.5, variant=AMP)
    wrong = [
        record(beside(one.case, "numerics"), *numerics(error, 0.1))
        for one, error in zip(fine, (0.01, 0.5), strict=True)
    ]
    (cell,) = gate_cells([compared()], [*fine, *wrong], 0.05)
    assert (cell.verdict, cell.first, cell.sentence) == (
        "inconclusive",
        None,
        "net amp batch 1: HEAD computes something else: its largest relative error against fp64 is 0.5, and 0.1 is "
        "allowed: INCONCLUSIVE, it was not measured once more",
    )


def test_what_does_not_run_any_more_fails_if_it_does_not_again() -> None:
    first = broken("head")
    assert suspected([compared()], first, 0.05) == {first[0].case.key()}
    cell = one_cell([*first, *broken("head", launch=1, status="timeout", error="no answer within 120 s")])
    assert (cell.verdict, cell.first, cell.again, cell.sentence) == (
        "fail",
        None,
        None,
        "net eager batch 1: HEAD failed: ValueError: boom (net.py:3): FAIL, "
        "and again HEAD gave no answer: no answer within 120 s",
    )
    cell = one_cell([*first, *two(1.0 + 1e-12, launch=1)])
    assert (cell.verdict, cell.sentence) == (
        "inconclusive",
        "net eager batch 1: HEAD failed: ValueError: boom (net.py:3): INCONCLUSIVE, it is not so again: "
        "0.0 % slower (at most 1.0 % slower, at 99 % confidence)",
    )


VOIDED = "environment: 9 of 24 samples were voided; measure again"


@pytest.mark.parametrize(
    ("records", "reason"),
    [
        (broken("base"), "BASE failed: ValueError: boom (net.py:3)"),
        (broken("head", status="invalid", error=VOIDED), f"HEAD is invalid: {VOIDED}"),
        ([broken("base")[0], broken("head")[1]], "BASE failed: ValueError: boom (net.py:3)"),
        (two(1.3, sets=()), ONE_SET),
        ([record(case("net@base-1"), *timed([1.0]))], "HEAD was not measured"),
    ],
    ids=["base broken", "environment", "both broken", "one set", "one side"],
)
def test_what_cannot_be_judged_is_inconclusive_and_not_measured_again(records: list[Record], reason: str) -> None:
    cell = one_cell(records)
    assert (cell.verdict, cell.sentence) == ("inconclusive", f"net eager batch 1: INCONCLUSIVE, {reason}")
    assert suspected([compared()], records, 0.05) == frozenset()


def test_an_invalid_result_that_is_not_the_environments_fault_is_a_regression() -> None:
    cell = one_cell([*broken("head", status="invalid", error="NaN"), *broken("head", status="invalid", launch=1)])
    assert cell.verdict == "fail"


def test_sides_without_a_common_block_are_not_compared() -> None:
    base, head = two(1.0)
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
                "FAIL: net0 and net1 are inconclusive, which was asked to count as a failure.",
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
