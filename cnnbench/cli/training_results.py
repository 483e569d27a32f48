"""Show and write the results of trainings: a table, and curves by epoch and by step."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from itertools import zip_longest
from pathlib import Path

from cnnbench import stats
from cnnbench.quantities import BY_EPOCH, BY_STEP, show, show_range
from cnnbench.record import Record
from cnnbench.report.text.listing import render


def checkpoint_path(folder: Path, model: str, seed: int) -> Path:
    """Return the path of the weights that a training with `seed` saves."""
    return folder / f"{Path(model).name.replace(':', '-')}-seed{seed}.safetensors"


def curves_text(records: Sequence[Record]) -> str:
    """Return the measurements of every epoch of every training as CSV."""
    # Records of earlier versions have fewer quantities, whose columns stay empty.
    rows = [
        (record.case.seed, epoch, *values)
        for record in records
        for epoch, values in enumerate(zip_longest(*(record.samples(q) for q in BY_EPOCH)), start=1)
    ]
    return render(("seed", "epoch", *BY_EPOCH), rows, "csv") + "\n"


def steps_text(records: Sequence[Record]) -> str:
    """Return the measurements within the epochs of every training as CSV."""
    rows = [
        (record.case.seed, round(step), *values)
        for record in records
        for step, *values in zip(*(record.samples(f"step_{name}") for name in BY_STEP), strict=True)
    ]
    return render(("seed", *BY_STEP), rows, "csv") + "\n"


def table_text(records: Sequence[Record], folder: Path, output_format: str) -> str:
    """Return one row per training; a table also gets the mean over the seeds, the errors and the notes."""
    headers = (
        "seed",
        "status",
        "epochs",
        "train_loss",
        "val_top1",
        "top1",
        "top1_low",
        "top1_high",
        "train_s",
        "checkpoint",
    )

    rows = [_row(record, folder) for record in records]
    if output_format != "table":
        return render(headers, rows, output_format)

    # Columns 3 to 8 are numbers, which only people want rounded and with units.
    shown = [
        (*row[:3], *(_value_text(h, v) for h, v in zip(headers[3:9], row[3:9], strict=True)), row[9]) for row in rows
    ]
    text = render(headers, shown, "table")
    tops = [top[0] for record in records if (top := record.samples("top1"))]

    # A standard deviation needs at least two trainings that succeeded.
    if len(tops) > 1:
        mean = stats.t_interval(tops)
        text += f"\n\ntop-1 over {len(tops)} seeds: mean {show_range(mean.center, mean.low, mean.high, 'share')}, "
        text += f"standard deviation {100 * statistics.stdev(tops):.1f} %"

    # Seeds share most notes, so each note is printed once.
    errors = [f"seed {record.case.seed}: {record.error}" for record in records if record.error]
    notes = list(dict.fromkeys(note for record in records for note in record.notes))
    return "\n".join([text, "", *errors, *notes]).rstrip()


def _value_text(header: str, value: object) -> str | None:
    if not isinstance(value, float):
        return None
    if "top1" in header:
        return show(value, "share")
    return show(value, "seconds" if header.endswith("_s") else "number")


def _row(record: Record, folder: Path) -> tuple[object, ...]:
    losses, tops = record.samples("train_loss"), record.samples("val_top1")

    # A failed training has no measurements; the table prints its error below the rows.
    if record.status != "ok":
        return (record.case.seed, record.status, None, *[None] * 6, None)

    test = stats.wilson_interval(round(record.samples("correct")[0]), round(record.samples("tested")[0]))
    file = checkpoint_path(folder, record.case.model, record.case.seed)
    # Training time includes the one pass that computes the features of a frozen part, if there was one.
    train_s = math.fsum((*record.samples("features_s"), *record.samples("epoch_s")))

    return (
        record.case.seed,
        "ok",
        len(losses),
        losses[-1],
        tops[-1],
        test.center,
        test.low,
        test.high,
        train_s,
        str(file),
    )
