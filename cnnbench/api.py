"""The Python API: `compare` measures and returns a report that shows itself as a table."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from inspect import Parameter, signature
from pathlib import Path
from typing import Literal

from cnnbench.analysis import Report
from cnnbench.app.prepare import DEFAULT_BUDGET_S, Options, budget, canonical_request, check, tell_cut_threads
from cnnbench.app.session import measure
from cnnbench.report.terminal import to_table
from cnnbench.report.text.table import html_table
from cnnbench.spec import CnnbenchError, Request, Section, Shape, Task, UsageError


@dataclass(frozen=True, kw_only=True, slots=True)
class PrintableReport(Report):
    """A report that prints as a text table, and that a notebook shows as an HTML table."""

    def __str__(self) -> str:
        """Return what `cnnbench compare` prints."""
        return to_table(self).rstrip("\n")

    def _repr_html_(self) -> str:
        """Return the table for a notebook."""
        return html_table(self.rows)


def compare(
    models: Sequence[str],
    *,
    variants: Sequence[str] = ("eager", "channels_last"),
    batch_sizes: Sequence[int] = (1,),
    tasks: Sequence[Task] = ("infer",),
    device: Literal["cpu", "cuda", "all"] = "cpu",
    accuracy: str | None = None,
    data_dir: str | None = None,
    weights: str = "none",
    input_shape: Shape | None = None,
    reference: str | None = None,
    delta: float | None = None,
    budget_s: float = DEFAULT_BUDGET_S,
    timeout_s: float | None = None,
    threads: int | None = None,
    seed: int = 0,
    output: str | Path | None = None,
) -> PrintableReport:
    """Measure `models` side by side and return the report; progress goes to standard error.

    The arguments are the options of `cnnbench compare`. Times are in seconds, `delta` is a share, and `input_shape` is
    (channels, height, width). The records are written to the run folder `output` if it is given; otherwise only the
    report keeps them. `print(report)` shows a table, a notebook shows it as HTML, and `report.to_dataframe()` gives the
    columns of `report.csv`.

    Raises:
        CnnbenchError: a name or value is wrong, something is missing, or nothing could be measured.
        KeyboardInterrupt: the run was interrupted; with `output`, the records so far are kept there.
    """
    # This must stay the first statement: `locals()` may hold nothing but the arguments.
    command = _call(dict(locals()))

    # A string is a sequence too, and each of its letters would be taken for a name.
    for name, given in (("models", models), ("variants", variants), ("tasks", tasks)):
        if isinstance(given, str):
            raise UsageError(f"{name} must be a list, not the string '{given}'. Write ['{given}'].")

    request = Request(
        title=f"compare {' '.join(models)}",
        sections=(
            Section(models=tuple(models), variants=tuple(variants), batch_sizes=tuple(batch_sizes), tasks=tuple(tasks)),
        ),
        device=device,
        accuracy=accuracy,
        data_dir=data_dir,
        weights=weights,
        input_shape=input_shape,
        reference=reference,
        threads=threads,
        seed=seed,
        budget=budget(budget_s, timeout_s),
    )

    if output is not None:
        return _measure_request(request, Options(command=command, output=Path(output), delta=delta))

    with tempfile.TemporaryDirectory(prefix="cnnbench-") as folder:
        return _measure_request(request, Options(command=command, output=Path(folder), delta=delta))


def _call(given: Mapping[str, object]) -> str:
    """Return the Python call of `compare` with the arguments `given`; arguments at their default are left out."""
    texts = []
    for name, parameter in signature(compare).parameters.items():
        value = _plain_value(given[name])
        if parameter.default is Parameter.empty:
            texts.append(repr(value))
        elif value != _plain_value(parameter.default):
            texts.append(f"{name}={value!r}")
    return f"cnnbench.compare({', '.join(texts)})"


def _plain_value(value: object) -> object:
    """Return a list for a list or tuple and a string for a path, so that equal arguments are written alike."""
    if isinstance(value, Path):
        return str(value)
    return list(value) if isinstance(value, (list, tuple)) else value


def _measure_request(request: Request, options: Options) -> PrintableReport:
    request = canonical_request(request)
    check(request, options)
    tell_cut_threads(request)
    measured = measure(request, options)
    if measured.error is not None:
        raise measured.error
    if measured.interrupted:
        raise KeyboardInterrupt
    if measured.report is None:
        raise CnnbenchError("Nothing was measured.")

    # `measure` returns the base class; only the way a report shows itself is added here.
    return PrintableReport(**{field.name: getattr(measured.report, field.name) for field in fields(Report)})
