"""Markdown: the report that a person reads, on a code host or in an editor."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import fields

from cnnbench.analysis import Report, Row
from cnnbench.analysis.cells import one_line
from cnnbench.analysis.shown import Table, detail_table, main_table, not_ok
from cnnbench.quantity import show
from cnnbench.record import Environment

_SPECIAL = re.compile(r"([\\`*\[\]|~]|(?<!\w)_|_(?!\w))")
_LIST_STARTS = re.compile(r"^(\d*)([.)]|[#+=-]+)(?=\s|$)")
_BACKSLASHED = r"\1\\\2"
_ENTITIES = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"})


def to_markdown(report: Report) -> str:
    """Return the report as Markdown; texts from records are escaped, so they show as they are."""
    sections = [
        f"# {escape(report.title)}",
        _about(report),
        _bullets(report.summary),
        "## Results",
        _tabled(main_table(report.rows)) or "No rows.",
        *_failures(report.rows),
        *_section("Warnings", _warnings(report)),
        *_section("Notes", _bullets(report.notes)),
        *_section("How to read this", _bullets(_reading(report))),
        *_section("Details", _tabled(detail_table(report.rows))),
        *_section("Machine", _machine(report)),
        *_section("How to repeat", _fenced(report.command) if report.command.strip() else ""),
        _folded("Notes on counting parameters and multiply-adds", _bullets(report.counting)),
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def escape(text: str) -> str:
    """Return `text` as one line of Markdown that shows exactly its characters, inside a line or a table cell."""
    return _SPECIAL.sub(r"\\\1", one_line(text)).translate(_ENTITIES)


def _section(heading: str, body: str) -> list[str]:
    return [f"## {heading}", body] if body else []


def _folded(heading: str, body: str) -> str:
    return f"<details>\n<summary>{heading}</summary>\n\n{body}\n\n</details>" if body else ""


def _bullets(lines: Sequence[str]) -> str:
    """Return `lines` as a list; what would start a list or heading within an entry is escaped too."""
    return "\n".join(f"- {_LIST_STARTS.sub(_BACKSLASHED, escape(line))}" for line in lines)


def _fenced(text: str) -> str:
    """Return `text` as a block of code; its fence is longer than any run of backticks in it."""
    line = one_line(text)
    fence = "`" * max(3, 1 + max(map(len, re.findall(r"`+", line)), default=0))
    return f"{fence}\n{line}\n{fence}"


def _about(report: Report) -> str:
    """Return what was measured, when and on which machine, in one paragraph."""
    machine = report.environment
    models = len({row.model for row in report.rows})
    variants = len({row.variant for row in report.rows if row.variant})
    parts = [_count(models, "model"), *([_count(variants, "variant")] if variants else [])]
    where = [f"{machine.cpu} ({_count(machine.cores, 'core')})", *([machine.gpu] if machine.gpu else [])]
    threads = [f"{_count(count, 'thread')} on {device}" for device, count in report.threads]
    when = report.started.removesuffix("Z").removesuffix("+00:00").replace("T", " ")
    took = "" if report.totals is None else f" in {_duration(report.totals.wall_s)}"
    with_threads = f", with {' and '.join(threads)}" if threads else ""
    text = (
        f"{' and '.join(parts)}, measured from {when} UTC{took} on {' and '.join(where)} "
        f"with PyTorch {machine.torch} and cnnbench {machine.cnnbench}{with_threads}."
    )
    return escape(text)


def _count(count: int, word: str) -> str:
    return f"{count} {word}" if count == 1 else f"{count} {word}s"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    parts = [f"{hours} h" if hours else "", f"{minutes} min" if minutes else "", f"{rest} s" if rest else ""]
    return " ".join(part for part in parts if part) or "0 s"


def _tabled(table: Table) -> str:
    """Return a table below what its rows have in common."""
    common = f"In every row: {escape(', '.join(table.common))}." if table.common else ""
    return "\n\n".join(part for part in (common, _grid(table) if table.headings else "") if part)


def _grid(table: Table) -> str:
    ruler = ["---:" if right else "---" for right in table.right]
    lines = [table.headings, ruler, *(map(escape, row) for row in table.cells)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _failures(rows: Sequence[Row]) -> list[str]:
    lines = [
        f"- {escape(row.label())}: {row.status}. {escape(row.error or 'No reason was recorded.')}"
        for row in not_ok(rows)
    ]
    return _section("Not measured", "\n".join(lines))


def _warnings(report: Report) -> str:
    """Return each caution once, with the rows that it is about."""
    about: dict[tuple[str, str, str], list[str]] = {}
    for warning in report.warnings:
        caution = warning.caution
        about.setdefault((caution.code, caution.fact.rstrip("."), caution.advice), []).append(warning.row)
    return "\n".join(
        f"- **{escape(code)}**: {escape(fact)}. {escape(advice)} ({escape('; '.join(dict.fromkeys(rows)))})"
        for (code, fact, advice), rows in about.items()
    )


def _reading(report: Report) -> list[str]:
    """Return how to read the columns that the report has."""
    rows, lines = report.rows, []
    if any(row.latency_s is not None for row in rows):
        lines.append("Latency is the median time of one pass over a batch; in brackets its 95 % interval.")
    if any(row.speedup is not None for row in rows):
        name = "the same model's eager" if report.reference is None else report.reference
        lines.append(
            f"Speed-up is the time of {name} over the row's own, paired by blocks measured next to each other: above "
            "1 is faster. If its interval holds 1, no difference was seen, which does not prove that there is none."
        )
    if any((row.launches or 3) < 3 for row in rows):  # noqa: PLR2004 # the number that the sentence names
        lines.append("With fewer than three launches an interval says nothing of how a new launch would shift it.")
    if any(row.top1_low is not None for row in rows):
        lines.append("Top-1 is the share of test pictures classified correctly, with its 95 % Wilson interval.")
    if any(row.macs is not None for row in rows):
        lines.append("MACs are multiply-adds at batch 1: one multiply-add counts once.")
    lines.append("A dash means not measured. The CSV file has the same rows in SI units and full precision.")
    return lines


def _machine(report: Report) -> str:
    environment = report.environment
    names = [field.name for field in fields(Environment) if environment.gpu or not field.name.startswith("gpu")]
    shown = [(name.removesuffix("_bytes").replace("_", " "), _fact(environment, name)) for name in names]
    lines = [f"| {escape(name)} | {escape(value)} |" for name, value in shown if value]
    return "\n".join(["| | |", "| --- | --- |", *lines])


def _fact(environment: Environment, name: str) -> str:
    value = getattr(environment, name)
    if isinstance(value, bool):
        return "yes" if value else "no"
    if name == "memory_bytes":
        return show(value, "bytes")
    return "" if value is None else str(value)
