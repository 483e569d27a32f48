"""`cnnbench list`: list the names that other commands take, without importing torch or pandas."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import click

from cnnbench.app.option_types import TABLE_FORMATS
from cnnbench.data.dataset import Counts
from cnnbench.report.text.listing import render

Table = tuple[tuple[str, ...], list[tuple[object, ...]]]


def _models() -> Table:
    from cnnbench.models import list_models

    found = list_models()
    # A plugin that fails costs a warning, not the list of the other models.
    for plugin, problem in found.problems.items():
        click.echo(f"Warning: plugin '{plugin}': {problem}", err=True)
    headers = ("name", "family", "input", "classes", "params", "macs", "source")
    return headers, [
        (s.name, s.family, "x".join(map(str, s.input_shape)), s.classes, s.params, s.macs, s.source)
        for s in found.specs
    ]


def _variants() -> Table:
    from cnnbench.variants import VARIANTS

    return ("name", "devices", "meaning"), [(r.name, " ".join(r.devices), r.meaning) for r in VARIANTS.values()]


def _datasets() -> Table:
    from cnnbench.data import DATASETS

    headers = ("name", "classes", "shape", "train", "validation", "test", "description")
    return headers, [
        (d.name, d.classes, "x".join(map(str, d.shape)), *_counts(d.counts), d.description) for d in DATASETS.values()
    ]


def _counts(counts: Counts | None) -> tuple[int | None, ...]:
    return (None, None, None) if counts is None else (counts.train, counts.val, counts.test)


def _plans() -> Table:
    from cnnbench.plans import list_plans, read_plan

    read = {name: read_plan(path) for name, path in list_plans().items()}
    return ("name", "budget", "description"), [(name, p.budget, p.description) for name, p in read.items()]


def _quantities() -> Table:
    from cnnbench.quantities import QUANTITIES

    headers = ("name", "unit", "better", "meaning")
    return headers, [(q.name, q.unit, q.better, q.meaning) for q in QUANTITIES.values()]


_KINDS: Mapping[str, Callable[[], Table]] = MappingProxyType(
    {"models": _models, "variants": _variants, "datasets": _datasets, "plans": _plans, "quantities": _quantities}
)


@click.command("list")
@click.argument("kind", type=click.Choice(list(_KINDS)), default="models")
@click.option("--format", "output_format", type=click.Choice(TABLE_FORMATS), default="table", help="Output format.")
def command(kind: str, output_format: str) -> int:
    """List the models (default), variants, datasets, plans or quantities.

    Other models are torchvision:NAME, timm:NAME (if timm is installed) and FILE.py:FACTORY.

    \b
    Examples:
      cnnbench list
      cnnbench list variants
      cnnbench list models --format csv > models.csv
    """  # noqa: D301  # click's mark for a paragraph that keeps its lines
    headers, rows = _KINDS[kind]()
    click.echo(render(headers, rows, output_format))
    return 0
