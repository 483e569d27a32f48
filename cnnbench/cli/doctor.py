"""`cnnbench doctor`: what this machine is, what it does natively, and what is missing."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Literal

import click

from cnnbench import machine
from cnnbench.cli.options import COUNT, DURATION
from cnnbench.cli.tables import render
from cnnbench.models import check_name
from cnnbench.orchestrator.ask import Largest, environment_of, largest_batch
from cnnbench.quantity import show
from cnnbench.record import Environment
from cnnbench.spec import Device, UsageError
from cnnbench.variants import VARIANTS, parse_variant, support

LIBRARIES = ("torch", "torchvision", "torchinfo", "fvcore", "numpy", "scipy", "pandas", "scikit-learn", "timm")


@click.command("doctor")
@click.option("--model", help="Search as well the largest inference batch of this model that fits.")
@click.option("--device", type=click.Choice(["cpu", "cuda"]), default="cpu", show_default=True, help="For --model.")
@click.option("--largest", "limit", type=COUNT, default=1024, show_default=True, help="Largest batch to try.")
@click.option("--within", type=DURATION, default=30.0, help="No new trial after this time.  [default: 30s]")
@click.option("--format", "output_format", type=click.Choice(("table", "json")), default="table", help="How to print.")
def command(model: str | None, device: Literal["cpu", "cuda"], limit: int, within: float, output_format: str) -> int:
    """Show the machine: threads and limits, versions, which variants are native, emulated or missing, and why.

    \b
    Examples:
      cnnbench doctor
      cnnbench doctor --model resnet18 --largest 256
    """  # noqa: D301  # click's mark for a paragraph that keeps its lines
    if model is not None:
        check_name(model)
    if limit < 1:
        raise UsageError("--largest 0 leaves no batch to try. Give 1 or more.")
    environment = environment_of()
    found = None
    if model is not None:
        found = largest_batch(model, device, limit=limit, seconds=within, tell=lambda text: click.echo(text, err=True))
    if output_format == "json":
        click.echo(json.dumps(_known(environment, model, found), indent=2))
    else:
        click.echo("\n\n".join(_sections(environment, model, found)))
    return 0


def _machine(environment: Environment) -> list[tuple[str, object]]:
    quota = "none" if environment.cpu_quota is None else f"{environment.cpu_quota:g} cores"
    return [
        ("processor", f"{environment.cpu}, instructions {environment.cpu_capability}"),
        ("cores usable", str(environment.cores)),
        ("CPU quota", quota),
        ("threads of a cell", str(machine.default_threads())),
        ("memory", show(float(environment.memory_bytes), "bytes")),
        ("memory free", show(float(machine.free_memory_bytes()), "bytes")),
        ("CUDA device", environment.gpu or "none that torch sees"),
        ("CUDA, driver", f"{environment.cuda or '-'}, {environment.driver or '-'}"),
        ("C++ compiler", environment.compiler or "none"),
        ("system", environment.system),
        ("Python", environment.python),
        *((name, machine.version_of(name)) for name in LIBRARIES),
    ]


def _variants(environment: Environment) -> Iterator[tuple[str, str, str, str]]:
    devices: tuple[Device, ...] = ("cpu", "cuda")
    for device in devices:
        for name in VARIANTS:
            found = support(parse_variant(name, device=device, threads=1), device=device, environment=environment)
            if device in VARIANTS[name].devices:
                yield name, device, found.status, found.reason


def _sections(environment: Environment, model: str | None, found: Largest | None) -> Iterator[str]:
    yield render(("machine", ""), _machine(environment), "table")
    yield render(("variant", "device", "status", "why"), list(_variants(environment)), "table")
    if found is not None:
        yield f"{model}: {_largest_text(found)}"


def _largest_text(found: Largest) -> str:
    if found.batch_size == 0:
        return f"not even batch 1 runs: {found.reason}"
    if found.failed_at is None:
        return f"batch {found.batch_size} fits; nothing larger was tried"
    if found.failed_at == found.batch_size + 1:
        return f"largest batch that fits: {found.batch_size} (at {found.failed_at}: {found.reason})"
    return f"batch {found.batch_size} fits, {found.failed_at} does not: {found.reason}"


def _known(environment: Environment, model: str | None, found: Largest | None) -> dict[str, object]:
    import dataclasses

    names = ("variant", "device", "status", "why")
    return {
        "environment": dataclasses.asdict(environment),
        "threads": machine.default_threads(),
        "free_memory_bytes": machine.free_memory_bytes(),
        "variants": [dict(zip(names, row, strict=True)) for row in _variants(environment)],
        "largest_batch": None if found is None else {"model": model, **dataclasses.asdict(found)},
    }
