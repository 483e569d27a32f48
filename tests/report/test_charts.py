"""Charts: which there are, what they are drawn from, and that names in them are harmless."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from cnnbench.analysis import Report, analyse
from cnnbench.record import Record
from cnnbench.report.charts import Chart, charts
from cnnbench.report.charts import latencies as module
from cnnbench.report.charts.parts import names_of
from cnnbench.report.charts.speedups import _ticks
from tests.factories import (
    COST,
    LAST,
    beside,
    case,
    ceilings,
    control_workload,
    counted,
    in_rounds,
    judged,
    record,
    whole_run,
)

EVIL = "<script>alert(1)</script>"


def of(report: Report) -> dict[str, Chart]:
    return {chart.name: chart for chart in charts(report)}


def drawn(chart: Chart) -> list[tuple[str, list[int]]]:
    """Return the name of each trace with points to click on, and the rows behind them."""
    data = chart.figure["data"]
    return [
        (trace.get("name", ""), list(dict.fromkeys(trace["customdata"]))) for trace in data if "customdata" in trace
    ]


def compared(names: tuple[str, ...] = ("a", "b"), **more: object) -> list[Record]:
    items: list[Record] = [ceilings()]
    for at, name in enumerate(names):
        items += [
            counted(name, params=1000 * (at + 1), macs=10**8, cost=COST),
            judged(name, 90 + at % 10, 100),
            *in_rounds(case(name), 0.02 * (1 + at)),
            *in_rounds(case(name, LAST), 0.01 * (1 + at), (1.001, 0.998, 1.0, 1.004)),
            *in_rounds(beside(case(name), "aa_control"), 0.02 * (1 + at), (0.999, 1.006, 0.997, 1.002)),
            record(beside(case(name), "control_workload"), *control_workload()),
        ]
    return items


def test_every_chart_is_of_the_rows_of_the_table() -> None:
    report = analyse(compared())
    found = of(report)
    assert list(found) == ["accuracy-cpu-1", "speedups", "latencies", "roofline"]
    assert drawn(found["accuracy-cpu-1"]) == [("eager", [0, 2]), ("channels_last", [1, 3])]
    assert drawn(found["speedups"]) == [("FASTER", [1, 3])]
    assert drawn(found["latencies"]) == [("", [0, 1, 2, 3])]
    assert sorted(at for _, rows in drawn(found["roofline"]) for at in rows) == [0, 1, 2, 3]


def test_points_and_bars_are_the_rows_numbers() -> None:
    report = analyse(compared())
    row = report.rows[0]
    assert row.latency_s is not None
    assert row.latency_low_s is not None
    assert row.latency_high_s is not None
    trace = of(report)["accuracy-cpu-1"].figure["data"][1]
    assert trace["x"][0] == pytest.approx(1e3 * row.latency_s)
    assert trace["y"][0] == pytest.approx(90.0)
    assert trace["error_x"]["array"][0] == pytest.approx(1e3 * (row.latency_high_s - row.latency_s))
    assert trace["error_x"]["arrayminus"][0] == pytest.approx(1e3 * (row.latency_s - row.latency_low_s))
    assert trace["marker"]["size"] == [
        pytest.approx(9 + 25 * 0.5**0.5, abs=0.06),  # areas grow with the parameters, of which b has twice as many
        34.0,
    ]


def test_all_samples_are_drawn_and_of_many_rows_their_quantiles(monkeypatch: pytest.MonkeyPatch) -> None:
    report = analyse(compared())
    (trace,) = of(report)["latencies"].figure["data"]
    assert sorted(trace["x"]) == pytest.approx(
        sorted(1e3 * value for row in report.rows for value in row.detail.latencies_s)
    )
    assert trace["boxpoints"] == "all"
    monkeypatch.setattr(module, "MOST_DRAWN", 3)
    chart = of(report)["latencies"]
    (trace,) = chart.figure["data"]
    assert "x" not in trace
    assert trace["y"] == ["a eager", "a channels_last", "b eager"]
    assert trace["median"][0] == pytest.approx(1e3 * (report.rows[0].latency_s or 0), rel=1e-2)
    assert trace["lowerfence"] < trace["q1"] < trace["median"] < trace["q3"] < trace["upperfence"]
    assert chart.caption.startswith("The first 3 of 4 rows. ")


def test_names_are_text_and_different_from_each_other() -> None:
    report = analyse(compared((EVIL, "b")))
    text = json.dumps([chart.figure for chart in charts(report)])
    assert "<script" not in text
    assert "&lt;script&gt;alert(1)&lt;/script&gt; eager" in text
    rows = [(0, report.rows[0]), (1, report.rows[0]), (2, replace(report.rows[0], batch_size=8))]
    assert list(names_of(rows).values()) == ["eager batch 1", "eager batch 1 (2)", "eager batch 8"]


def test_without_times_there_are_no_charts() -> None:
    assert charts(analyse([counted("a", params=1, macs=1), judged("b", 1, 2)])) == []


def test_the_whole_run_has_charts_that_json_can_hold() -> None:
    for chart in charts(analyse(whole_run())):
        json.dumps(chart.figure, allow_nan=False)
        assert chart.title
        assert chart.caption.endswith(".")


@pytest.mark.parametrize(
    ("low", "high", "marks"),
    [
        (0.97, 1.06, [1, 1.05]),
        (0.6, 1.9, [0.7, 0.8, 0.9, 1, 1.1, 1.2, 1.5]),
        (0.05, 20.0, [0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20]),
    ],
)
def test_marks_of_ratios_are_few(low: float, high: float, marks: list[float]) -> None:
    assert _ticks(low, high)["tickvals"] == marks
