"""Compare the figures that tutorials print with measured ones, with a verdict and a reason for each."""

from __future__ import annotations

import math
import re
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from cnnbench.record import Layer, Record
from cnnbench.spec import ModelSpec, Published, Recipe
from cnnbench.stats import prediction_interval

Verdict = Literal["reproduced", "differs", "not run"]

# Suffix of the name of a figure that was printed after the epochs in which all layers are trained.
UNFROZEN = "_unfrozen"

# Suffix of the name of a figure that a page prints for images of 244x244 instead of the model's own size.
OTHER_SIZE = "_244"

# Figures that follow from training by the recipe: all by epoch, except for `test_top1`.
TRAINED = ("train_loss", "val_loss", "train_top1", "val_top1", "test_top1")

# Quantities whose name in records differs from that of the figure.
_QUANTITY = {"test_top1": "top1"}

# Smallest number of seeds that gives an interval.
FEWEST_SEEDS = 2

# Counted figures that pages print with two decimals; the others are whole numbers.
_TWO_DECIMALS = ("mult_adds_m", "mult_adds_g", "input_mb", "forward_mb", "params_mb", "total_mb")

# Pages print losses and accuracies with at least three decimals; 0.9 in the registry stands for 0.900.
_TRAINED_DECIMALS = 3

# Parts of a figure's note that change what it is compared with: a loss divided by the batch size, the first epoch
# alone, and the value on held-out images, on which the corrected recipe validates.
_DIVIDED = "divided by the batch once too often"
_FIRST_ONLY = "first epoch only"
_CALLED_VALIDATION = "called validation on the page, but on the training images"

# Parts of the names of figures that cannot be measured, with the reason.
_NOT_MEASURED = {
    "by_step": "running means within an epoch of the page's own 20,000 images",
    "first": "a first call outside the run by epochs is not made",
    "predicted_class": "needs the page's image and published weights",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Reproduced:
    """One printed figure, the measured value, and a verdict.

    `low` and `high` are the interval in which the printed value must lie. They are None for counted figures, which
    must match exactly, and for figures that were not run.
    """

    model: str
    quantity: str
    printed: str
    measured: str | None
    low: float | None
    high: float | None
    verdict: Verdict
    note: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Evidence:
    """What was measured of one model: counts at its own size and at 244x244, and trainings with several seeds.

    `missing` says why the model was not trained, if it was not.
    """

    counted: Record | None
    counted_other: Record | None
    trained: tuple[Record, ...]
    missing: str


def reproduce(specs: Iterable[ModelSpec], records: Sequence[Record], missing: Mapping[str, str]) -> list[Reproduced]:
    """Return a row for every figure that the tutorials of `specs` print.

    `missing` says why models were not trained, by name.
    """
    rows: list[Reproduced] = []
    for spec in specs:
        evidence = _evidence(spec, records, missing.get(spec.name, ""))
        for figure in spec.printed:
            rows += _rows(spec, figure, evidence)
    return rows


def _evidence(spec: ModelSpec, records: Sequence[Record], missing: str) -> Evidence:
    own = [record for record in records if record.case.model == spec.name and record.status == "ok"]
    # Of several records with the same shape or seed, the last one counts.
    counted = {r.case.input_shape: r for r in own if r.case.task == "complexity"}
    others = [record for shape, record in counted.items() if shape != spec.input_shape]
    trained = {record.case.seed: record for record in own if follows_page(spec, record)}

    return Evidence(
        counted=counted.get(spec.input_shape),
        counted_other=others[-1] if others else None,
        trained=tuple(trained.values()),
        missing=missing,
    )


def follows_page(spec: ModelSpec, record: Record) -> bool:
    """Return whether `record` is a full training of `spec` by the recipe of its tutorial, on the same dataset."""
    recipe, case = spec.recipe, record.case
    return (
        recipe is not None
        and record.status == "ok"
        and (case.model, case.task, case.dataset) == (spec.name, "accuracy", recipe.dataset)
        and case.recipe == "tutorial"
        and len(record.samples("train_loss")) == recipe.epochs + recipe.unfrozen_epochs
    )


def _rows(spec: ModelSpec, figure: Published, evidence: Evidence) -> list[Reproduced]:
    base = figure.quantity.removesuffix(OTHER_SIZE)
    if base in _COUNTED:
        record = evidence.counted if base == figure.quantity else evidence.counted_other
        return [_counted_row(spec, figure, base, record)]
    if base.removesuffix(UNFROZEN) in TRAINED and spec.recipe is not None:
        return _trained_rows(spec, figure, spec.recipe, evidence)
    why = next((reason for part, reason in _NOT_MEASURED.items() if part in figure.quantity), "nothing measures it")
    return [_not_run_row(spec, figure.quantity, _words(figure.values, None), why)]


# Figures of the model as it is written


def _first_value(record: Record, quantity: str) -> float:
    return record.samples(quantity)[0] if record.samples(quantity) else math.nan


def _megabytes(record: Record, *quantities: str) -> tuple[float]:
    return (sum(_first_value(record, quantity) for quantity in quantities) * 1e-6,)


def _shapes(layers: Iterable[Layer], kinds: str) -> tuple[float, ...]:
    return tuple(float(n) for layer in layers if layer.kind in kinds.split() for n in layer.output_shape[1:])


def _blocks(record: Record) -> Mapping[str, list[Layer]]:
    """Return the layers by block: the child of `features` that contains them, or the classifier."""
    found: dict[str, list[Layer]] = {}
    for layer in record.layers:
        found.setdefault(".".join(layer.name.split(".")[:2]), []).append(layer)
    return found


_SIZES = ("torchinfo_input_bytes", "torchinfo_output_bytes", "torchinfo_param_bytes")

# Figures that follow from a model as it is written: how to read each from a complexity record, given the note.
_COUNTED: Mapping[str, Callable[[Record, str], tuple[float, ...]]] = {
    "params": lambda r, _: (_first_value(r, "params"),),
    "trainable_params": lambda r, _: (_first_value(r, "trainable_params"),),
    "non_trainable_params": lambda r, _: (_first_value(r, "params") - _first_value(r, "trainable_params"),),
    "mult_adds_m": lambda r, _: (_first_value(r, "macs_torchinfo") * 1e-6,),
    "mult_adds_g": lambda r, _: (_first_value(r, "macs_torchinfo") * 1e-9,),
    "input_mb": lambda r, _: _megabytes(r, _SIZES[0]),
    "forward_mb": lambda r, _: _megabytes(r, _SIZES[1]),
    "params_mb": lambda r, _: _megabytes(r, _SIZES[2]),
    "total_mb": lambda r, _: _megabytes(r, *_SIZES),
    "layer_params": lambda r, _: tuple(float(layer.params) for layer in r.layers if layer.params),
    "layer_shapes": lambda r, note: _shapes(r.layers, note),
    "block_params": lambda r, _: tuple(float(sum(x.params for x in layers)) for layers in _blocks(r).values()),
    "block_shapes": lambda r, _: tuple(float(n) for layers in _blocks(r).values() for n in layers[-1].output_shape[1:]),
}


def _counted_row(spec: ModelSpec, figure: Published, base: str, record: Record | None) -> Reproduced:
    decimals = 2 if base in _TWO_DECIMALS else 0
    printed = _words(figure.values, decimals)
    if record is None:
        return _not_run_row(spec, figure.quantity, printed, "the model was not counted")

    # Pages print rounded values, so round the same way and then require equality.
    found = tuple(round(value, decimals) for value in _COUNTED[base](record, figure.note))
    same = found == figure.values
    # The note of a whole number may be a list of layer types, which is no remark for a reader.
    note = figure.note if decimals else ""
    if not same:
        note = _reason(spec, figure)

    return Reproduced(
        model=spec.name,
        quantity=figure.quantity,
        printed=printed,
        measured=_words(found, decimals),
        low=None,
        high=None,
        verdict="reproduced" if same else "differs",
        note=note,
    )


def _reason(spec: ModelSpec, figure: Published) -> str:
    """Return the erratum that mentions the figure, or else the note beside it."""
    if len(figure.values) > 1:
        return figure.note
    # The number must stand alone: 12 is neither in 12.5 nor in 112.
    words = "|".join(re.escape(word) for word in (f"{figure.values[0]:g}", f"{figure.values[0]:.2f}"))
    whole = re.compile(rf"(?<![\d.,])(?:{words})(?![\d]|[.,]\d)")
    found = next((e for e in spec.errata if whole.search(e.mistake)), None)
    return f"erratum ({found.where}): {found.mistake}" if found else figure.note


# Figures of training


def _trained_rows(spec: ModelSpec, figure: Published, recipe: Recipe, evidence: Evidence) -> list[Reproduced]:
    base = figure.quantity.removesuffix(UNFROZEN)
    # A single value is that of the last epoch. For the test and after unfreezing this is the last of all, else the last
    # one before unfreezing.
    last = -1 if base != figure.quantity or base in _QUANTITY else recipe.epochs - 1
    several = len(figure.values) > 1 or _FIRST_ONLY in figure.note
    rows = []

    for at, printed in enumerate(figure.values):
        name = f"{figure.quantity} epoch {at + 1}" if several else figure.quantity
        decimals = max(_TRAINED_DECIMALS, _decimals(printed))
        # Repeat the mistake of the page on the measured loss, rather than correct the printed one.
        scale = 1 / recipe.batch_size if _DIVIDED in figure.note else 1.0
        place = at if several else last
        measured = base.replace("train_", "val_") if _CALLED_VALIDATION in figure.note else _QUANTITY.get(base, base)
        values = [r.samples(measured)[place] * scale for r in evidence.trained]
        rows.append(_trained_row(spec, name, printed, decimals, values, figure.note, evidence))

    return rows


def _trained_row(
    spec: ModelSpec, name: str, printed: float, decimals: int, values: list[float], note: str, evidence: Evidence
) -> Reproduced:
    shown = f"{printed:.{decimals}f}"
    if not values:
        return _not_run_row(spec, name, shown, evidence.missing or "it was not trained")

    # One more decimal than printed shows on which side of the printed value the mean lies.
    mean = statistics.fmean(values)
    if len(values) < FEWEST_SEEDS:
        row = _not_run_row(spec, name, shown, "one seed gives no interval: use --seeds 3")
        return replace(row, measured=f"{mean:.{decimals + 1}f}")

    low, high = prediction_interval(values)
    # The printed value is rounded, so the true one may be half a digit off to either side.
    half_digit = 0.5 * 10.0**-decimals
    inside = low - half_digit <= printed <= high + half_digit
    images = round(evidence.trained[0].samples("trained")[0])
    about = "; ".join(filter(None, (note, f"{len(values)} seeds on {images:,} images")))

    return Reproduced(
        model=spec.name,
        quantity=name,
        printed=shown,
        measured=f"{mean:.{decimals + 1}f}",
        low=low - half_digit,
        high=high + half_digit,
        verdict="reproduced" if inside else "differs",
        note="; ".join([about, *evidence.trained[0].notes[2:]]),
    )


def _decimals(value: float) -> int:
    return len(f"{value!r}".partition(".")[2])


def _not_run_row(spec: ModelSpec, quantity: str, printed: str, why: str) -> Reproduced:
    return Reproduced(
        model=spec.name,
        quantity=quantity,
        printed=printed,
        measured=None,
        low=None,
        high=None,
        verdict="not run",
        note=why,
    )


def _words(values: Sequence[float], decimals: int | None) -> str:
    return " ".join(f"{value:g}" if decimals is None else f"{value:.{decimals}f}" for value in values)
