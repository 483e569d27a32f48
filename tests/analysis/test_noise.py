"""The noise card: its numbers, and its words for one group, for several, and for records that lack everything."""

import math
from dataclasses import replace

import pytest

from cnnbench.analysis import NoiseCard, analyse
from cnnbench.analysis.card import card_lines
from cnnbench.analysis.noise import CanaryNoise, TwinNoise
from cnnbench.record import Measurement, Record
from cnnbench.stats import Interval
from tests.made import LAST, beside, canary, case, counted, judged, record, timed, wave, whole_run

TWELVE = tuple(range(12))


def test_the_card_holds_what_the_records_do() -> None:
    steal = Measurement(quantity="steal_share", samples=(0.06,) + (0.0,) * 11, blocks=TWELVE)
    latency, *rest = wave(1.0)
    card = analyse(
        [
            record(case("a"), replace(latency, voided=(0,)), *rest, steal),
            record(beside(case("a"), "twin"), *timed([w / 1.01 for w in (x for x in latency.samples)])),
            record(beside(case("a"), "canary"), *canary(quiet=True)),
        ]
    ).noise
    assert card is not None
    (twin_noise,), (canary_noise,) = card.twins, card.canaries
    assert (twin_noise.reference, twin_noise.basis) == ("a eager cpu infer batch 1", "blocks")
    assert (twin_noise.excludes, twin_noise.silences) == (True, True)
    ratio = twin_noise.ratio
    assert [ratio.center, ratio.low, ratio.high] == [pytest.approx(1.01)] * 3
    assert (canary_noise.reference, canary_noise.quiet) == ("a eager cpu infer batch 1", True)
    assert canary_noise.spread == pytest.approx(0.00325 / 1.0005)  # quartiles 0.999 and 1.00225 of a tenth of the wave
    assert card.steal_share == pytest.approx(0.09 / 24)
    assert replace(card, twins=(), canaries=(), steal_share=None) == NoiseCard(
        twins=(),
        canaries=(),
        samples=12,
        voided=1,
        threads=(("cpu", 1),),
        most_steal_share=0.06,
        pressure_share=0.125,
        load=1.5,
        clock_low_per_s=2.45e9,
        clock_high_per_s=2.45e9,
    )


def unfit(record_: Record) -> Record:
    """Return `record_` as that of a cell whose samples the machine's other work took part in."""
    return replace(record_, status="invalid", error="Other work ran.")


def test_a_run_whose_cells_are_all_unfit_has_a_card() -> None:
    steal = Measurement(quantity="steal_share", samples=(0.3,) * 10 + (0.0,) * 2, blocks=TWELVE)
    latency, *rest = wave(1.0)
    shaken = replace(latency, voided=tuple(range(10)))
    items = [
        unfit(record(case("a"), shaken, *rest, steal)),
        unfit(record(case("a", LAST), shaken, *rest, steal)),
        record(case("b"), status="oom", error="full"),
    ]
    report = analyse(items)
    assert report.noise == NoiseCard(
        twins=(),
        canaries=(),
        samples=24,
        voided=20,
        threads=(("cpu", 1),),
        steal_share=pytest.approx(0.25),  # type: ignore[arg-type]  # compares as a float does
        most_steal_share=0.3,
    )
    assert card_lines(report.noise)[-1] == (
        "20 of 24 samples voided (83.3 %), steal 25.0 % (at most 30.0 %), 1 thread on cpu."
    )
    found = {(row.status, row.samples, row.latency_s, row.detail.voided) for row in report.rows[:2]}
    assert found == {("invalid", None, None, None)}


def test_unfit_launches_count_for_the_card_and_not_for_the_row() -> None:
    calm = Measurement(quantity="steal_share", samples=(0.0,) * 12, blocks=TWELVE)
    steal = replace(calm, samples=(0.5,) * 12)
    latency, *rest = wave(1.0)
    failed = record(case("a"), replace(latency, voided=TWELVE), *rest, steal, launch=1, status="failed", error="died")
    report = analyse([record(case("a"), *wave(1.0), calm), failed])
    assert report.noise is not None
    assert (report.noise.samples, report.noise.voided, report.noise.steal_share) == (24, 12, 0.25)
    assert (report.rows[0].samples, report.rows[0].detail.voided) == (12, 0)


def twin(low: float, high: float, name: str = "a eager", *, silences: bool = False) -> TwinNoise:
    return TwinNoise(
        reference=name,
        ratio=Interval(center=math.sqrt(low * high), low=low, high=high),
        basis="sets",
        excludes=low > 1 or high < 1,
        silences=silences,
    )


def spread(share: float) -> CanaryNoise:
    return CanaryNoise(reference="a eager", spread=share, quiet=share < 0.01)


CARD = NoiseCard(twins=(), canaries=(), samples=100, voided=None, threads=(("cpu", 2),))


@pytest.mark.parametrize(
    ("card", "lines"),
    [
        (CARD, ("No A/A twin and no canary in these records.", "100 samples, 2 threads on cpu.")),
        (
            replace(CARD, twins=(twin(0.99, 1.02),), voided=0),
            (
                "A/A: 1.005x (0.990-1.020).",
                "No canary was measured, or too few of its samples.",
                "0 of 100 samples voided, 2 threads on cpu.",
            ),
        ),
        (
            replace(CARD, canaries=(spread(0.002),), voided=3, steal_share=0.01, most_steal_share=0.2),
            (
                "No A/A twin was measured.",
                "Canary: spread 0.2 %, so the machine counts as quiet.",
                "3 of 100 samples voided (3.0 %), steal 1.0 % (at most 20.0 %), 2 threads on cpu.",
            ),
        ),
        (
            replace(
                CARD,
                twins=(replace(twin(1.01, 1.02), basis="blocks"),),
                canaries=(spread(0.002), spread(0.05)),
                threads=(("cpu", 2), ("cuda", 1)),
                pressure_share=0.5,
                load=12.3,
                clock_low_per_s=1.9e9,
                clock_high_per_s=3.21e9,
            ),
            (
                "A/A: 1.015x (1.010-1.020) (within one set of workers); it excludes 1.",
                "Canary: spread 0.2 % to 5.0 %, so the machine counts as quiet in 1 of 2 groups.",
                "100 samples, pressure 50.0 %, load 12.3, 2 threads on cpu, 1 thread on cuda, clock 1.90 to 3.21 GHz.",
            ),
        ),
        (
            replace(CARD, twins=(twin(1.01, 1.02, silences=True),), canaries=(spread(0.05), spread(0.05))),
            (
                "A/A: 1.015x (1.010-1.020); it excludes 1 (so no verdicts).",
                "Canary: spread 5.0 %, so the machine counts as shared.",
                "100 samples, 2 threads on cpu.",
            ),
        ),
        (
            replace(CARD, twins=(twin(0.9, 1.1), twin(0.99, 1.01)), canaries=(spread(0.05),)),
            (
                "A/A in 2 groups: the widest is 0.995x (0.900-1.100); none excludes 1.",
                "Canary: spread 5.0 %, so the machine counts as shared.",
                "100 samples, 2 threads on cpu.",
            ),
        ),
    ],
)
def test_the_card_in_words(card: NoiseCard, lines: tuple[str, ...]) -> None:
    assert card_lines(card) == lines


def test_a_terminal_gets_few_names_of_groups() -> None:
    card = replace(CARD, twins=tuple(twin(1.01, 1.02, f"m{at}", silences=at == 0) for at in range(5)))
    card = replace(card, twins=tuple(replace(one, basis="blocks") for one in card.twins))
    shown = "1.015x (1.010-1.020)"
    start = f"A/A in 5 groups: the widest is {shown}; 5 exclude 1: m0 {shown} (so no verdicts), m1 {shown}"
    assert card_lines(card)[0] == f"{start}, m2 {shown}, m3 {shown} and m4 {shown}."
    over_sets = replace(card.twins[1], basis="sets")
    assert card_lines(replace(card, twins=(over_sets,) * 2))[0].endswith(f"m1 {shown} (so nothing is SAME).")
    assert card_lines(card, most_named=3)[0] == f"{start}, m2 {shown} and 2 more."


def test_where_nothing_was_timed_there_is_no_card() -> None:
    report = analyse([counted("a", params=1, macs=1), judged("b", 1, 2)])
    assert report.noise is None
    assert str(report).startswith("Model")


def test_a_twin_without_an_interval_is_the_widest() -> None:
    card = analyse(
        [
            record(case("a"), *wave(1.0)),
            record(beside(case("a"), "twin"), *wave(1.0)),
            record(case("b"), *timed([1.0])),
            record(case("b", LAST), *timed([1.0])),
            record(beside(case("b"), "twin"), *timed([2.0])),
        ]
    ).noise
    assert card is not None
    assert (
        card_lines(card)[0]
        == "A/A in 2 groups: the widest is 0.500x (too few blocks for an interval); none excludes 1."
    )


def test_a_canary_of_few_samples_says_nothing() -> None:
    def card(samples: int) -> NoiseCard | None:
        items = [record(case("a"), *wave(1.0)), record(beside(case("a"), "canary"), *timed([1.0] * samples))]
        return analyse(items).noise

    few, enough = card(5), card(6)
    assert few is not None
    assert enough is not None
    assert few.canaries == ()
    assert [canary.quiet for canary in enough.canaries] == [True]


def test_the_card_is_short() -> None:
    card = analyse(whole_run()).noise
    assert card is not None
    assert 2 <= len(card_lines(card)) <= 4
    assert max(map(len, card_lines(card, most_named=3))) <= 125
