"""JSON with the whole report, for programs; rows hold the columns of `report.csv` and their details."""

from __future__ import annotations

import math

import msgspec

from cnnbench.analysis import NEVER, Report


def to_json(report: Report) -> str:
    """Return the report as one indented JSON object.

    `null` means not measured, and "never" is an infinite number of calls.
    """
    plain = _replace_infinity(msgspec.to_builtins(report))
    return msgspec.json.format(msgspec.json.encode(plain), indent=2).decode() + "\n"


def _replace_infinity(value: object) -> object:
    """Return `value` with the word `NEVER` for infinity, for which JSON has no number."""
    if isinstance(value, dict):
        return {key: _replace_infinity(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_replace_infinity(one) for one in value]
    return NEVER if value == math.inf else value
