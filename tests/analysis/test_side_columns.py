"""Columns beside time: memory, compiling, numerical error, the machine's roof, and what stands behind them."""

import math
from collections.abc import Sequence

import pytest

from cnnbench.analysis import Detail, Row, analyse
from cnnbench.record import Measurement, Record
from cnnbench.report.text.table import detail_table
from tests.factories import COMPILE, COST, case, ceilings, counted, numerics, once, record, timed
from tests.factories import beside as at_side

TWELVE = tuple(range(12))
EAGER, COMPILED = case("a"), case("a", COMPILE)


def compiled(saved_s: Sequence[float], *more: Record) -> Row:
    """Return the row of a variant that took 10 s to compile and saves so much of an eager of 1 s in each round."""
    items = [
        one
        for at, saved in enumerate(saved_s)
        for one in (
            record(EAGER, *timed([1.0] * 3), number=at),
            record(COMPILED, *timed([1.0 - saved] * 3), once("compile_s", 10.0), number=at),
        )
    ]
    return analyse([*items, *more]).rows[1]


def shown(row: Row, heading: str) -> str:
    table = detail_table([row])
    return table.cells[0][table.headings.index(heading)]


HALF = 4.302653 * 0.001 / math.sqrt(3)
"""Half-width of the mean of three rounds whose standard deviation is a millisecond."""


@pytest.mark.parametrize(
    ("saved_s", "center", "low", "high", "text"),
    [
        ((0.001, 0.001, 0.001), 10_000, 10_000, 10_000, "10,000 (10,000-10,000)"),
        ((0.003, 0.004, 0.005), 2_500, 10 / (0.004 + HALF), 10 / (0.004 - HALF), "2,500 (1,540-6,600)"),
        ((0.001, 0.002, 0.003), 5_000, 10 / (0.002 + HALF), math.inf, "5,000 (from 2,230, perhaps never)"),
        ((-0.002, -0.001, 0.0), math.inf, 10 / (HALF - 0.001), math.inf, "from 6,740, perhaps never"),
        ((-0.001, -0.001, -0.001), math.inf, math.inf, math.inf, "never"),
        ((0.001, 0.001), 10_000, None, None, "10,000"),
    ],
)
def test_break_even_is_compile_time_over_what_a_call_saves(
    saved_s: Sequence[float], center: float, low: float | None, high: float | None, text: str
) -> None:
    row = compiled(saved_s)
    bounds = [None if bound is None else pytest.approx(bound, rel=1e-3) for bound in (low, high)]
    assert row.break_even_calls == pytest.approx(center)
    assert [row.detail.break_even_low, row.detail.break_even_high] == bounds
    assert shown(row, "Break-even") == text


def test_compile_break_even_uses_same_network_not_reference() -> None:
    rows = analyse(
        [
            record(case("b"), *timed([9.0] * 6)),
            record(EAGER, *timed([1.0] * 6)),
            record(COMPILED, *timed([0.5] * 6), once("compile_s", 10.0)),
        ]
    ).rows
    assert [row.break_even_calls for row in rows] == [None, None, 20.0]
    alone = analyse([record(COMPILED, *timed([0.5] * 6), once("compile_s", 10.0))]).rows[0]
    assert (alone.compile_s, alone.break_even_calls) == (10.0, None)


def test_wrong_scores_never_pay() -> None:
    row = compiled([0.5] * 6, record(at_side(COMPILED, "numerics"), *numerics(1.0, 0.5)))
    assert (row.compile_s, row.break_even_calls, row.detail.break_even_low) == (10.0, None, None)


def test_columns_come_from_the_workers_that_measured_them() -> None:
    row = compiled(
        [0.5] * 4,
        record(at_side(COMPILED, "memory"), once("peak_memory_bytes", 2.0**20), once("reserved_memory_bytes", 2.0**21)),
        record(
            at_side(COMPILED, "numerics"),
            *numerics(1e-6, 2e-6),
            once("compile_warm_s", 3.0),
            once("graphs", 2),
            once("graph_breaks", 1),
            once("recompiles", 0),
        ),
        counted("a", params=1, macs=10**9, cost=COST),
        ceilings(1e11),
    )
    assert (row.peak_memory_bytes, row.max_relative_error, row.top1_agreement) == (2.0**20, 1e-6, 31 / 32)
    assert (row.peak_flops_utilisation, row.bound_by) == (0.04, "compute")
    assert row.detail == Detail(
        delta=0.03,
        blocks=12,
        together=1,
        outliers=0,
        break_even_low=20.0,
        break_even_high=20.0,
        compile_warm_s=3.0,
        graphs=2,
        graph_breaks=1,
        recompiles=0,
        reserved_memory_bytes=2.0**21,
        flop_per_s=4e9,
        roof_share=0.04,
        flops_per_byte=2e9 / (46_758_048 + 2 * 40_000_000 + 4 * 3 * 224 * 224),
        peak_flop_per_s=1e11,
        bytes_per_s=1e10,
        latencies_s=(0.5,) * 12,
    )
    names = (
        "Peak memory",
        "Compile",
        "Compile warm",
        "Graphs",
        "Graph breaks",
        "Recompiles",
        "Peak FLOP/s %",
        "Roofline %",
    )
    assert [shown(row, name) for name in names] == ["1.00 MiB", "10.0 s", "3.00 s", "2", "1", "0", "4.0 %", "4.0 %"]
    assert shown(row, "Blocks") == "12"
    assert (shown(row, "Error"), shown(row, "Agreement"), shown(row, "Reserved")) == ("1e-06", "96.9 %", "2.00 MiB")


def test_training_shows_no_compilation_of_inference() -> None:
    facts = [once("compile_warm_s", 3.0), once("graphs", 2), once("graph_breaks", 1), once("recompiles", 0)]
    step = case("a", COMPILE, task="train")
    checked = record(at_side(step, "numerics"), *numerics(1e-6, 2e-6), *facts)
    row = analyse([record(step, *timed([1.0] * 6), once("compile_s", 10.0), once("graphs", 5)), checked]).rows[0]
    detail = row.detail
    assert (row.task, row.compile_s, row.max_relative_error, row.top1_agreement) == ("train", 10.0, 1e-6, 31 / 32)
    found = (detail.compile_warm_s, detail.graphs, detail.graph_breaks, detail.recompiles)
    assert found == (None, 5, None, None)
    detail = analyse([record(COMPILED, *timed([1.0] * 6)), checked]).rows[0].detail
    assert (detail.compile_warm_s, detail.graphs, detail.graph_breaks, detail.recompiles) == (3.0, 2, 1, 0)


def test_eager_shows_its_own_error_where_there_is_one() -> None:
    report = analyse([record(EAGER, *timed([1.0] * 6)), record(at_side(EAGER, "numerics"), *numerics(1e-7, 1e-6))])
    assert (report.rows[0].max_relative_error, report.rows[0].top1_agreement) == (1e-7, 31 / 32)


@pytest.mark.parametrize(("device_s", "share"), [(0.25, 0.75), (1.5, 0.0)])
def test_the_launch_bound_share_is_what_the_device_did_not_work(device_s: float, share: float) -> None:
    device = Measurement(quantity="device_s", samples=(device_s,) * 12, blocks=TWELVE)
    detail = analyse([record(EAGER, *timed([1.0] * 12), device)]).rows[0].detail
    assert (detail.device_s, detail.launch_bound_share) == (device_s, share)


def test_outliers_are_counted_and_kept_but_voided_are_dropped() -> None:
    latency, sample = timed([1.0, 1.01, 0.99, 1.0, 1.02, 0.99, 1.0, 1.01, 9.0, 9.0])
    rejected = Measurement(quantity="latency_s", samples=latency.samples, blocks=latency.blocks, rejected=(9,))
    steal = Measurement(quantity="steal_share", samples=(0.0,) * 9 + (0.5,), blocks=latency.blocks)
    row = analyse([record(EAGER, rejected, sample, steal)]).rows[0]
    assert (row.samples, row.detail.outliers, row.detail.rejected) == (9, 1, 1)
    assert row.throughput_img_per_s == pytest.approx(9 / (1.25 * 10 * 17.02) * 10)
    assert analyse([record(EAGER, latency, sample)]).rows[0].detail.rejected is None
