"""Verdicts from records: sets of workers, twins, canaries, margins, wrong scores, and more speed than there is."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from cnnbench.analysis import Report, Row, RowCaution, analyse, cell_status
from cnnbench.record import Caution, Record, Run
from cnnbench.spec import Case, Variant
from tests.made import (
    BF16,
    COST,
    EAGER,
    LAST,
    WAVE,
    beside,
    canary,
    case,
    ceilings,
    counted,
    numerics,
    record,
    run,
    timed,
    wave,
    wide,
)

EIGHT = WAVE[:8]


def in_sets(what: Case, *factors: float) -> Record:
    """Return a record of as many sets of workers as there are `factors`, of eight blocks each."""
    latencies = [factor * w for factor in factors for w in EIGHT]
    starts = tuple(len(EIGHT) * at for at in range(len(factors)))
    return record(what, *timed(latencies, units=1), sets=starts)


def of(report: Report, variant: str) -> Row:
    return next(row for row in report.rows if row.variant == variant)


def test_the_interval_rests_on_sets_of_workers_where_there_are_three() -> None:
    report = analyse([in_sets(case("a"), 1.0, 1.0, 1.0), in_sets(case("a", LAST), 0.5, 0.49, 0.51)])
    row = of(report, "channels_last")
    assert (row.detail.basis, row.detail.clusters, row.detail.blocks) == ("sets", 3, 24)
    assert row.speedup == pytest.approx(2.0, rel=1e-3)
    assert row.speedup_low == pytest.approx(1.9033, rel=1e-4)  # exp(mean - 4.3027 s / sqrt(3)) of ln 2, ln 1/0.49, ...
    assert row.speedup_high == pytest.approx(2.1022, rel=1e-4)
    assert row.verdict == "FASTER"
    assert row.smallest_detectable == pytest.approx(0.0737, rel=1e-3)


def test_blocks_that_one_cell_lacks_stay_in_their_set() -> None:
    eager, last = in_sets(case("a"), 1.0, 2.0, 3.0), in_sets(case("a", LAST), 1.0, 1.0, 1.0)
    latency = next(m for m in last.measurements if m.quantity == "latency_s")
    voided = replace(last, measurements=(replace(latency, voided=(0, 1, 8, 23)),))
    detail = of(analyse([eager, voided]), "channels_last").detail
    assert (detail.basis, detail.clusters, detail.blocks) == ("sets", 3, 20)


def shifted(twin_s: float, *, delta: float | None = None, quiet: bool | None = None) -> list[Record | Run]:
    """Return a run of a cell that is 4 % faster than eager, and of a twin that takes `twin_s` where eager takes 1 s."""
    items: list[Record | Run] = [
        run(delta=delta),
        record(case("a"), *wave(1.0)),
        record(case("a", LAST), *wave(1 / 1.04)),
        record(beside(case("a"), "twin"), *wave(twin_s)),
    ]
    if quiet is not None:
        items.append(record(beside(case("a"), "canary"), *canary(quiet=quiet)))
    return items


@pytest.mark.parametrize(
    ("items", "verdict", "delta"),
    [
        (shifted(1.0), "FASTER", 0.03),
        (shifted(1.0, delta=0.05), "SAME", 0.05),
        (shifted(1.0, quiet=True), "FASTER", 0.01),
        (shifted(1.0, quiet=False), "FASTER", 0.03),
        (shifted(1.02, quiet=True), "NOT DISTINGUISHABLE", 0.02),  # silenced: wholly beyond 1 %
        (shifted(1.02, quiet=False), "FASTER", 0.03),
        (shifted(1.029, delta=0.03), "FASTER", 0.03),
        (shifted(1.045, delta=0.05), "SAME", 0.05),
        (shifted(1 / 1.045, delta=0.05), "SAME", 0.05),
    ],
)
def test_the_margin_is_of_what_was_asked_the_machine_and_the_twin(
    items: list[Record | Run], verdict: str, delta: float
) -> None:
    row = of(analyse(items), "channels_last")
    assert row.verdict == verdict
    assert row.detail.delta == pytest.approx(delta)


def test_what_was_measured_beside_the_cells_makes_no_row_and_is_no_cell() -> None:
    items = [*shifted(1.0, quiet=True), ceilings(), record(beside(case("a"), "memory"), status="oom", error="full")]
    assert [row.variant for row in analyse(items).rows] == ["eager", "channels_last"]
    assert list(cell_status(items)) == [case("a").key(), case("a", LAST).key()]


def test_equal_workers_that_differ_over_sets_raise_the_margin_and_leave_nothing_the_same() -> None:
    one, two = case("a"), case("b")
    report = analyse(
        [
            in_sets(one, 1.0, 1.0, 1.0),
            in_sets(case("a", LAST), 0.5, 0.5, 0.5),
            in_sets(case("a", BF16), 1.0001, 1.0, 1.0002),
            in_sets(beside(one, "twin"), 1.02, 1.021, 1.019),
            in_sets(two, 1.0, 1.0, 1.0),
            in_sets(case("b", LAST), 0.5, 0.5, 0.5),
            in_sets(beside(two, "twin"), 1.001, 0.999, 1.002),
        ]
    )
    assert [row.verdict for row in report.rows] == [None, "FASTER", "NOT DISTINGUISHABLE", None, "FASTER"]
    assert report.rows[1].detail.delta == 0.03  # the far end of the A/A interval is nearer
    assert report.differences == (
        "a: channels_last is FASTER than eager, 2.00x (2.00-2.00); bf16 is NOT DISTINGUISHABLE from eager, "
        "1.000x (1.000-1.000) (as the reference and its A/A twin differ, nothing is the SAME) (within one launch).",
        "b: channels_last is FASTER than eager, 2.00x (2.00-2.00) (within one launch).",
    )
    assert str(report).splitlines()[0] == (
        "A/A in 2 groups: the widest is 0.999x (0.996-1.003); 1 excludes 1: a eager cpu infer batch 1 "
        "0.980x (0.978-0.983) (so nothing is SAME)."
    )


@pytest.mark.parametrize("twin_s", [None, [1.0] * 5])
def test_a_group_with_a_canary_has_no_verdicts_without_an_interval_of_its_twin(twin_s: list[float] | None) -> None:
    items = [record(case("a"), *wave(1.0)), record(case("a", LAST), *wave(0.5)), record(case("a", BF16), *wave(0.4))]
    if twin_s:
        items.append(record(beside(case("a"), "twin"), *timed(twin_s)))
    fixed = record(beside(case("a"), "canary"), *canary())
    report = analyse([*items, fixed])
    assert [row.verdict for row in report.rows] == [None, "NOT DISTINGUISHABLE", "NOT DISTINGUISHABLE"]
    assert report.differences == (
        "a: channels_last and bf16 are NOT DISTINGUISHABLE from eager, as its A/A twin gave no interval, so nothing "
        "shows how far equal workers differ.",
    )
    assert [row.verdict for row in analyse(items).rows] == [None, "FASTER", "FASTER"]  # as older records have none


def test_what_holds_within_one_launch_is_said_once_a_sentence() -> None:
    def said(*variants: Variant, launches: int) -> tuple[str, ...]:
        every = [
            record(case("a", v), *wave(s), launch=at)
            for at in range(3)
            for v, s in ((EAGER, 1.0), (LAST, 0.5), (BF16, 0.25))
            if v not in variants or at < launches
        ]
        return analyse(every).differences

    last, bf16 = "channels_last is FASTER than eager, 2.00x (2.00-2.00)", "bf16 is FASTER than eager, 4.00x (4.00-4.00)"
    assert said(launches=3) == (f"a: {last}; {bf16}.",)
    assert said(EAGER, LAST, BF16, launches=1) == (f"a: {last}; {bf16} (within one launch).",)
    assert said(EAGER, LAST, BF16, launches=2) == (f"a: {last}; {bf16} (within launches).",)
    assert said(LAST, launches=1) == (f"a: {last}; {bf16} (channels_last within one launch).",)
    assert said(LAST, BF16, launches=1) == (f"a: {last}; {bf16} (within one launch).",)


def precise(latency_s: Sequence[float], *extra: Record) -> tuple[RowCaution, ...]:
    """Return the warnings of a variant that takes `latency_s` in as many launches, each of which was too wide."""
    items = [record(case("a"), *timed([1.0] * 12), launch=at) for at in range(len(latency_s))]
    items += [
        record(case("a", LAST), *timed([one] * 12), launch=at, cautions=(wide(2.5 + at),))
        for at, one in enumerate(latency_s)
    ]
    return analyse([*items, *extra]).warnings


@pytest.mark.parametrize(
    ("latency_s", "quiet", "kept"),
    [
        ([0.5, 0.503, 0.497], False, False),  # +-1.5 %
        ([0.5, 0.503, 0.497], True, True),
        ([0.5, 0.501, 0.499], True, False),  # +-0.5 %
        ([0.5, 0.505, 0.495], False, True),  # +-2.5 %
        ([0.5, 0.5], False, True),  # no interval over launches
    ],
)
def test_precision_is_that_of_the_whole_and_said_once_a_row(latency_s: list[float], *, quiet: bool, kept: bool) -> None:
    found = precise(latency_s, record(beside(case("a"), "canary"), *canary(quiet=quiet)))
    assert found == ((RowCaution(row="a channels_last cpu infer batch 1", caution=wide(2.5)),) if kept else ())


def test_a_cuda_device_is_held_to_its_own_precision() -> None:
    def codes(*latency_s: float) -> list[str | None]:
        cuda = [
            record(case("a", v, device="cuda"), *timed([s] * 12), launch=at, cautions=(wide(1.0),) if v == LAST else ())
            for at, one in enumerate(latency_s)
            for v, s in ((EAGER, 1.0), (LAST, one))
        ]
        return [row.warnings for row in analyse(cuda).rows]

    assert codes(0.5, 0.5005, 0.4995) == [None, None]
    assert codes(0.5, 0.502, 0.498) == [None, "precision_not_reached"]


def test_a_reference_of_all_rows_has_one_twin() -> None:
    report = analyse(
        [
            run(reference="a"),
            record(case("a"), *wave(1.0)),
            record(beside(case("a"), "twin"), *wave(1.05)),
            record(case("b"), *wave(0.5)),
        ]
    )
    assert [(row.model, row.verdict) for row in report.rows] == [("a", None), ("b", "NOT DISTINGUISHABLE")]


@pytest.mark.parametrize(
    ("latency_s", "why"),
    [
        ([1.0] * 5, "too few blocks for an interval"),
        (
            [1 / 1.02, 1 / 1.06] * 6,
            "1.040x (1.020-1.060) (not wholly beyond the 3 % that count here) (within one launch)",
        ),
        (
            [0.95, 1.05] * 6,
            "1.001x (0.952-1.053) (a difference of 7.4 % would have been told from none) (within one launch)",
        ),
    ],
)
def test_why_there_is_no_verdict_is_said(latency_s: Sequence[float], why: str) -> None:
    report = analyse([record(case("a"), *timed([1.0] * 12)), record(case("a", LAST), *timed(latency_s))])
    assert of(report, "channels_last").verdict == "NOT DISTINGUISHABLE"
    (said,) = report.differences
    assert said.startswith("a: channels_last is NOT DISTINGUISHABLE from eager")
    assert said.endswith(f"{why}.")


def test_many_comparisons_take_verdicts_that_six_blocks_cannot_carry() -> None:
    six = [
        record(case(f"m{at}", v), *timed([s] * 6))
        for at in range(2)
        for v, s in ((case("a").variant, 1.0), (LAST, 0.5))
    ]
    assert [row.verdict for row in analyse(six[:2]).rows] == [None, "FASTER"]
    report = analyse(six)
    assert [row.verdict for row in report.rows] == [None, "NOT DISTINGUISHABLE"] * 2
    assert report.differences[0] == (
        "m0: channels_last is NOT DISTINGUISHABLE from eager, 2.00x (2.00-2.00) (as one of several verdicts it may be "
        "chance) (within one launch)."
    )


def test_a_variant_whose_scores_are_wrong_has_no_speed_up_and_is_never_the_best() -> None:
    wrong = case("a", BF16)
    report = analyse(
        [
            run(latency_max_s=10.0),
            record(case("a"), *wave(1.0, passes=700)),
            record(wrong, *wave(0.5, passes=700)),
            record(beside(wrong, "numerics"), *numerics(0.25, 0.024, agreed=16)),
            record(case("b"), *wave(2.0, passes=700)),
        ]
    )
    row = of(report, "bf16")
    assert (row.status, row.speedup, row.verdict, row.break_even_calls) == ("ok", None, None, None)
    assert (row.numerics_error, row.top1_agreement, row.warnings) == (0.25, 0.5, "numerics_failed")
    caution = Caution(
        code="numerics_failed",
        fact="its largest relative error against fp64 is 0.25, and 0.024 is allowed",
        advice="Its speed-up is not shown: a network that computes something else is not a faster one.",
    )
    assert report.warnings == (RowCaution(row="a bf16 cpu infer batch 1", caution=caution),)
    assert report.summary == ("Best that fits latency at most 10.0 s: a eager cpu infer batch 1, 1.00 s (0.99-1.03).",)


def test_a_variant_in_the_wrong_layout_has_no_speed_up_even_for_training() -> None:
    what = case("a", LAST, task="train")
    checked = record(beside(what, "numerics"), status="invalid", error="the input has the strides (1, 2)")
    report = analyse([record(case("a", task="train"), *wave(1.0)), record(what, *wave(0.5)), checked])
    row = of(report, "channels_last")
    assert (row.speedup, row.verdict, row.warnings, row.numerics_error) == (None, None, "numerics_failed", None)
    assert report.warnings[0].caution.fact == "the input has the strides (1, 2)"
    assert not any("numerical check" in note for note in report.notes)


def test_nothing_is_compared_with_a_reference_whose_scores_are_wrong() -> None:
    items = [record(case("a"), *wave(1.0)), record(case("a", LAST), *wave(0.5))]
    report = analyse([*items, record(beside(case("a"), "numerics"), *numerics(1.0, 0.5))])
    assert [row.speedup for row in report.rows] == [None, None]


def test_more_speed_than_the_machine_has_is_invalid() -> None:
    items: list[Record | Run] = [
        counted("a", params=1, macs=10**9, cost=COST),
        record(case("a"), *timed([0.02] * 12)),
        record(case("a", LAST), *timed([0.018] * 12)),
        ceilings(1e11),
    ]
    eager, last = analyse(items).rows
    assert (eager.status, eager.flops_share_of_peak, eager.bound_by) == ("ok", 1.0, "compute")
    assert (last.status, last.latency_s, last.speedup, last.flops_share_of_peak) == ("invalid", None, None, None)
    assert last.error == (
        "It would be 1.11 times the machine's peak: 111 G/s floating-point operations where at most 100 G/s were "
        "measured. Either it does not compute what was counted, or the device was not waited for."
    )
    assert cell_status(items)[case("a", LAST).key()] == "invalid"
    assert cell_status(items)[case("a").key()] == "ok"


def test_what_could_not_be_had_beside_the_cells_is_a_note() -> None:
    def failed(role: str, variant: str, error: str | None) -> Record:
        what = case("a", LAST if variant == "channels_last" else case("a").variant)
        return record(beside(what, role), status="failed", error=error)  # type: ignore[arg-type]  # one of the roles

    report = analyse(
        [
            record(case("a"), *wave(1.0, passes=700)),
            record(case("a", LAST), *wave(1.0, passes=700)),
            failed("memory", "eager", "no\n/proc"),
            failed("memory", "channels_last", "no\n/proc"),
            failed("numerics", "eager", None),
            failed("twin", "eager", "it died"),
            failed("canary", "eager", "it died"),
            replace(ceilings(), status="timeout", error="slow"),
        ]
    )
    both = "a eager cpu infer batch 1 and a channels_last cpu infer batch 1"
    assert report.notes == (
        f"No peak memory (failed: no /proc): {both}",
        "No numerical check (failed: no reason was recorded): a eager cpu infer batch 1",
        "No A/A check (failed: it died): a eager cpu infer batch 1",
        "No canary (failed: it died): a eager cpu infer batch 1",
        "No ceilings of the machine (timeout: slow): cpu",
    )
