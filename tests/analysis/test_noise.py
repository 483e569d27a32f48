"""The noise card: its numbers, and its words for one group, for several, and for records that lack everything."""

import math
from dataclasses import replace

import pytest

from cnnbench.analysis import NoiseCard, analyse
from cnnbench.analysis.noise import ControlNoise, WorkloadNoise
from cnnbench.record import Measurement, Record, Run
from cnnbench.report.terminal import to_table
from cnnbench.report.text.noise import card_lines
from cnnbench.spec import Case
from cnnbench.stats import Interval
from tests.factories import (
    STEADY,
    beside,
    case,
    control_workload,
    counted,
    in_rounds,
    judged,
    once,
    record,
    run,
    timed,
    wave,
    whole_run,
)

TWELVE = tuple(range(12))


def steady(cell: Case, *measurements: Measurement, ratio: float = 1.0) -> list[Record]:
    """Return four rounds of twelve blocks."""
    return in_rounds(cell, 1.0 / ratio, STEADY if ratio == 1.0 else OTHERS, *measurements)


OTHERS = (1.001, 1.003, 0.999, 1.0)


def test_the_card_holds_what_the_records_do() -> None:
    steal = Measurement(quantity="steal_share", samples=(0.06,) + (0.0,) * 11, blocks=TWELVE)
    watched = steady(case("a"), steal)
    control_workloads = [
        record(beside(case("a"), "control_workload"), *control_workload(quiet=True), number=at) for at in range(4)
    ]
    card = analyse([*watched, *steady(beside(case("a"), "aa_control"), ratio=1.02), *control_workloads]).noise
    assert card is not None
    (control_noise,), (workload_noise,) = card.aa_controls, card.control_workloads
    assert (control_noise.reference, control_noise.rounds, control_noise.excludes) == (
        "a eager cpu infer batch 1",
        4,
        True,
    )
    assert control_noise.ratio.center == pytest.approx(1.02, rel=1e-3)
    assert (workload_noise.reference, workload_noise.quiet) == ("a eager cpu infer batch 1", True)
    assert card.steal_share == pytest.approx(0.09 / 24)
    assert (card.samples, card.rejected, card.threads) == (48, 0, (("cpu", 1),))
    assert (card.most_steal_share, card.pressure_share, card.load) == (0.06, 0.125, 1.5)
    assert (card.clock_low_per_s, card.clock_high_per_s) == (2.45e9, 2.45e9)
    assert card.busy is None


def test_failed_rounds_count_for_the_card_and_not_for_the_row() -> None:
    calm = Measurement(quantity="steal_share", samples=(0.0,) * 12, blocks=TWELVE)
    latency, *rest = wave(1.0)
    stolen = replace(calm, samples=(0.5,) * 12)
    failed = record(
        case("a"), replace(latency, rejected=TWELVE), *rest, stolen, number=1, status="failed", error="died"
    )
    report = analyse([record(case("a"), *wave(1.0), calm), failed])
    assert report.noise is not None
    assert (report.noise.samples, report.noise.rejected, report.noise.steal_share) == (24, 12, 0.25)
    assert (report.rows[0].samples, report.rows[0].detail.rejected) == (12, 0)


@pytest.mark.parametrize(
    ("seen", "busy"),
    [
        ({"pressure_share": 0.5}, None),
        ({"pressure_share": 0.63}, "processes waited for a core 63 % of the time"),
        ({"steal_share": 0.05}, None),
        ({"steal_share": 0.12}, "the hypervisor gave 12 % of the cores' time to others"),
    ],
)
def test_a_machine_is_busy_by_pressure_or_steal(seen: dict[str, float], busy: str | None) -> None:
    assert replace(CARD, **seen).busy == busy  # type: ignore[arg-type]  # fields of NoiseCard


def test_a_busy_machine_is_said_before_anything_else() -> None:
    waited = [
        record(beside(case("a"), "control_workload"), *timed([1.0]), once("pressure_share", share), number=at)
        for at, share in enumerate((0.7, 0.9, 0.2))
    ]
    report = analyse([*steady(case("a")), *waited])
    assert report.noise is not None
    assert report.noise.pressure_share == 0.7  # the median over the rounds
    assert to_table(report).startswith("BUSY MACHINE: processes waited for a core 70 % of the time. ")


@pytest.mark.parametrize(
    ("last", "said"),
    [
        (run(partial=True), "the run has not ended, or was killed"),
        (run(partial=True, wall_s=24.2, budget_s=60.0), "interrupted after 24 of 60 s"),
        (run(partial=True, wall_s=24.2), "interrupted after 24 s"),
        (run(wall_s=60.0, budget_s=60.0), None),
    ],
)
def test_a_partial_run_says_how_far_it_got(last: Run, said: str | None) -> None:
    report = analyse([run(partial=True), *steady(case("a")), last])
    assert report.partial == said
    assert to_table(report).startswith("PARTIAL RESULT: ") is (said is not None)


def test_a_merged_run_that_was_cut_short_is_partial_too() -> None:
    cut: list[Record | Run] = [run(partial=True), *steady(case("a")), run(partial=True, wall_s=24.0, budget_s=60.0)]
    whole: list[Record | Run] = [run(partial=True), *steady(case("a"), ratio=1.01), run(wall_s=60.0)]
    assert [analyse(*files).partial for files in ((cut, whole), (whole, cut), (whole, whole))] == [
        "interrupted after 24 of 60 s",
        "interrupted after 24 of 60 s",
        None,
    ]


def aa_control(low: float, high: float, name: str = "a eager") -> ControlNoise:
    return ControlNoise(
        reference=name,
        ratio=Interval(center=math.sqrt(low * high), low=low, high=high),
        rounds=6,
        excludes=low > 1 or high < 1,
    )


def spread(share: float) -> WorkloadNoise:
    return WorkloadNoise(reference="a eager", spread=share, quiet=share < 0.01)


CARD = NoiseCard(aa_controls=(), control_workloads=(), samples=100, rejected=None, threads=(("cpu", 2),))


@pytest.mark.parametrize(
    ("card", "lines"),
    [
        (CARD, ("No A/A control and no control workload in these records.", "100 samples, 2 threads on cpu.")),
        (
            replace(CARD, aa_controls=(aa_control(0.99, 1.02),), rejected=0),
            (
                "A/A: 1.005x (0.990-1.020).",
                "No control workload was measured, or too few of its samples.",
                "0 of 100 samples rejected, 2 threads on cpu.",
            ),
        ),
        (
            replace(CARD, control_workloads=(spread(0.002),), rejected=3, steal_share=0.01, most_steal_share=0.2),
            (
                "No A/A control was measured.",
                "Control workload: spread 0.2 %, so the machine counts as quiet.",
                "3 of 100 samples rejected (3.0 %), steal 1.0 % (at most 20.0 %), 2 threads on cpu.",
            ),
        ),
        (
            replace(
                CARD,
                aa_controls=(aa_control(1.01, 1.02),),
                control_workloads=(spread(0.002), spread(0.05)),
                threads=(("cpu", 2), ("cuda", 1)),
                pressure_share=0.5,
                load=12.3,
                clock_low_per_s=1.9e9,
                clock_high_per_s=3.21e9,
            ),
            (
                "A/A: 1.015x (1.010-1.020); it excludes 1, so the intervals of its group are wider by as much.",
                "Control workload: spread 0.2 % to 5.0 %, so the machine counts as quiet in 1 of 2 groups.",
                "100 samples, pressure 50.0 %, load 12.3, 2 threads on cpu, 1 thread on cuda, clock 1.90 to 3.21 GHz.",
            ),
        ),
        (
            replace(
                CARD, aa_controls=(aa_control(0.9, 1.1), aa_control(0.99, 1.01)), control_workloads=(spread(0.05),)
            ),
            (
                "A/A in 2 groups: the widest is 0.995x (0.900-1.100); none excludes 1.",
                "Control workload: spread 5.0 %, so the machine counts as shared.",
                "100 samples, 2 threads on cpu.",
            ),
        ),
    ],
)
def test_the_card_in_words(card: NoiseCard, lines: tuple[str, ...]) -> None:
    assert card_lines(card) == lines


def test_a_terminal_gets_few_names_of_groups() -> None:
    card = replace(CARD, aa_controls=tuple(aa_control(1.01, 1.02, f"m{at}") for at in range(5)))
    shown = "1.015x (1.010-1.020)"
    start = f"A/A in 5 groups: the widest is {shown}; 5 exclude 1, so their intervals are wider by as much: m0 {shown}"
    assert card_lines(card)[0] == f"{start}, m1 {shown}, m2 {shown}, m3 {shown} and m4 {shown}."
    assert card_lines(card, most_named=2)[0] == f"{start}, m1 {shown} and 3 more."
    one = replace(card, aa_controls=(card.aa_controls[0], aa_control(0.9, 1.1)))
    assert card_lines(one)[0].endswith(f"1 excludes 1, so the intervals of its group are wider by as much: m0 {shown}.")


def test_where_nothing_was_timed_there_is_no_card() -> None:
    report = analyse([counted("a", params=1, macs=1), judged("b", 1, 2)])
    assert report.noise is None
    assert to_table(report).startswith("Model")


def test_a_twin_without_an_interval_is_the_widest() -> None:
    few = [record(case("b"), *timed([1.0])), record(beside(case("b"), "aa_control"), *timed([2.0]))]
    card = analyse([*steady(case("a")), *steady(beside(case("a"), "aa_control")), *few]).noise
    assert card is not None
    found = "A/A in 2 groups: the widest is 0.500x (too few rounds for an interval); none excludes 1."
    assert card_lines(card)[0] == found


def test_a_canary_of_few_samples_says_nothing() -> None:
    def card(samples: int) -> NoiseCard | None:
        items = [record(case("a"), *wave(1.0)), record(beside(case("a"), "control_workload"), *timed([1.0] * samples))]
        return analyse(items).noise

    few, enough = card(5), card(6)
    assert few is not None
    assert enough is not None
    assert few.control_workloads == ()
    assert [control_workload.quiet for control_workload in enough.control_workloads] == [True]


def test_the_card_is_short() -> None:
    card = analyse(whole_run()).noise
    assert card is not None
    assert 2 <= len(card_lines(card)) <= 4
    assert max(map(len, card_lines(card, most_named=3))) <= 180
