"""Describe what a report is about: what was measured, when, and on which machine."""

from __future__ import annotations

from dataclasses import fields

from cnnbench.analysis import Report
from cnnbench.quantities import show
from cnnbench.record import Environment
from cnnbench.text import number_of


def about(report: Report) -> str:
    """Return one paragraph on what was measured, when and on which machine."""
    machine = report.environment
    models = len({row.model for row in report.rows})
    # Rows that hold under all conditions name no variant; they are not counted as one.
    variants = len({row.variant for row in report.rows if row.variant})
    parts = [number_of(models, "model"), *([number_of(variants, "variant")] if variants else [])]
    where = [f"{machine.cpu} ({number_of(machine.cores, 'core')})", *([machine.gpu] if machine.gpu else [])]
    threads = [f"{number_of(count, 'thread')} on {device}" for device, count in report.threads]

    # The time is an ISO 8601 text in UTC; the sentence names the zone itself.
    when = report.started.removesuffix("Z").removesuffix("+00:00").replace("T", " ")
    # A report without totals does not tell how long the run took.
    took = "" if report.totals is None else f" in {duration(report.totals.wall_s)}"
    with_threads = f", with {' and '.join(threads)}" if threads else ""

    return (
        f"{' and '.join(parts)}, measured from {when} UTC{took} on {' and '.join(where)} "
        f"with PyTorch {machine.torch} and cnnbench {machine.cnnbench}{with_threads}."
    )


def duration(seconds: float) -> str:
    """Return seconds as text such as 1 h 2 min 3 s, without the parts that are 0."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    parts = [f"{hours} h" if hours else "", f"{minutes} min" if minutes else "", f"{rest} s" if rest else ""]
    return " ".join(part for part in parts if part) or "0 s"


def facts(environment: Environment) -> list[tuple[str, str]]:
    """Return the name and the value of each known fact about a machine; facts about a GPU only if there is one."""
    names = [field.name for field in fields(Environment) if environment.gpu or not field.name.startswith("gpu")]
    shown = [(name.removesuffix("_bytes").replace("_", " "), _fact(environment, name)) for name in names]
    return [(name, value) for name, value in shown if value]


def _fact(environment: Environment, name: str) -> str:
    value = getattr(environment, name)
    if isinstance(value, bool):
        return "yes" if value else "no"
    if name == "memory_bytes":
        return show(value, "bytes")
    return "" if value is None else str(value)
