"""Prepare a run: check the request, warn, plan, and show a dry run."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import click

from cnnbench import models
from cnnbench.analysis import COLUMNS
from cnnbench.app.progress import length_text
from cnnbench.machine import threads_of
from cnnbench.orchestrator.estimates import check_budget
from cnnbench.orchestrator.plan import Plan, canonical_reference, split_reference
from cnnbench.orchestrator.run import plan_only
from cnnbench.report.text.listing import render
from cnnbench.spec import Budget, Device, Request, UsageError, unknown_name
from cnnbench.text import number_of
from cnnbench.variants import parse_variant, split_variants

DEFAULT_BUDGET_S = 60.0

# The longest wait for the answer of one cell is a third of the budget, at least 10 s, and at most two minutes. The
# slowest built-in model answers within 10 s on a busy machine.
TIMEOUT_SHARE = 1 / 3
SHORTEST_TIMEOUT_S = 10.0
LONGEST_TIMEOUT_S = 120.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Options:
    """Options of a run beside its request: where its files go, how it is shown, and how it was called.

    `command` is kept in the records; `typed` is the command that the user can type again here, if it is another one.
    `delta` is the smallest relative difference that counts; None means the machine's default. `lenient_accuracy`: a
    model that cannot learn the dataset is not a failure, because a plan named the models.
    """

    command: str
    typed: str | None = None
    output: Path | None = None
    sort: str | None = None
    latency_max_s: float | None = None
    params_max: int | None = None
    delta: float | None = None
    lenient_accuracy: bool = False


def names_of(request: Request) -> tuple[str, ...]:
    """Return the models that `request` names, with the model of the reference, each once."""
    asked = [m for section in request.sections for m in section.models]
    if request.reference is not None:
        asked.append(split_reference(request.reference)[0])
    return tuple(dict.fromkeys(asked))


def canonical_request(request: Request) -> Request:
    """Return `request` with its reference spelt as in the records.

    Raises:
        UsageError: the reference's variant is unknown.
    """
    if request.reference is None:
        return request
    return replace(request, reference=canonical_reference(request.reference, device=_device(request)))


def _device(request: Request) -> Device:
    return "cuda" if request.device == "cuda" else "cpu"


def check(request: Request, options: Options) -> None:
    """Check everything that can be checked without torch, so that a mistake shows at once.

    Raises:
        CnnbenchError: a model, variant, dataset or column is unknown, or a file is missing or of the wrong kind.
    """
    for name in names_of(request):
        models.check_name(name)
    check_budget(request)

    # A variant is known or unknown whatever the number of threads, so 1 stands for any.
    for section in request.sections:
        for variant in split_variants(section.variants):
            if variant != "all":
                parse_variant(variant, device=_device(request), threads=1)

    # A missing dataset would otherwise show only when the first training starts.
    if request.accuracy is not None:
        from cnnbench import data

        data.locate(data.find(request.accuracy), data.places(request.data_dir))

    if options.sort is not None and options.sort not in COLUMNS:
        raise unknown_name("column", options.sort, COLUMNS)
    if request.weights not in ("none", "default") and not Path(request.weights).is_file():
        raise UsageError(f"There is no weight file '{request.weights}'. Give 'none', 'default' or the path of a file.")
    if options.output is not None:
        _check_folder(options.output)


def _check_folder(output: Path) -> None:
    # A folder cannot be made below a file, so all its parents are looked at.
    file = next((path for path in (output, *output.parents) if path.is_file()), None)
    if file is None and output.suffix != ".jsonl":
        return
    what = f"'{file}' is a file" if file else "it has the name of a record file"
    raise UsageError(f"Output '{output}' cannot be a folder: {what}. Give a folder for the records and reports.")


def tell_cut_threads(request: Request) -> None:
    """Print a note if `request` asks for more threads than this process may use."""
    threads = threads_of(request)
    if request.threads is not None and request.threads > threads:
        said = f"Note: using {threads} threads instead of {request.threads}, because only {threads} can be used here."
        click.echo(said, err=True)


def add_expected_budget(request: Request) -> Request:
    """Return `request` with the time that it is expected to take as its budget, and print that time."""
    _, expected_s = plan_only(request, names_of(request))
    click.echo(f"This plan takes about {length_text(expected_s)}. Ctrl-C keeps what is measured.", err=True)
    return replace(request, budget=replace(request.budget, total_s=float(round(expected_s))))


def show_dry_run(request: Request, output_format: str) -> None:
    """Print the cells that a run of `request` would measure, and how long it may take.

    With `csv` and `json`, which programs read, standard output holds only the cells. The time is on standard error.
    """
    plan, seconds = plan_only(request, names_of(request))
    total = f"{_total(plan)}; takes about {length_text(seconds)}. Nothing was measured."
    if output_format in ("csv", "json"):
        click.echo(render(_HEADERS, _cell_rows(plan), output_format))
        click.echo(total, err=True)
        return

    # Unlike in `render`, a missing note is an empty cell, and every column is left-aligned text.
    from tabulate import tabulate

    style = "github" if output_format == "markdown" else "simple"
    rows = [(*row[:4], str(row[4]), row[5] or "") for row in _cell_rows(plan)]
    click.echo(f"{tabulate(rows, headers=_HEADERS, tablefmt=style, disable_numparse=True)}\n\n{total}")


_HEADERS = ("model", "variant", "device", "task", "batch", "note")


def _total(plan: Plan) -> str:
    trained = len(plan.accuracy)
    # Controls and other work beside the cells are not counted.
    cells = sum(case.role == "timed" for group in plan.groups for case in group.cases)
    measured = number_of(cells, "cell")
    return f"{measured}, {number_of(trained, 'training')} on {plan.request.accuracy}" if trained else measured


def _cell_rows(plan: Plan) -> list[tuple[str, str, str, str, int, str | None]]:
    cells = [(c, plan.emulated.get(c)) for group in plan.groups for c in group.cases if c.role == "timed"]
    cells += [(r.case, f"unsupported: {r.reason}") for r in plan.refused]
    return [(c.model, c.variant.name, c.device, c.task, c.batch_size, note) for c, note in cells]


def short_name(name: str) -> str:
    """Return the part of a model's name that tells it apart, without folders, `.py` and source."""
    return name.rpartition("/")[2].replace(".py:", "-").replace(":", "-")


def budget(total_s: float, timeout_s: float | None) -> Budget:
    """Return the budget; the timeout follows from the total if none is given."""
    own_s = min(max(TIMEOUT_SHARE * total_s, SHORTEST_TIMEOUT_S), LONGEST_TIMEOUT_S)
    return Budget(total_s=total_s, timeout_s=timeout_s or own_s)
