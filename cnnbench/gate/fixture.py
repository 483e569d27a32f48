"""Compare a model with a baseline for the pytest fixture, and return the report of a gate."""

from __future__ import annotations

import os
import sys
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click

from cnnbench.app.option_types import DURATION, PERCENT, Words
from cnnbench.gate.defaults import DEFAULT_THREADS, DEFAULT_THRESHOLD
from cnnbench.gate.measure import SidePair
from cnnbench.gate.request import GateOptions, gate_of_models, gate_of_revisions
from cnnbench.gate.revisions import top_of
from cnnbench.gate.session import Entry, run_gate
from cnnbench.gate.slowdowns import Compared
from cnnbench.gate.verdict import GateReport
from cnnbench.models.saved_model import label_of, save_model
from cnnbench.spec import Shape, UsageError

# Time for the first measurement of one check. A model of a few milliseconds gets tens of rounds in it.
DEFAULT_BUDGET = "30s"

# Numbers in the shape of one image (channels, height, width), and in that of a batch of images.
_ONE_IMAGE = 3
_BATCH = 4


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """Settings of a check beside its models, as written on the command line of pytest or in its configuration file."""

    budget: object = DEFAULT_BUDGET
    threshold: object = DEFAULT_THRESHOLD
    variants: object = "eager"
    inconclusive: object = "pass"
    same_environment: bool = False


def check(model: object, example: object, baseline: object, settings: Settings) -> GateReport:
    """Measure `model` against `baseline` and return the report.

    `model` is a model, or a function that makes one. `baseline` is the same, or the name of a git revision. `example`
    is a batch or its shape; only the shape counts.

    Raises:
        UsageError: an argument is wrong, or several tests are running at once.
    """
    _check_alone()
    batch_size, shape = shape_of(example)
    options = replace(_gate_options(settings), batch_sizes=(batch_size,), input_shape=shape)

    with tempfile.TemporaryDirectory(prefix="cnnbench-check-") as folder:
        # The run folder is temporary too: the test gets the report and nothing else.
        options = replace(options, output=Path(folder) / "run")
        if isinstance(baseline, str):
            return _check_against_revision(model, baseline, options)

        # Worker processes cannot reach the objects of this process, so both models are written into files.
        name = label_of(model)
        built = SidePair(
            base=save_model(Path(folder) / "base", baseline), head=save_model(Path(folder) / "head", model)
        )
        entry = Entry(
            built=built,
            recorded=Compared(name=name, base=f"{name}@base", head=f"{name}@head"),
        )
        sides = f"the baseline {label_of(baseline)}", f"the model {name}"
        return run_gate(gate_of_models(entry, f"check {name}", sides, options))[0]


def _check_alone() -> None:
    """Refuse to measure beside other tests, because they would take the cores.

    Raises:
        UsageError: pytest-xdist runs several tests at once.
    """
    workers = os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1")
    if workers != "1":
        raise UsageError(
            f"pytest-xdist runs {workers} tests at once here, and other tests disturb a measurement. Run these tests "
            "on their own with -n 0."
        )


def shape_of(example: object) -> tuple[int, Shape]:
    """Return the batch size of `example` and the shape of one image.

    `example` is a batch, its shape (4 numbers), or the shape of one image (3 numbers).

    Raises:
        UsageError: it is none of these.
    """
    if isinstance(example, (tuple, list)):
        numbers = tuple(example)
        if len(numbers) in (_ONE_IMAGE, _BATCH) and all(isinstance(n, int) and n > 0 for n in numbers):
            # A shape without a batch stands for a batch of one image.
            return (1, numbers) if len(numbers) == _ONE_IMAGE else (numbers[0], numbers[1:])
        raise UsageError(f"The example {example!r} is not a shape. Write (batch, channels, height, width).")

    # The attributes tell a tensor as well as its class does, and torch need not be imported for them.
    tensor: Any = example
    if not (hasattr(tensor, "is_floating_point") and hasattr(tensor, "shape")):
        raise UsageError(
            f"The example is a {type(example).__name__}. Give a batch of images as a tensor, or its shape."
        )
    if not tensor.is_floating_point() or len(tensor.shape) < 2:  # noqa: PLR2004  # the batch, and what it is made of
        raise UsageError(
            f"The example is a tensor of {tensor.dtype} with the shape {tuple(tensor.shape)}. Give a batch of images: "
            "floating-point numbers, with the batch as the first dimension."
        )

    return int(tensor.shape[0]), tuple(int(n) for n in tensor.shape[1:])


def _gate_options(settings: Settings) -> GateOptions:
    """Return the settings as the options of a gate.

    Raises:
        UsageError: a setting cannot be read.
    """
    if settings.inconclusive not in ("pass", "fail"):
        raise UsageError(f"An inconclusive check cannot '{settings.inconclusive}'. Use pass or fail.")

    # The option types of the command line read the texts, so both places accept the same words and units.
    # Batch sizes and input shape are left open here: `check` takes them from the example.
    try:
        return GateOptions(
            variants=Words().convert(_text(settings.variants), None, None),
            batch_sizes=(),
            input_shape=None,
            threshold=PERCENT.convert(settings.threshold, None, None),
            inconclusive_fails=settings.inconclusive == "fail",
            budget_s=DURATION.convert(_seconds(settings.budget), None, None),
            threads=DEFAULT_THREADS,
            same_environment=settings.same_environment,
            command="pytest",
        )
    except click.ClickException as error:
        raise UsageError(error.message) from error


def _text(variants: object) -> object:
    """Return a list of variants as the text of the option; return anything else as it is."""
    return ",".join(map(str, variants)) if isinstance(variants, (list, tuple)) else variants


def _seconds(budget: object) -> object:
    return str(budget) if isinstance(budget, (int, float)) else budget


def _check_against_revision(model: object, revision: str, options: GateOptions) -> GateReport:
    file, name = _place(model)
    top = top_of(file.parent)
    with gate_of_revisions(revision, None, [f"{file}:{name}"], options, top) as gate:
        return run_gate(gate)[0]


def _place(model: object) -> tuple[Path, str]:
    """Return the file of a function or class and its name there; another revision is searched for both.

    Raises:
        UsageError: it is not at the top level of a module, or it is part of an installed package.
    """
    module = sys.modules.get(getattr(model, "__module__", None) or "")
    name = getattr(model, "__qualname__", "")
    file = getattr(module, "__file__", None)

    # The name must lead back to this very object. It does not for a lambda or for a function inside another one.
    if file is None or getattr(module, name, None) is not model:
        raise UsageError(
            f"{label_of(model)} cannot be found in another revision. Give a function or class at the top level of a "
            "module that makes the model, or give a callable as the baseline."
        )
    if "site-packages" in Path(file).parts:
        raise UsageError(
            f"{name} is part of an installed package, {file}, so no revision of the repository contains it. Install "
            "the package in editable mode: pip install -e ."
        )

    return Path(file), name
