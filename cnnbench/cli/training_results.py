"""What `cnnbench train` shows and writes of its trainings: a table, and their curves by epoch and by step."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from itertools import zip_longest
from pathlib import Path

from cnnbench import stats
from cnnbench.quantity import BY_EPOCH, BY_STEP, show, show_range
from cnnbench.record import Record
from cnnbench.report.text.listing import render


def checkpoint_path(folder: Path, model: str, seed: int) -> Path:
    """Return the file of the weights that a training with `seed` gave."""
    return folder / f"{Path(model).name.replace(':', '-')}-seed{seed}.safetensors"


def curves_text(records: Sequence[Record]) -> str:
    """Return what was seen in every epoch of every training as CSV."""
    # records of earlier versions have fewer quantities
    rows = [
        (record.case.seed, epoch, *values)
        for record in records
        for epoch, values in enumerate(zip_longest(*(record.samples(q) for q in BY_EPOCH)), start=1)
    ]
    return render(("seed", "epoch", *BY_EPOCH), rows, "csv") + "\n"


def steps_text(records: Sequence[Record]) -> str:
    """Return what was seen within the epochs of every training as CSV."""
    rows = [
        (record.case.seed, round(step), *values)
        for record in records
        for step, *values in zip(*(record.samples(f"step_{name}") for name in BY_STEP), strict=True)
    ]
    return render(("seed", *BY_STEP), rows, "csv") + "\n"


def table_text(records: Sequence[Record], folder: Path, output_format: str) -> str:
    """Return a row a training, for a table also the mean over the seeds, errors and notes."""
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

    shown = [(*row[:3], *(_shown(h, v) for h, v in zip(headers[3:9], row[3:9], strict=True)), row[9]) for row in rows]
    text = render(headers, shown, "table")
    tops = [top[0] for record in records if (top := record.samples("top1"))]

    if len(tops) > 1:
        mean = stats.t_interval(tops)
        text += f"\n\ntop-1 over {len(tops)} seeds: mean {show_range(mean.center, mean.low, mean.high, 'share')}, "
        text += f"standard deviation {100 * statistics.stdev(tops):.1f} %"

    errors = [f"seed {record.case.seed}: {record.error}" for record in records if record.error]
    notes = list(dict.fromkeys(note for record in records for note in record.notes))
    return "\n".join([text, "", *errors, *notes]).rstrip()


def _shown(header: str, value: object) -> str | None:
    if not isinstance(value, float):
        return None
    if "top1" in header:
        return show(value, "share")
    return show(value, "seconds" if header.endswith("_s") else "number")


def _row(record: Record, folder: Path) -> tuple[object, ...]:
    losses, tops = record.samples("train_loss"), record.samples("val_top1")
    if record.status != "ok":
        return (record.case.seed, record.status, None, *[None] * 6, None)

    test = stats.wilson(round(record.samples("correct")[0]), round(record.samples("tested")[0]))
    file = checkpoint_path(folder, record.case.model, record.case.seed)
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
