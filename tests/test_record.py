"""Records and runs through JSON and back: every field, every digit, and where a bad line is bad."""

import json
import math
import os
from dataclasses import fields, replace
from typing import Any

import pytest

from cnnbench.record import (
    FORMAT_VERSION,
    Environment,
    Layer,
    Measurement,
    Outcome,
    Record,
    RecordedWarning,
    Run,
    from_json,
    to_json,
)
from cnnbench.spec import Budget, Case, Variant
from tests.factories import case, once, record, run, whole_run

EVERY_ENVIRONMENT = Environment(
    cnnbench="0.1.0",
    python="3.12.3",
    torch="2.11.0+cu130",
    torchvision="0.26.0",
    system="Linux 6.1 x86_64",
    cpu="Example \u00b5-CPU \u201cquoted\u201d",
    cores=2,
    cpu_quota=1.5,
    memory_bytes=2**53 + 1,
    cpu_capability="AVX512",
    native_bf16=True,
    compiler="g++ 13.2.0",
    compile_blocker="no headers",
    gpu="Example GPU",
    gpu_native_bf16=True,
    cuda="13.0",
    driver="590.1",
)

EVERY_CASE = Case(
    model="./net.py:make",
    variant=Variant(
        name="channels_last+amp+compile+cudnn_benchmark+default_malloc",
        precision="amp_fp16",
        channels_last=True,
        compile_mode="reduce-overhead",
        cudnn_benchmark=True,
        default_malloc=True,
        threads=7,
    ),
    task="train",
    device="cuda",
    batch_size=64,
    input_shape=(3, 32, 48),
    dataset="digits",
    recipe="fast",
    weights="pretrained",
    role="aa_control",
    seed=12,
    budget=Budget(total_s=60.5, timeout_s=0.1),
)

EVERY_RECORD = Record(
    case=EVERY_CASE,
    environment=EVERY_ENVIRONMENT,
    round=2,
    started="2026-01-02T03:04:05+00:00",
    duration_s=4.125,
    status="invalid",
    measurements=(
        Measurement(quantity="latency_s", samples=(0.1, 0.2), iterations_per_sample=3, blocks=(0, 2), rejected=(1,)),
    ),
    warnings=(RecordedWarning(code="no_effect", fact="a\nb", advice="c\td"),),
    layers=(Layer(name="0.conv", kind="Conv2d", output_shape=(1, 6, 28, 28), params=156, macs=117_600),),
    notes=("not counted: aten::max_pool2d",),
    error="line one\nline two \u2028 </script>",
)

EVERY_RUN = Run(
    title="Two models",
    command="cnnbench compare a b",
    started="2026-01-02T03:04:00Z",
    reference="a/eager",
    sort="latency_s",
    latency_max_s=0.05,
    params_max=5_000_000,
    delta=0.05,
    budget_s=240.0,
    partial=True,
    wall_s=245.0,
    passes_s=161.25,
    compile_s=21.0,
)


@pytest.mark.parametrize("item", [EVERY_RECORD, EVERY_RUN], ids=["record", "run"])
def test_samples_of_this_test_leave_no_field_at_its_default(item: Record | Run) -> None:
    whole: list[Any] = [item]
    while whole:
        one = whole.pop()
        for field in fields(one):
            value = getattr(one, field.name)
            assert field.name == "format" or value != field.default, f"{type(one).__name__}.{field.name}"
            several = value if isinstance(value, tuple) else (value,)
            whole += [inner for inner in several if hasattr(inner, "__dataclass_fields__")]


@pytest.mark.parametrize("item", [EVERY_RECORD, EVERY_RUN, *whole_run()], ids=lambda item: type(item).__name__)
def test_what_is_written_is_read_again(item: Record | Run) -> None:
    line = to_json(item)
    assert b"\n" not in line
    assert from_json(line) == item


def test_a_line_of_a_run_is_this() -> None:
    assert json.loads(to_json(run())) == {
        "run": {
            "format": FORMAT_VERSION,
            "title": "Two models",
            "command": "cnnbench compare a b",
            "started": "2026-01-02T03:04:00Z",
            "reference": None,
            "sort": None,
            "latency_max_s": None,
            "params_max": None,
            "delta": None,
            "budget_s": None,
            "partial": False,
            "wall_s": None,
            "passes_s": None,
            "compile_s": None,
        }
    }


def test_floats_keep_every_digit_and_their_sign() -> None:
    values = (0.1, 1 / 3, 2**0.5, 5e-324, 1.7976931348623157e308, -0.0, 1e22, 1e16 + 2, math.nextafter(1.0, 2.0), 3.0)
    read = from_json(to_json(record(case("lenet"), Measurement(quantity="latency_s", samples=values))))
    assert isinstance(read, Record)
    assert [x.hex() for x in read.measurements[0].samples] == [x.hex() for x in values]


def test_bytes_of_names_that_are_not_utf8_are_written_out() -> None:
    name = os.fsdecode(b"./caf\xe9.py:build")
    read = from_json(to_json(replace(record(case(name), status="failed", error=f"{name}: no"))))
    assert isinstance(read, Record)
    assert (read.case.model, read.error) == ("./caf\\xe9.py:build", "./caf\\xe9.py:build: no")


def test_a_whole_number_is_read_as_a_float_where_a_float_belongs() -> None:
    line = to_json(replace(run(), wall_s=245.0)).replace(b"245.0", b"245")
    read = from_json(line)
    assert isinstance(read, Run)
    assert (read.wall_s, type(read.wall_s)) == (245.0, float)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_sample_that_is_no_number_is_not_written(bad: float) -> None:
    spoilt = record(case("lenet"), once("params", 1.0), Measurement(quantity="latency_s", samples=(0.1, bad)))
    with pytest.raises(ValueError, match=r"^latency_s of lenet eager cpu infer batch 1 holds (nan|inf|-inf)$"):
        to_json(spoilt)


def changed(item: Record | Run, path: str, value: object) -> bytes:
    """Return the line of `item` with `value` at the dotted `path`."""
    whole = json.loads(to_json(item))
    *way, last = path.split(".")
    place = whole
    for step in way:
        place = place[int(step) if step.isdigit() else step]
    place[int(last) if last.isdigit() else last] = value
    return json.dumps(whole).encode()


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("record.duration_s", "1", "Expected `float`, got `str` - at `$.record.duration_s`"),
        ("record.status", "fine", "Invalid enum value 'fine' - at `$.record.status`"),
        ("record.round", 1.5, "Expected `int`, got `float` - at `$.record.round`"),
        ("record.case.batch_size", None, "Expected `int`, got `null` - at `$.record.case.batch_size`"),
        ("record.case.variant.precision", "fp8", "Invalid enum value 'fp8' - at `$.record.case.variant.precision`"),
        ("record.environment.cores", "2", "Expected `int`, got `str` - at `$.record.environment.cores`"),
        (
            "record.measurements.0.samples.1",
            None,
            "Expected `float`, got `null` - at `$.record.measurements[0].samples[1]`",
        ),
        ("record.layers", {}, "Expected `array`, got `object` - at `$.record.layers`"),
    ],
)
def test_a_bad_field_is_named_with_its_path(path: str, value: object, message: str) -> None:
    with pytest.raises(ValueError, match=r".") as caught:
        from_json(changed(EVERY_RECORD, path, value))
    assert str(caught.value) == message


def test_a_missing_field_is_named() -> None:
    whole = json.loads(to_json(EVERY_RUN))
    del whole["run"]["title"]
    with pytest.raises(ValueError, match=r"^Object missing required field `title` - at `\$\.run`$"):
        from_json(json.dumps(whole).encode())


@pytest.mark.parametrize("line", [b"{}", b'{"other": 1}'])
def test_neither_record_nor_run(line: bytes) -> None:
    with pytest.raises(ValueError, match=r"^Neither a record nor a run - at `\$`$"):
        from_json(line)


@pytest.mark.parametrize("line", [b"", b"not json", to_json(EVERY_RECORD)[:-1]])
def test_half_a_line_is_refused(line: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        from_json(line)


def test_find_gives_the_measurement_of_a_quantity_or_none() -> None:
    found = record(case("lenet"), once("params", 5.0), once("macs", 7.0))
    assert found.find("macs") == Measurement(quantity="macs", samples=(7.0,))
    assert found.find("latency_s") is None


def test_an_empty_outcome_holds_nothing() -> None:
    assert Outcome() == Outcome(measurements=(), warnings=(), layers=(), notes=())
