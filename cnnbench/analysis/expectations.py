"""Compare what was found of a model with what is expected, and name every quantity and layer that differs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher

import msgspec

from cnnbench.expectation_file import Compiled, Expectation, Trained
from cnnbench.record import Layer, Record
from cnnbench.spec import Shape
from cnnbench.text import one_line

# Number of right test images by which a short training may differ from what is expected. Rounding differs between
# processors, and an image on the border may fall to either side (docs/ci.md says what was seen).
IMAGES_APART = 2

COUNTS = ("params", "trainable_params", "macs", "operator_calls", "weight_bytes")

_LAYER_FIELDS = ("name", "kind", "output_shape", "params", "macs")


@dataclass(frozen=True, kw_only=True, slots=True)
class Observed:
    """What was found of one model; `found` is None if it could not be counted.

    `broken` are the parts that failed (counts, compiled, trained), each with its reason. `impossible` is why this
    machine cannot compile; None if it can, or if compiling was not asked for.
    """

    model: str
    found: Expectation | None
    broken: tuple[tuple[str, str], ...] = ()
    impossible: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Difference:
    """One quantity that is not as expected; `layer` is None for the whole model.

    `expected` and `found` are numbers or texts. One of them is None if only the other side has it, such as a layer.
    """

    model: str
    layer: str | None
    quantity: str
    expected: int | str | None
    found: int | str | None


def observation_of(model: str, records: Sequence[Record], *, seed: int, epochs: int) -> Observed:
    """Return what the records of one model show; `seed` and `epochs` are those of its training, if there was one."""
    parts = {_part(record): record for record in records}
    # A machine that cannot compile breaks nothing; every other part must be supported.
    broken = [
        (name, f"{record.status}: {one_line(record.error or 'no reason was recorded')}")
        for name, record in parts.items()
        if record.status not in ("ok", "unsupported") or (record.status == "unsupported" and name != "compiled")
    ]
    compiled = parts.get("compiled")
    cannot = compiled.error if compiled is not None and compiled.status == "unsupported" else None
    counted = parts.get("counts")
    found = None if counted is None or counted.status != "ok" else _expectation_of(counted)

    # The other parts extend the counts; without counts there is nothing to extend.
    if found is not None:
        made = _compile_result(compiled) if compiled is not None and compiled.status == "ok" else None
        trained = parts.get("trained")
        learnt = _training_result(trained, seed, epochs) if trained is not None and trained.status == "ok" else None
        found = msgspec.structs.replace(found, compiled=made, trained=learnt)

    return Observed(model=model, found=found, broken=tuple(broken), impossible=cannot)


def _part(record: Record) -> str:
    if record.case.role == "numerics":
        return "compiled"
    return "trained" if record.case.task == "accuracy" else "counts"


def _number(record: Record, quantity: str) -> int:
    return round(record.samples(quantity)[0])


def _expectation_of(record: Record) -> Expectation:
    return Expectation(
        input_shape=record.case.input_shape,
        params=_number(record, "params"),
        trainable_params=_number(record, "trainable_params"),
        macs=_number(record, "macs"),
        operator_calls=_number(record, "operator_calls"),
        weight_bytes=_number(record, "weight_bytes"),
        layers=record.layers,
    )


def _compile_result(record: Record) -> Compiled:
    return Compiled(
        graphs=_number(record, "graphs"),
        graph_breaks=_number(record, "graph_breaks"),
        recompiles=_number(record, "recompiles"),
    )


def _training_result(record: Record, seed: int, epochs: int) -> Trained:
    assert record.case.dataset == "digits"
    return Trained(
        dataset="digits",
        epochs=epochs,
        seed=seed,
        correct=_number(record, "correct"),
        tested=_number(record, "tested"),
    )


def differences(expected: Expectation, seen: Observed) -> tuple[Difference, ...]:
    """Return all that differs: parts that failed, then the whole model's quantities, then its layers.

    A part that was not checked, or cannot be checked on this machine, does not differ. A new part is one row.
    """
    model = seen.model
    rows = [_row(model, None, part, "ok", reason) for part, reason in seen.broken]
    found = seen.found
    # A model that could not be counted has only the reasons to show.
    if found is None:
        return tuple(rows)
    rows += _value_differences(model, _whole(expected), _whole(found))
    for name in ("compiled", "trained"):
        rows += _part_differs(model, name, getattr(expected, name), getattr(found, name))
    return (*rows, *_layers(model, expected.layers, found.layers))


def _part_differs(
    model: str, name: str, expected: Compiled | Trained | None, found: Compiled | Trained | None
) -> list[Difference]:
    """Return what differs in a part, one row for each quantity; a part that is new is one row."""
    if found is None or _is_as_good(expected, found):
        return []
    if expected is None:
        new = ", ".join(f"{key} {value}" for key, value in msgspec.structs.asdict(found).items())
        return [_row(model, None, name, None, new)]
    return _value_differences(model, msgspec.structs.asdict(expected), msgspec.structs.asdict(found))


def merge_expectation(expected: Expectation | None, found: Expectation) -> Expectation:
    """Return what is expected from now on: what was found, and the old expectation of parts that were not checked.

    A training that is as good as expected changes nothing, so that files do not change with the processor.
    """
    if expected is None:
        return found
    keeps = found.trained is None or _is_as_good(expected.trained, found.trained)
    trained = expected.trained if keeps else found.trained
    return msgspec.structs.replace(found, compiled=found.compiled or expected.compiled, trained=trained)


def _is_as_good(expected: Compiled | Trained | None, found: Compiled | Trained) -> bool:
    """Return whether a part is as expected; the number of right images may differ by `IMAGES_APART`."""
    if not isinstance(expected, Trained) or not isinstance(found, Trained):
        return expected == found
    same = msgspec.structs.replace(found, correct=expected.correct) == expected
    return same and abs(found.correct - expected.correct) <= IMAGES_APART


def _row(model: str, layer: str | None, quantity: str, expected: object, found: object) -> Difference:
    plain = [value if value is None or isinstance(value, int | str) else str(value) for value in (expected, found)]
    return Difference(model=model, layer=layer, quantity=quantity, expected=plain[0], found=plain[1])


def _whole(of: Expectation) -> dict[str, object]:
    return {"input_shape": _shape(of.input_shape), **{name: getattr(of, name) for name in COUNTS}}


def _value_differences(model: str, expected: dict[str, object], found: dict[str, object]) -> list[Difference]:
    return [_row(model, None, name, one, found[name]) for name, one in expected.items() if one != found[name]]


def _shape(shape: Shape) -> str:
    return "x".join(map(str, shape))


def _layers(model: str, expected: Sequence[Layer], found: Sequence[Layer]) -> Iterator[Difference]:
    """Yield what differs in the tables of layers, after aligning them.

    Layers that differ only in their names match each other. Between those, layers of the same kind match in order.
    So an added layer is one row, instead of one for each layer after it.
    """
    # Names play no part here: renaming a block must not look like other layers.
    for equal, ours, theirs in _align([_cost(x) for x in expected], [_cost(x) for x in found]):
        some, others = expected[ours], found[theirs]
        if equal:
            yield from _name_differences(model, some, others)
            continue

        # A layer that changed its shape or size still has its kind; what then has no partner was removed or added.
        for alike, inner, outer in _align([x.kind for x in some], [x.kind for x in others]):
            if alike:
                for one, two in zip(some[inner], others[outer], strict=True):
                    yield from _layer_differences(model, one, two)
            else:
                yield from (_row(model, x.name, "layer", _summary(x), None) for x in some[inner])
                yield from (_row(model, x.name, "layer", None, _summary(x)) for x in others[outer])


def _cost(layer: Layer) -> tuple[object, ...]:
    return layer.kind, layer.output_shape, layer.params, layer.macs


def _align(one: Sequence[object], two: Sequence[object]) -> Iterator[tuple[bool, slice, slice]]:
    """Yield pairs of stretches, one of each sequence, that match, and whether they are equal."""
    for tag, a, b, c, d in SequenceMatcher(None, one, two, autojunk=False).get_opcodes():
        yield tag == "equal", slice(a, b), slice(c, d)


def _layer_differences(model: str, one: Layer, two: Layer) -> Iterator[Difference]:
    for field in _LAYER_FIELDS:
        before, after = getattr(one, field), getattr(two, field)
        if before != after:
            texts = (_shape(before), _shape(after)) if field == "output_shape" else (before, after)
            yield _row(model, two.name, field, *texts)


def _name_differences(model: str, some: Sequence[Layer], others: Sequence[Layer]) -> Iterator[Difference]:
    """Yield one row for each stretch of layers that differ only in their names."""
    stretch: list[tuple[str, str]] = []
    # The equal pair of names at the end closes a stretch that reaches the last layer.
    for one, two in [*((x.name, y.name) for x, y in zip(some, others, strict=True)), ("", "")]:
        if one != two:
            stretch.append((one, two))
        elif stretch:
            before, after = (_span([pair[side] for pair in stretch]) for side in (0, 1))
            yield _row(model, after, "name", before, after)
            stretch = []


def _span(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{names[0]} to {names[-1]}"


def _summary(layer: Layer) -> str:
    return f"{layer.kind} {_shape(layer.output_shape)}, params {layer.params:,}, macs {layer.macs:,}"
