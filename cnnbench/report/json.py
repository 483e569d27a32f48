"""JSON: the whole report, for programs; rows hold the columns of `report.csv`."""

from __future__ import annotations

import msgspec

from cnnbench.analysis import Report


def to_json(report: Report) -> str:
    """Return the report as one indented JSON object; null means not measured."""
    return msgspec.json.format(msgspec.json.encode(report), indent=2).decode() + "\n"
