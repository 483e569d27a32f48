"""Columns that readers see: headings, the text of a cell, and what is shortened if a line is too long."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from cnnbench.analysis.row import NEVER, Row
from cnnbench.quantities import DASH, Shown, show, show_range
from cnnbench.text import one_line

# Most characters of a model's name if the table is too wide: enough for the name of a file and its class.
LONGEST_NAME = 24

# Mark of a row that has a warning.
WARNED = "(!)"


@dataclass(frozen=True, kw_only=True, slots=True)
class Brief:
    """A shorter text for the cells of a column, and what it lacks; columns with `late` are shortened last."""

    text: Callable[[Row], str]
    missing: str
    late: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Column:
    """A column for readers: its heading, the text of a row's cell, and whether it is right-aligned (numbers).

    `detail`: the column stands in the table of details. If a terminal is too narrow, the columns with the highest
    `spare` are left out first (0: never). The others then take their `brief` text.
    """

    heading: str
    text: Callable[[Row], str]
    field: str = ""  # the field of `Row` by which rows can be sorted
    right: bool = True
    folds: bool = False  # written once if it is the same in every row
    folds_over_none: bool = False  # also if some rows have none, because they hold under all conditions
    detail: bool = False
    spare: int = 0
    brief: Brief | None = None


def _word(field: str) -> Callable[[Row], str]:
    def text(row: Row) -> str:
        value = getattr(row, field)
        return DASH if value is None else one_line(str(value))

    return text


def _value(field: str, shown: Shown) -> Callable[[Row], str]:
    return lambda row: show(getattr(row, field), shown)


def _range(stem: str, unit: str, shown: Shown) -> Callable[[Row], str]:
    names = (f"{stem}{unit}", f"{stem}_low{unit}", f"{stem}_high{unit}")

    def text(row: Row) -> str:
        center, low, high = (getattr(row, name) for name in names)
        return show_range(center, low, high, shown)

    return text


def _speedup(row: Row) -> str:
    if row.latency_s is not None and row.reference == f"{row.model}/{row.variant}":
        return "reference"
    return show_range(row.speedup, row.speedup_low, row.speedup_high, "ratio")


def _end_of_model(row: Row) -> str:
    name = one_line(row.model)
    return name if len(name) <= LONGEST_NAME else f"...{name[3 - LONGEST_NAME :]}"


def _detail(field: str, shown: Shown) -> Callable[[Row], str]:
    return lambda row: show(getattr(row.detail, field), shown)


def _detail_word(field: str) -> Callable[[Row], str]:
    def text(row: Row) -> str:
        value = getattr(row.detail, field)
        return DASH if value is None else str(value)

    return text


def _status(row: Row) -> str:
    """Return the status, with a mark if the row has a warning."""
    return f"{row.status} {WARNED}" if row.warnings else row.status


def _brief_status(row: Row) -> str:
    """Return the status without the kind of a failure, which a line below the table gives."""
    if row.status != "ok":
        return "not ok"
    return _status(row)


def _break_even(row: Row) -> str:
    """Return the calls with their interval: "12,300 (10,100-15,800)", "from 10,100, perhaps never", "never"."""
    center, low, high = row.break_even_calls, row.detail.break_even_low, row.detail.break_even_high
    if center is None:
        return DASH
    # If even the low end is infinite, the centre alone says it: never.
    if low is None or high is None or not math.isfinite(low):
        return _calls(center)
    if math.isfinite(high):
        return f"{_calls(center)} ({_calls(low)}-{_calls(high)})"
    # The interval is open upwards: compiling may never pay.
    perhaps = f"from {_calls(low)}, perhaps never"
    return f"{_calls(center)} ({perhaps})" if math.isfinite(center) else perhaps


def _calls(calls: float) -> str:
    """Return a number of calls with three significant digits."""
    return f"{float(f'{calls:.3g}'):,.0f}" if math.isfinite(calls) else NEVER


# The columns of `report.csv` that readers see, in order.
COLUMNS_SHOWN = (
    Column(
        heading="Model",
        text=_word("model"),
        field="model",
        right=False,
        brief=Brief(text=_end_of_model, missing="starts of names"),
    ),
    Column(heading="Variant", text=_word("variant"), field="variant", right=False),
    Column(heading="Device", text=_word("device"), field="device", right=False, folds=True, folds_over_none=True),
    Column(
        heading="Precision", text=_word("precision"), field="precision", right=False, folds=True, detail=True, spare=10
    ),
    Column(heading="Batch", text=_word("batch_size"), field="batch_size", folds=True),
    Column(heading="Task", text=_word("task"), field="task", right=False, folds=True),
    Column(heading="Input", text=_word("input_shape"), field="input_shape", folds=True, detail=True, spare=13),
    Column(heading="Classes", text=_word("classes"), field="classes", folds=True, detail=True, spare=16),
    Column(heading="Data set", text=_word("dataset"), field="dataset", right=False, folds=True, spare=6),
    Column(heading="Top-1", text=_range("top1", "", "share"), field="top1", spare=2),
    Column(
        heading="Latency",
        text=_range("latency", "_s", "seconds"),
        field="latency_s",
        brief=Brief(text=_value("latency_s", "seconds"), missing="intervals of Latency", late=True),
    ),
    Column(heading="p95", text=_value("latency_p95_s", "seconds"), field="latency_p95_s", detail=True, spare=11),
    Column(heading="p99", text=_value("latency_p99_s", "seconds"), field="latency_p99_s", detail=True, spare=12),
    Column(heading="Images/s", text=_value("throughput_img_per_s", "rate"), field="throughput_img_per_s", spare=3),
    Column(heading="Speed-up", text=_speedup, field="speedup"),
    Column(heading="Verdict", text=_word("verdict"), field="verdict", right=False),
    Column(
        heading="MDE",
        text=_value("minimum_detectable_effect", "share"),
        field="minimum_detectable_effect",
        detail=True,
        spare=14,
    ),
    Column(heading="Forward", text=_value("forward_s", "seconds"), field="forward_s", detail=True, spare=7),
    Column(heading="Backward", text=_value("backward_s", "seconds"), field="backward_s", detail=True, spare=7),
    Column(heading="Optimiser", text=_value("optimizer_s", "seconds"), field="optimizer_s", detail=True, spare=7),
    Column(heading="Params", text=_value("params", "count"), field="params", spare=4),
    Column(heading="MACs", text=_value("macs", "count"), field="macs", spare=5),
    Column(
        heading="Peak memory",
        text=_value("peak_memory_bytes", "bytes"),
        field="peak_memory_bytes",
        detail=True,
        spare=8,
    ),
    Column(heading="Compile", text=_value("compile_s", "seconds"), field="compile_s", detail=True, spare=9),
    Column(heading="Break-even", text=_break_even, field="break_even_calls", detail=True, spare=15),
    Column(
        heading="Peak FLOP/s %",
        text=_value("peak_flops_utilisation", "share"),
        field="peak_flops_utilisation",
        detail=True,
        spare=15,
    ),
    Column(heading="Bound by", text=_word("bound_by"), field="bound_by", right=False, detail=True, spare=15),
    Column(
        heading="Error", text=_value("max_relative_error", "number"), field="max_relative_error", detail=True, spare=15
    ),
    Column(heading="Agreement", text=_value("top1_agreement", "share"), field="top1_agreement", detail=True, spare=15),
    Column(heading="Samples", text=_word("samples"), field="samples", detail=True, spare=17),
    Column(heading="Rounds", text=_word("rounds"), field="rounds", folds=True, detail=True, spare=18),
    Column(
        heading="Status",
        text=_status,
        field="status",
        right=False,
        folds=True,
        brief=Brief(text=_brief_status, missing="kinds of Status"),
    ),
)

# Columns of the table of details that are not in `report.csv`.
MORE_DETAILS = (
    Column(heading="Counts from", text=_detail("delta", "share"), detail=True),
    Column(heading="Blocks", text=_detail_word("blocks"), detail=True),
    Column(heading="Outliers", text=_detail_word("outliers"), detail=True),
    Column(heading="Rejected", text=_detail_word("rejected"), detail=True),
    Column(heading="Compile warm", text=_detail("compile_warm_s", "seconds"), detail=True),
    Column(heading="Graphs", text=_detail_word("graphs"), detail=True),
    Column(heading="Graph breaks", text=_detail_word("graph_breaks"), detail=True),
    Column(heading="Recompiles", text=_detail_word("recompiles"), detail=True),
    Column(heading="Device time", text=_detail("device_s", "seconds"), detail=True),
    Column(heading="Launch-bound", text=_detail("launch_bound_share", "share"), detail=True),
    Column(heading="FLOP/s", text=_detail("flop_per_s", "per_second"), detail=True),
    Column(heading="Roofline %", text=_detail("roof_share", "share"), detail=True),
    Column(heading="Reserved", text=_detail("reserved_memory_bytes", "bytes"), detail=True),
)
