"""Comparisons: verdicts follow from the printed intervals, and what widens these."""

import math

import pytest

from cnnbench.analysis import Report, Row, analyse
from cnnbench.analysis.effects import choose_delta
from cnnbench.record import Record
from cnnbench.spec import Device
from cnnbench.stats import verdict_of
from cnnbench.stats.rounds import Effect
from tests.factories import AMP, BF16, LAST, beside, case, in_rounds, numerics, record, run

FACTORS = (1.0, 1.004, 0.998, 1.001, 1.003, 0.999)
SHAKY = (1.0, 1.03, 0.98, 1.01, 1.02, 0.97)


def cells(name: str, ratio: float, factors: tuple[float, ...] = SHAKY) -> list[Record]:
    """Return six rounds of a model whose channels_last takes 1 / `ratio` of eager's time."""
    return [*in_rounds(case(name), 0.01, FACTORS), *in_rounds(case(name, LAST), 0.01 / ratio, factors)]


def row_of(report: Report, variant: str = "channels_last", model: str = "a") -> Row:
    return next(row for row in report.rows if (row.model, row.variant) == (model, variant))


def half_width(row: Row) -> float:
    assert row.speedup_low is not None
    assert row.speedup_high is not None
    return math.log(row.speedup_high / row.speedup_low) / 2


@pytest.mark.parametrize("ratio", [0.8, 0.95, 0.97, 1.0, 1.02, 1.05, 1.3])
@pytest.mark.parametrize("factors", [FACTORS, SHAKY])
def test_the_verdict_follows_from_the_printed_interval(ratio: float, factors: tuple[float, ...]) -> None:
    row = row_of(analyse([run(delta=0.03), *cells("a", ratio, factors)]))
    assert row.speedup_low is not None
    assert row.speedup_high is not None
    told = Effect(
        center=0.0,
        low=math.log(row.speedup_low),
        high=math.log(row.speedup_high),
        rounds=6,
        blocks=72,
        values=(),
        error=None,
        degrees=5,
    )
    assert row.verdict == verdict_of(told, 0.03)


def test_more_rows_of_a_group_widen_its_intervals() -> None:
    one = cells("a", 1.1)
    four = [*one, *in_rounds(case("a", AMP), 0.009, FACTORS), *in_rounds(case("a", BF16), 0.008, FACTORS)]
    assert row_of(analyse(one)).detail.together == 1
    assert row_of(analyse(four)).detail.together == 3
    assert half_width(row_of(analyse(four))) > 1.2 * half_width(row_of(analyse(one)))


def test_one_more_group_leaves_the_interval() -> None:
    one, two = cells("a", 1.1), cells("b", 1.5)
    assert half_width(row_of(analyse([*one, *two]))) == pytest.approx(half_width(row_of(analyse(one))))


def test_unequal_twins_widen_the_intervals_of_their_group() -> None:
    one = cells("a", 1.5)
    equal = in_rounds(beside(case("a"), "aa_control"), 0.01, SHAKY)
    unequal = in_rounds(beside(case("a"), "aa_control"), 0.012, FACTORS)
    assert half_width(row_of(analyse([*one, *equal]))) == pytest.approx(half_width(row_of(analyse(one))))
    wide = analyse([*one, *unequal])
    assert half_width(row_of(wide)) > half_width(row_of(analyse(one))) + 0.16
    assert row_of(wide).verdict == "FASTER"
    assert wide.noise is not None
    assert [aa_control.excludes for aa_control in wide.noise.aa_controls] == [True]


def test_wrong_scores_are_not_compared() -> None:
    wrong = record(beside(case("a", LAST), "numerics"), *numerics(0.5, 0.024))
    row = row_of(analyse([*cells("a", 1.5), wrong]))
    assert (row.speedup, row.verdict) == (None, None)
    assert row.wrong


@pytest.mark.parametrize(
    ("asked", "device", "spread", "expected"),
    [
        (0.07, "cpu", 0.001, 0.07),
        (None, "cpu", None, 0.03),
        (None, "cpu", 0.009, 0.01),
        (None, "cpu", 0.05, 0.03),
        (None, "cuda", 0.05, 0.005),
    ],
)
def test_what_counts_depends_on_the_machine(
    asked: float | None, device: Device, spread: float | None, expected: float
) -> None:
    assert choose_delta(asked, device, spread) == expected


def test_sentences_say_what_kept_a_verdict() -> None:
    few = [one for one in cells("a", 1.5) if one.round < 2]
    assert analyse(few).differences == (
        "a: channels_last is NOT DISTINGUISHABLE from eager: too few rounds for an interval.",
    )
    near = analyse([run(delta=0.05), *cells("a", 1.04, FACTORS)]).differences[0]
    assert near.startswith("a: channels_last is the SAME as eager within 5 %, 1.04")
    beyond = analyse([run(delta=0.05), *cells("a", 1.06)]).differences[0]
    assert "(the interval is not wholly beyond the 5 % that count here)" in beyond
    none = analyse([run(delta=0.01), *cells("a", 1.0)]).differences[0]
    missed = row_of(analyse([run(delta=0.01), *cells("a", 1.0)])).minimum_detectable_effect
    assert missed is not None
    assert none.endswith(f"(a difference below {100 * missed:.1f} % is easily missed at this precision).")


def test_a_reference_across_models_compares_all() -> None:
    report = analyse([run(reference="b"), *cells("a", 1.1), *cells("b", 1.5)])
    assert {row.reference for row in report.rows} == {"b/eager"}
    assert row_of(report, "eager").speedup == pytest.approx(1.0)
    assert [row.detail.together for row in report.rows if row.speedup] == [3, 3, 3]
