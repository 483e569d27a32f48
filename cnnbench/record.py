"""Types of a record file (record, environment, measurement, warning, run), and its lines of JSON."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import msgspec

from cnnbench.image_types import ImageGrid
from cnnbench.spec import Case, Shape
from cnnbench.text import valid_text

# Version of the record format; readers refuse every other version.
FORMAT_VERSION = 1

Status = Literal["ok", "failed", "timeout", "oom", "unsupported", "invalid", "not started"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Environment:
    """The machine and software of a record; records of equal environments may be compared."""

    cnnbench: str
    python: str
    torch: str
    torchvision: str
    system: str
    cpu: str
    cores: int  # cores that the process may use (affinity)
    cpu_quota: float | None  # seconds of CPU time per second that the control group grants
    memory_bytes: int
    cpu_capability: str = ""  # the instruction set that torch dispatches to
    native_bf16: bool = False
    compiler: str | None = None
    compile_blocker: str | None = None  # why torch.compile cannot work here
    gpu: str | None = None
    gpu_native_bf16: bool = False
    cuda: str | None = None
    driver: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Measurement:
    """The raw samples of one quantity, in the SI unit of the quantity table.

    `iterations_per_sample`: iterations in one sample. `blocks`: the block in which each sample was taken (empty for a
    quantity that is measured once). `rejected`: positions of the samples that an environment counter rejected.
    """

    quantity: str
    samples: tuple[float, ...]
    iterations_per_sample: int = 1
    blocks: tuple[int, ...] = ()
    rejected: tuple[int, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class RecordedWarning:
    """A warning: a fact to know before trusting a number, and advice on what to do; `code` is its stable name."""

    code: str
    fact: str
    advice: str


# Advice of the warning `disturbed`: other programs, or other guests of the host, used the cores.
DISTURBED = "Do not trust its latency. Close other programs or use another machine, and measure again."


@dataclass(frozen=True, kw_only=True, slots=True)
class Layer:
    """One row of a model's layer table: name in the module tree, module type, output shape with batch first."""

    name: str
    kind: str
    output_shape: Shape
    params: int
    macs: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """Result of a runner; the orchestrator adds case, environment and time to make a record of it.

    `sheets` are images to be drawn; they are not recorded.
    """

    measurements: tuple[Measurement, ...] = ()
    warnings: tuple[RecordedWarning, ...] = ()
    layers: tuple[Layer, ...] = ()
    notes: tuple[str, ...] = ()
    sheets: tuple[ImageGrid, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Record:
    """Result of one case in one round; a failure is a record too, with its `error`.

    Records of a group with the same `round` were measured together, in processes of their own. `started` is UTC in ISO
    8601. `notes` are facts without advice, such as operators that no counter counts.
    """

    format: int = FORMAT_VERSION
    case: Case
    environment: Environment
    round: int = 0
    started: str
    duration_s: float
    status: Status
    measurements: tuple[Measurement, ...] = ()
    warnings: tuple[RecordedWarning, ...] = ()
    layers: tuple[Layer, ...] = ()
    notes: tuple[str, ...] = ()
    error: str | None = None

    def find(self, quantity: str) -> Measurement | None:
        """Return the measurement of `quantity`, or None if it was not measured."""
        return next((m for m in self.measurements if m.quantity == quantity), None)

    def samples(self, quantity: str) -> tuple[float, ...]:
        """Return the samples of `quantity`, or an empty tuple if it was not measured."""
        found = self.find(quantity)
        return found.samples if found else ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Run:
    """What a run was asked for; written at its start, and again at its end with the time it took.

    `reference` is `MODEL` or `MODEL/VARIANT`; None means each model's own `eager`. `sort` is a column of `report.csv`.
    `delta` is the smallest relative difference that counts, None for the default. `budget_s`: seconds the run may
    take. `partial`: the run has not ended yet, or was interrupted. `wall_s` is None until the run has ended. `passes_s`
    are seconds inside timed and warm-up passes of the workers, `compile_s` seconds of first calls of compiled variants.
    """

    format: int = FORMAT_VERSION
    title: str
    command: str
    started: str
    reference: str | None = None
    sort: str | None = None
    latency_max_s: float | None = None
    params_max: int | None = None
    delta: float | None = None
    budget_s: float | None = None
    partial: bool = False
    wall_s: float | None = None
    passes_s: float | None = None
    compile_s: float | None = None


class Line(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One line of `records.jsonl`: either a record or a run."""

    record: Record | None = None
    run: Run | None = None


def to_json(item: Record | Run) -> bytes:
    """Return `item` as one line of JSON without the line end; floats keep every digit.

    Raises:
        ValueError: a sample is not finite. JSON would hold null for it, and the line could not be read again.
    """
    if isinstance(item, Record):
        _check_finite(item)
    line = Line(record=item) if isinstance(item, Record) else Line(run=item)
    try:
        return msgspec.json.encode(line)
    except UnicodeEncodeError:  # the name of a file, or a message with it
        return msgspec.json.encode(_with_valid_text(msgspec.to_builtins(line)))


def _with_valid_text(value: object) -> object:
    if isinstance(value, str):
        return valid_text(value)
    if isinstance(value, dict):
        return {key: _with_valid_text(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_with_valid_text(one) for one in value]
    return value


def _check_finite(record: Record) -> None:
    for measurement in record.measurements:
        bad = next((x for x in measurement.samples if not math.isfinite(x)), None)
        if bad is not None:
            raise ValueError(f"{measurement.quantity} of {record.case.label()} holds {bad}")


def from_json(line: bytes) -> Record | Run:
    """Return the record or run in one line of JSON.

    Raises:
        ValueError: the line holds neither; the message ends with the path of the bad field.
    """
    try:
        parsed = msgspec.json.decode(line, type=Line)
    except RecursionError as error:
        raise ValueError("Too many objects lie in each other - at `$`") from error
    item = parsed.record or parsed.run
    if item is None:
        raise ValueError("Neither a record nor a run - at `$`")
    return item
