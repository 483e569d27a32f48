"""`cnnbench run`: measure a named plan or a plan file."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import click

from cnnbench.app.prepare import budget
from cnnbench.cli.commands.compare import MeasuringOptions, execute, measuring_options
from cnnbench.plans import AUTO, PlanFile, find_plan, seconds
from cnnbench.spec import Request, Section


@click.command("run", no_args_is_help=True)
@click.argument("plan")
@measuring_options
def command(plan: str, **given: Any) -> int:
    """Measure a plan: a name from 'cnnbench list plans', or a TOML file. Options override what the plan says.

    \b
    Examples:
      cnnbench run quick
      cnnbench run full --dry-run
      cnnbench run quick --device cpu --budget 20m
    """  # noqa: D301  # click's mark for a paragraph that keeps its lines
    file, options = find_plan(plan), MeasuringOptions(**given)
    return execute(_override_request(_request(plan, file, options), options), options, lenient_accuracy=True)


def _request(name: str, file: PlanFile, options: MeasuringOptions) -> Request:
    # An automatic budget stays infinite here; `execute` replaces it with the expected time.
    total_s = options.budget or (math.inf if file.budget == AUTO else seconds(file.budget))
    timeout_s = options.timeout or (None if file.timeout is None else seconds(file.timeout))

    return Request(
        title=name.rpartition("/")[2].removesuffix(".toml"),
        sections=file.sections(),
        device=file.device,
        accuracy=file.accuracy,
        weights=file.weights,
        input_shape=file.input_shape,
        reference=file.reference,
        threads=file.threads,
        seed=file.seed,
        budget=budget(total_s, timeout_s),
        lenient=True,
    )


def _override_request(request: Request, options: MeasuringOptions) -> Request:
    plain = ("device", "accuracy", "data_dir", "weights", "input_shape", "reference", "threads", "seed")
    request = replace(request, **{n: value for n in plain if (value := getattr(options, n)) is not None})

    # The sections' own options apply to every section, and sections that become equal are measured once.
    parts = {name: value for name in ("variants", "batch_sizes", "tasks") if (value := getattr(options, name))}
    # An unsupported variant is a failure only if the user, and not the plan, names the variants.
    return replace(
        request,
        sections=tuple(dict.fromkeys(_part(section, parts) for section in request.sections)),
        lenient="variants" not in parts,
    )


def _part(section: Section, parts: dict[str, Any]) -> Section:
    return replace(section, **parts)
