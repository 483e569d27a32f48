"""`cnnbench describe`: show what is known of a model, and its layers, parameters and MACs."""

from __future__ import annotations

import json
from collections.abc import Iterator

import click

from cnnbench.app.option_types import SIZE
from cnnbench.models import MODELS, check_name
from cnnbench.models.sources import describe_source
from cnnbench.orchestrator.queries import count_model
from cnnbench.quantities import show
from cnnbench.record import Record
from cnnbench.report.text.listing import render
from cnnbench.spec import CnnbenchError, ModelSpec, Recipe

# Counters and their quantities. Elsewhere, cnnbench uses the MACs by torch.
COUNTERS = (("torch", "macs"), ("fvcore", "macs_fvcore"), ("torchinfo", "macs_torchinfo"))


@click.command("describe", no_args_is_help=True)
@click.argument("model")
@click.option("--input-size", type=SIZE, help="Size of the input, instead of the model's own: 224, 224x160, 1x28x28.")
@click.option("--format", "output_format", type=click.Choice(("table", "json")), default="table", help="Output format.")
def command(model: str, input_size: tuple[int, ...] | None, output_format: str) -> int:
    """Show a model's source, recipe and layers, and its parameters and MACs by three counters.

    MODEL is a built-in, torchvision:NAME, timm:NAME or FILE.py:FACTORY.

    \b
    Examples:
      cnnbench describe lenet
      cnnbench describe mobilenet_v2_transfer --input-size 244
      cnnbench describe ./my_model.py:grey --input-size 1x28x28
      cnnbench describe torchvision:resnet50 --format json
    """  # noqa: D301  # click's mark for a paragraph that keeps its lines
    check_name(model)
    record = count_model(model, input_size)
    if record.status != "ok":
        raise CnnbenchError(f"{model} cannot be counted: {record.error}")
    spec = MODELS.get(model)
    click.echo(_json_text(record, spec) if output_format == "json" else "\n".join(_text_lines(record, spec)))
    return 0


def _value(record: Record, quantity: str) -> int | None:
    found = record.find(quantity)
    return None if found is None else round(found.samples[0])


def _json_text(record: Record, spec: ModelSpec | None) -> str:
    layers = [
        {"name": x.name, "kind": x.kind, "output_shape": x.output_shape, "params": x.params, "macs": x.macs}
        for x in record.layers
    ]
    quantities = ("params", "trainable_params", "macs", "classes", "weight_bytes", "activation_bytes")

    # Only built-ins have a source, a recipe, deviations, printed figures and errata.
    known = {
        "name": record.case.model,
        "source": spec.source if spec else record.case.model,
        "input_shape": record.case.input_shape,
        **{q: _value(record, q) for q in quantities},
        "counters": {counter: _value(record, quantity) for counter, quantity in COUNTERS},
        "notes": record.notes,
        "layers": layers,
        "recipe": _recipe(spec.recipe) if spec and spec.recipe else None,
        "deviations": spec.deviations if spec else (),
        "printed": [{"quantity": p.quantity, "values": p.values, "note": p.note} for p in spec.printed] if spec else [],
        "errata": [{"where": e.where, "mistake": e.mistake, "corrected": e.corrected} for e in spec.errata]
        if spec
        else [],
    }
    return json.dumps(known, indent=2)


def _text_lines(record: Record, spec: ModelSpec | None) -> Iterator[str]:
    yield f"{record.case.model}: input {'x'.join(map(str, record.case.input_shape))}, batch 1"
    if spec is not None:
        yield from _story(spec)
    yield ""
    yield _layer_table(record)
    yield ""
    yield _totals(record)
    yield from ("", *record.notes)


def _story(spec: ModelSpec) -> Iterator[str]:
    yield f"Source: {describe_source(spec.source)}"
    if spec.recipe is not None:
        yield f"Recipe: {_recipe(spec.recipe)}"
    for deviation in spec.deviations:
        yield f"Deviation: {deviation}"
    for printed in spec.printed:
        values = ", ".join(f"{v:g}" if abs(v) < _EXACT_FROM else f"{v:,.0f}" for v in printed.values)
        yield f"Printed: {printed.quantity} {values}{f' ({printed.note})' if printed.note else ''}"
    for erratum in spec.errata:
        yield f"Erratum ({erratum.where}): {erratum.mistake}; corrected: {erratum.corrected}"


# Printed figures from here on are shown as whole numbers with separators.
_EXACT_FROM = 1000


def _recipe(recipe: Recipe) -> str:
    momentum = f" momentum {recipe.momentum:g}" if recipe.momentum else ""
    order = "shuffled" if recipe.shuffled else "not shuffled"
    once = ", features computed once" if recipe.cache_features else ""
    after = (
        f", then {recipe.unfrozen_epochs} with all layers at {recipe.unfrozen_rate}" if recipe.unfrozen_epochs else ""
    )
    return (
        f"{recipe.dataset}, {recipe.transform}; {recipe.loss}, {recipe.optimizer} {recipe.learning_rate:g}{momentum}, "
        f"batch {recipe.batch_size}, {recipe.epochs} epochs, {order}{once}{after}"
    )


def _layer_table(record: Record) -> str:
    # At least 1, because a model may have no parameters or no MACs, and both are divisors.
    params = max(1, sum(layer.params for layer in record.layers))
    macs = max(1, sum(layer.macs for layer in record.layers))

    rows = [
        (
            layer.name,
            layer.kind,
            "x".join(map(str, layer.output_shape)),
            layer.params,
            f"{100 * layer.params / params:.1f} %",
            layer.macs,
            f"{100 * layer.macs / macs:.1f} %",
        )
        for layer in record.layers
    ]
    return render(("layer", "kind", "output", "params", "share", "MACs", "share"), rows, "table")


def _totals(record: Record) -> str:
    rows: list[tuple[object, ...]] = [
        ("parameters", _value(record, "params")),
        ("trainable parameters", _value(record, "trainable_params")),
        *((f"MACs by {counter}", _value(record, quantity)) for counter, quantity in COUNTERS),
    ]
    sizes = [
        (words, _value(record, q)) for words, q in (("weights", "weight_bytes"), ("activations", "activation_bytes"))
    ]
    return render(("total", ""), [*rows, *((words, show(size, "bytes")) for words, size in sizes)], "table")
