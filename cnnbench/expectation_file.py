"""Expectation files, one per torch version: what counting, compiling and training each model must give."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Literal

import msgspec

from cnnbench.atomic_write import replace_file, write_error
from cnnbench.record import Layer
from cnnbench.spec import Shape, UsageError

# Version of the file format; files of a newer version are refused.
FORMAT = 1

_HEAD = """\
# What counting, compiling and a short training of each model must give with this torch. `cnnbench expect` compares,
# and `cnnbench expect MODEL --accept` writes a model's entry anew.
format = {format}
torch = {torch}
"""

_ENTRY = re.compile(r"^\[models\.(.+)\]\s*$")
_BARE = re.compile(r"[A-Za-z0-9_-]+")
_TORCH = re.compile(r"(\d+)\.(\d+)")


class Compiled(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Expected result of torch.compile: graphs, graph breaks (places where it leaves its graph), and recompilations."""

    graphs: int
    graph_breaks: int
    recompiles: int


class Trained(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A short training by the model's own recipe, and how many of `tested` test images must be correct after it."""

    dataset: Literal["digits"]
    epochs: int
    seed: int
    correct: int
    tested: int


class Expectation(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Expected values of one model; `input_shape` is (channels, height, width), `weight_bytes` as stored.

    `compiled` and `trained` are None if nothing is expected of them. This is a struct and not a dataclass, because only
    a struct refuses unknown keys.
    """

    input_shape: Shape
    params: int
    trainable_params: int
    macs: int
    operator_calls: int
    weight_bytes: int
    compiled: Compiled | None = None
    trained: Trained | None = None
    layers: tuple[Layer, ...]


class _File(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    format: int
    torch: str
    models: dict[str, Expectation] = {}


def minor_version(version: str) -> str:
    """Return the major and minor version of torch, such as "2.15" for "2.15.0+cpu"; return other texts unchanged."""
    found = _TORCH.match(version)
    return f"{found[1]}.{found[2]}" if found else version


def file_for(path: Path, torch: str) -> Path:
    """Return the file for `torch` (major.minor): `path` itself if it ends in .toml, else a file in that folder."""
    return path if path.suffix == ".toml" else path / f"torch-{torch}.toml"


def others_of(file: Path) -> tuple[Path, ...]:
    """Return the files for other versions of torch beside `file`, newest version first."""

    def version(path: Path) -> tuple[int, int]:
        found = _TORCH.search(path.stem)
        return (int(found[1]), int(found[2])) if found else (-1, -1)

    beside = (path for path in file.parent.glob("torch-*.toml") if path != file)
    return tuple(sorted(beside, key=version, reverse=True))


def load(file: Path) -> tuple[str, Mapping[str, Expectation]]:
    """Return torch's version and the expectations by model in `file`, in the file's order.

    Raises:
        UsageError: the file cannot be read, is not an expectation file, or was written by a newer cnnbench. The message
            names the bad field.
    """
    try:
        parsed = tomllib.loads(file.read_text(encoding="utf-8"))

        # The version is checked first: a newer format may have fields that would only look like mistakes.
        if isinstance(version := parsed.get("format"), int) and version > FORMAT:
            raise UsageError(
                f"'{file}' has format {version}, written by a newer cnnbench; this one reads up to {FORMAT}. "
                "Upgrade: `pip install --upgrade cnnbench`."
            )
        found = msgspec.convert(parsed, _File)
    except OSError as error:
        raise UsageError(f"Cannot read '{file}': {error.strerror}.") from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise UsageError(
            f"'{file}' is not a file of expectations: {error}. Restore it, or delete it and create it with --accept."
        ) from error

    return found.torch, found.models


def save(file: Path, torch: str, entries: Mapping[str, Expectation]) -> None:
    """Write `entries` into `file` in place of those of the same models; the rest of the file stays unchanged.

    The file is replaced in one step, so an interruption leaves the old file.

    Raises:
        CnnbenchError: the file cannot be written.
    """
    try:
        text = file.read_text(encoding="utf-8") if file.exists() else _HEAD.format(format=FORMAT, torch=_string(torch))
        replace_file(file, _splice(text, entries).encode())
    except OSError as error:
        raise write_error(file, error, "The file is unchanged.") from error


def _splice(text: str, entries: Mapping[str, Expectation]) -> str:
    """Return the file's `text` with `entries` in their places; new entries follow at the end."""
    # Cut the text into the head, whose name is empty, and one block of lines for each entry.
    blocks: list[tuple[str, list[str]]] = [("", [])]
    for line in text.split("\n"):
        if header := _ENTRY.match(line):
            blocks.append((_name(header[1]), []))
        blocks[-1][1].append(line)

    # Copy the blocks of other models. If an entry occurs twice, only its first block is replaced.
    lines: list[str] = []
    there: set[str] = set()
    for name, own in blocks:
        if name not in entries:
            lines += own
        elif name not in there:
            lines += [*entry_text(name, entries[name]).split("\n"), *_tail(own)]
        there.add(name)

    new = [entry_text(name, entry) for name, entry in entries.items() if name not in there]
    return "\n\n".join(["\n".join(lines).rstrip("\n"), *new]) + "\n"


def _tail(lines: Sequence[str]) -> Sequence[str]:
    """Return the blank lines and comments at the end of an entry, which may belong to the next entry."""
    own = next((at for at in range(len(lines), 0, -1) if lines[at - 1].strip() and lines[at - 1][0] != "#"), 0)
    return lines[own:]


def _name(key: str) -> str:
    """Return the model that a TOML key names."""
    return next(iter(tomllib.loads(f"{key} = 0")))


def entry_text(model: str, entry: Expectation) -> str:
    """Return the entry of `model` as TOML, with one line per layer."""
    shape = _numbers(entry.input_shape)
    counts = ("params", "trainable_params", "macs", "operator_calls", "weight_bytes")
    lines = [
        f"[models.{model if _BARE.fullmatch(model) else _string(model)}]",
        f"input_shape = {shape}",
        *(f"{name} = {getattr(entry, name)}" for name in counts),
    ]

    # Each part becomes an inline table; a part of which nothing is expected is left out.
    for name, part in (("compiled", entry.compiled), ("trained", entry.trained)):
        if part is not None:
            values = msgspec.structs.asdict(part).items()
            lines.append(f"{name} = {_table((key, _value(value)) for key, value in values)}")

    lines += ["layers = [", *(f"  {_layer(layer)}," for layer in entry.layers), "]"]
    return "\n".join(lines)


def _layer(layer: Layer) -> str:
    texts = ("name", _string(layer.name)), ("kind", _string(layer.kind))
    numbers = ("params", str(layer.params)), ("macs", str(layer.macs))
    return _table((*texts, ("output_shape", _numbers(layer.output_shape)), *numbers))


def _table(pairs: Iterable[tuple[str, str]]) -> str:
    return f"{{ {', '.join(f'{key} = {value}' for key, value in pairs)} }}"


def _value(value: object) -> str:
    return _string(value) if isinstance(value, str) else str(value)


def _numbers(values: Iterable[int]) -> str:
    return f"[{', '.join(map(str, values))}]"


def _string(text: str) -> str:
    """Return `text` as a basic string of TOML: like JSON, with DEL escaped as well."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
