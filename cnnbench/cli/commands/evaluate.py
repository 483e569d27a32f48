"""`cnnbench evaluate`: test a checkpoint."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

import click

from cnnbench import checkpoint as checkpoints
from cnnbench import data, machine, models, stats
from cnnbench.analysis.training_curves import moved as by_direction
from cnnbench.app.option_types import DURATION, Words, data_dir_option
from cnnbench.app.progress import display
from cnnbench.checkpoint import CheckpointInfo
from cnnbench.orchestrator.training import test_weights
from cnnbench.quantities import DIRECTIONS, show
from cnnbench.record import Record
from cnnbench.report.text.listing import render
from cnnbench.spec import EXIT_FAILED, Budget, RecipeName, Request, Section, UsageError
from cnnbench.variants import parse_variant, split_variants

# Longest wait for a progress message of a test, in seconds. A message comes with every batch.
ANSWER_S = 600.0


@click.command("evaluate", no_args_is_help=True)
@click.argument("checkpoint", type=click.Path(path_type=Path))
@click.option(
    "--model", metavar="FILE.py:FACTORY", help="Your model, if the checkpoint is of one. Only you can say what to run."
)
@click.option("--dataset", help="Dataset to test on.  [default: the one it was trained on]")
@data_dir_option
@click.option(
    "--split",
    "part",
    type=click.Choice(["train", "val", "test"]),
    default="test",
    show_default=True,
    help="Part of the dataset to test on.",
)
@click.option("--variants", type=Words(), default="eager", help="Such as eager,amp,channels_last.  [default: eager]")
@click.option("--shift", type=click.IntRange(1), help="Also test with all images moved by 1 to this many pixels.")
@click.option("--timeout", type=DURATION, default=ANSWER_S, help="Longest wait for an answer.  [default: 10m]")
@click.option("--device", type=click.Choice(["cpu", "cuda"]), default="cpu", show_default=True, help="Where to test.")
@click.option(
    "--format", "output_format", type=click.Choice(("table", "csv", "json")), default="table", help="Output format."
)
def command(
    checkpoint: Path,
    *,
    model: str | None,
    dataset: str | None,
    data_dir: str | None,
    part: Literal["train", "val", "test"],
    variants: tuple[str, ...],
    shift: int | None,
    timeout: float,
    device: Literal["cpu", "cuda"],
    output_format: str,
) -> int:
    """Test a checkpoint: top-1 and top-5 with 95 % intervals, accuracy by class, and a confusion matrix.

    The calibration error says how far confidence is from accuracy: 0.05 is five points on average. Under more than one
    variant, 'agreement' is the share of images that get the same class as under eager. With --shift, the model
    is also tested on images moved right, left, down and up. Pixels that this uncovers are black.

    \b
    Examples:
      cnnbench evaluate results/latest/lenet-seed0.safetensors
      cnnbench evaluate lenet-seed0.safetensors --variants eager,amp --format json
      cnnbench evaluate simple_cnn-seed0.safetensors --shift 4
      cnnbench evaluate build-seed0.safetensors --model ./my_model.py:build
    """  # noqa: D301  # click's mark for a paragraph that keeps its lines
    info = checkpoints.load(checkpoint)
    if model is None:
        models.check_name_in_file(info.model, checkpoint, "give it with --model FILE.py:FACTORY.")
    else:
        models.check_name(model)
        info = replace(info, model=model)
    name = dataset or info.dataset
    if name is None:
        raise UsageError(f"{checkpoint} does not say what it was trained on. Give --dataset.")

    # A missing dataset ends the command here, before a worker starts.
    data.locate(data.find(name), data.places(data_dir))

    # `split_variants` puts eager first, which `agreement` compares the others with.
    threads = machine.default_threads()
    chosen = [parse_variant(v, device=device, threads=threads) for v in split_variants(variants)]
    request = replace(
        evaluation_request(checkpoint, info, name, data_dir=data_dir),
        device=device,
        budget=Budget(total_s=timeout, timeout_s=timeout),
    )

    with display() as shown:
        records = list(test_weights(request, chosen, part, shift=shift or 0, on_progress=shown.on_progress))

    click.echo(_text(records, output_format))
    return 0 if all(r.status == "ok" for r in records) else EXIT_FAILED


def recipe_name_of(info: CheckpointInfo) -> RecipeName:
    """Return the recipe that builds a checkpoint's model: `as-published` its own, `fast` the same as `tutorial`."""
    return "as-published" if info.recipe_name == "as-published" else "tutorial"


def evaluation_request(checkpoint: Path, info: CheckpointInfo, dataset: str, *, data_dir: str | None) -> Request:
    """Return the request that tests a checkpoint on a dataset, on the CPU."""
    return Request(
        title="evaluate",
        sections=(Section(models=(info.model,), variants=("eager",)),),
        accuracy=dataset,
        recipe=recipe_name_of(info),
        data_dir=data_dir,
        weights=str(checkpoint),
        input_shape=info.input_shape,
        budget=Budget(total_s=ANSWER_S, timeout_s=ANSWER_S),
    )


_HEADERS = (
    *("variant", "status", "tested", "top1", "top1_low", "top1_high", "top5", "top5_low", "top5_high"),
    *("calibration_error", "agreement", "error"),
)


def _row(record: Record, first: Record) -> tuple[object, ...]:
    if record.status != "ok":
        return (record.case.variant.name, record.status, *[None] * 9, record.error)
    tested = round(record.samples("tested")[0])
    top1 = stats.wilson_interval(round(record.samples("correct")[0]), tested)
    five = record.samples("top5_correct")
    top5 = stats.wilson_interval(round(five[0]), tested) if five else None
    last = (top5.center, top5.low, top5.high) if top5 else (None, None, None)
    calibration = record.samples("calibration_error")[0]
    shares = (top1.center, top1.low, top1.high, *last, calibration, agreement(record, first))
    return (record.case.variant.name, "ok", tested, *shares, None)


def agreement(record: Record, first: Record) -> float | None:
    """Return the share of images that get the same class from both; None for `first` itself or if one failed."""
    one, other = first.samples("predicted"), record.samples("predicted")
    if record is first or not one or len(one) != len(other):
        return None
    return sum(a == b for a, b in zip(one, other, strict=True)) / len(one)


def moved(record: Record) -> list[tuple[int, tuple[float, ...]]]:
    """Return for each number of pixels the shares of images classified correctly if moved right, left, down, up."""
    columns = [one.shares for one in by_direction(record)]
    return [
        (pixels, tuple(share.center for share in shares))
        for pixels, shares in enumerate(zip(*columns, strict=True))
        if pixels
    ]


def confusion(record: Record) -> list[list[int]]:
    """Return the table with a row for each class and a column for each predicted class.

    If the model has outputs beyond the dataset's classes, one more column counts them.
    """
    classes = len(record.samples("class_total"))
    flat = [round(n) for n in record.samples("confusion")]
    width = len(flat) // classes
    return [flat[k : k + width] for k in range(0, len(flat), width)]


def _text(records: Sequence[Record], output_format: str) -> str:
    rows = [_row(record, records[0]) for record in records]

    # JSON has the additional tables for every variant, with plain numbers.
    if output_format == "json":
        tables = [dict(zip(_HEADERS, row, strict=True)) for row in rows]
        for table, record in zip(tables, records, strict=True):
            if record.status == "ok":
                table["by_class"] = [record.samples("class_correct"), record.samples("class_total")]
                table["confusion"] = confusion(record)
                table["moved"] = {
                    pixels: dict(zip(DIRECTIONS, shares, strict=True)) for pixels, shares in moved(record)
                }
        return json.dumps(tables, indent=2)

    if output_format == "csv":
        return render(_HEADERS, rows, "csv")

    # The text has them for eager only, which is the first variant.
    shown = [tuple(show(v, "share") if isinstance(v, float) else v for v in row) for row in rows]
    good = [record for record in records[:1] if record.status == "ok"]
    return "\n\n".join([render(_HEADERS, shown, "table"), *map(_classes, good), *filter(None, map(_shift_table, good))])


def _shift_table(record: Record) -> str:
    rows = [(pixels, *(show(share, "share") for share in shares)) for pixels, shares in moved(record)]
    if not rows:
        return ""
    return f"Accuracy with all images moved by this many pixels:\n{render(('pixels', *DIRECTIONS), rows, 'table')}"


def _classes(record: Record) -> str:
    correct, total = record.samples("class_correct"), record.samples("class_total")
    table = confusion(record)
    headers = ("class", "correct", *(f"as {k}" for k in range(len(table[0]))))
    rows = [(str(k), f"{correct[k]:.0f}/{total[k]:.0f}", *row) for k, row in enumerate(table)]
    return f"By class under {record.case.variant.name}:\n{render(headers, rows, 'table')}"
