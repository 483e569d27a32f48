"""Define the row of a report: its fields are the columns of `report.csv`, in order, with details behind them."""

from __future__ import annotations

from dataclasses import dataclass, fields

# Written to files for an infinite number of calls: compiling never pays.
NEVER = "never"

# Code of the warning that the outputs of a row are wrong, so that its speed is of no use.
NUMERICS_FAILED = "numerics_failed"


@dataclass(frozen=True, kw_only=True, slots=True)
class Detail:
    """What is behind the numbers of a row, but not in `report.csv`; SI units, None if not measured.

    `delta` is the smallest relative difference that counted. `blocks` is the number of blocks behind the speed-up.
    `together` is the number of rows that are compared with the same reference; their intervals all hold at once with
    95 %. `outliers` are samples beyond Tukey's fences, all of which count; `rejected` are samples that do not count.
    `break_even_high` is infinite if compiling may never pay. `roof_share` is the achieved FLOP/s over what peak and
    bandwidth together allow. `flops_per_byte` is the intensity; `peak_flop_per_s` and `bytes_per_s` are the roof.
    `latencies_s` are the samples behind the latency, without rejected ones, in the order in which they were taken.
    """

    delta: float | None = None
    blocks: int | None = None
    together: int | None = None
    outliers: int | None = None
    rejected: int | None = None
    break_even_low: float | None = None
    break_even_high: float | None = None
    compile_warm_s: float | None = None
    graphs: int | None = None
    graph_breaks: int | None = None
    recompiles: int | None = None
    device_s: float | None = None
    launch_bound_share: float | None = None
    reserved_memory_bytes: float | None = None
    flop_per_s: float | None = None
    roof_share: float | None = None
    flops_per_byte: float | None = None
    peak_flop_per_s: float | None = None
    bytes_per_s: float | None = None
    latencies_s: tuple[float, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One model, variant, device, batch and task; SI units (seconds, bytes, images a second), None if not measured.

    `reference` is `MODEL/VARIANT`. `speedup` is the time of the reference over the time of this row, so above 1 is
    faster. `verdict` is FASTER, SLOWER, SAME or NOT DISTINGUISHABLE. `break_even_calls` is infinite if compiling never
    pays. `warnings` are codes.
    """

    model: str
    variant: str | None = None
    device: str | None = None
    precision: str | None = None
    batch_size: int | None = None
    task: str | None = None
    input_shape: str | None = None
    classes: int | None = None
    dataset: str | None = None
    status: str
    params: int | None = None
    trainable_params: int | None = None
    macs: int | None = None
    top1: float | None = None
    top1_low: float | None = None
    top1_high: float | None = None
    latency_s: float | None = None
    latency_low_s: float | None = None
    latency_high_s: float | None = None
    latency_p95_s: float | None = None
    latency_p99_s: float | None = None
    throughput_img_per_s: float | None = None
    forward_s: float | None = None
    backward_s: float | None = None
    optimizer_s: float | None = None
    reference: str | None = None
    speedup: float | None = None
    speedup_low: float | None = None
    speedup_high: float | None = None
    verdict: str | None = None
    minimum_detectable_effect: float | None = None
    peak_memory_bytes: float | None = None
    compile_s: float | None = None
    break_even_calls: float | None = None
    peak_flops_utilisation: float | None = None
    bound_by: str | None = None
    max_relative_error: float | None = None
    top1_agreement: float | None = None
    samples: int | None = None
    rounds: int | None = None
    warnings: str | None = None
    error: str | None = None
    detail: Detail = Detail()

    @property
    def wrong(self) -> bool:
        """Return whether the outputs are known to be wrong, since they failed the numerical check."""
        return NUMERICS_FAILED in (self.warnings or "").split("; ")

    def label(self) -> str:
        """Return a short name of the row for use in sentences, without the parts that are not known."""
        batch = None if self.batch_size is None else f"batch {self.batch_size}"
        return " ".join(part for part in (self.model, self.variant, self.device, self.task, batch) if part)


# The columns of `report.csv`, in order.
COLUMNS = tuple(field.name for field in fields(Row) if field.name != "detail")
