"""What commands print, from hand-made records: tables, descriptions, tests of checkpoints, trainings, the machine."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from cnnbench.cli import describe, doctor, evaluate, train
from cnnbench.cli.main import exit_code
from cnnbench.cli.progress import clock_text, display, record_line
from cnnbench.cli.tables import render
from cnnbench.models import MODELS
from cnnbench.orchestrator.ask import Largest
from cnnbench.orchestrator.run import Progress
from cnnbench.record import Layer, Measurement, Record
from tests.made import AMP, LAST, MACHINE, case, counted, judged, once, record, timed


def table(*lines: str) -> str:
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(0.0, "0:00"), (6.6, "0:07"), (59.6, "1:00"), (754.0, "12:34"), (3600.0, "1:00:00"), (36_123.0, "10:02:03")],
)
def test_a_time_is_written_as_on_a_clock(seconds: float, expected: str) -> None:
    assert clock_text(seconds) == expected


@pytest.mark.parametrize(
    ("of", "expected"),
    [
        (record(case("a"), *timed([0.5, 0.25, 0.75])), "         ok  a eager cpu infer batch 1  500 ms (3 samples)"),
        (
            record(case("a", LAST, task="train", batch_size=8), status="timeout", error="no answer"),
            "    timeout  a channels_last cpu train batch 8  no answer",
        ),
        (judged("a", 3, 4), "         ok  a eager cpu accuracy batch 1  top-1 75.0 %"),
        (counted("a", params=5, macs=2_500_000), "         ok  a eager cpu complexity batch 1  2.50 M MACs"),
        (record(case("a", AMP), status="unsupported"), "unsupported  a amp cpu infer batch 1"),
    ],
)
def test_what_came_of_a_case_is_a_line(of: Record, expected: str) -> None:
    assert record_line(of) == expected


def test_a_terminal_gets_a_bar_and_lines_as_they_are(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    with display() as shown:
        shown.tell(Progress(text="[bold]a[/]", elapsed_s=1.0, remaining_s=2.0))
        shown.line("[red]it stays[/red]")
    out, err = capsys.readouterr()
    assert out == ""
    assert "[red]it stays[/red]\n" in err


ROWS = [("a", 1234, None), ("b,c", 5, 0.5)]


@pytest.mark.parametrize(
    ("output_format", "expected"),
    [
        ("table", table("name        n  share", "------  -----  -------", "a       1,234  -", "b,c         5  0.5")),
        ("csv", table("name,n,share", "a,1234,", '"b,c",5,0.5')),
    ],
)
def test_a_listing(output_format: str, expected: str) -> None:
    assert render(("name", "n", "share"), ROWS, output_format) == expected


def test_a_listing_in_json() -> None:
    assert json.loads(render(("name", "n", "share"), ROWS, "json")) == [
        {"name": "a", "n": 1234, "share": None},
        {"name": "b,c", "n": 5, "share": 0.5},
    ]


@pytest.mark.parametrize(("output_format", "expected"), [("table", "a    b\n---  ---"), ("csv", "a,b"), ("json", "[]")])
def test_an_empty_listing(output_format: str, expected: str) -> None:
    assert render(("a", "b"), [], output_format) == expected


COUNTED = replace(
    counted("mine.py:f", params=400, macs=3000, shape=(3, 4, 4), notes=("torchinfo counts 8 more.",)),
    layers=(
        Layer(name="0", kind="Conv2d", output_shape=(1, 8, 4, 4), params=100, macs=2000),
        Layer(name="1", kind="Linear", output_shape=(1, 10), params=300, macs=1000),
    ),
)
COUNTED = replace(
    COUNTED, measurements=(*COUNTED.measurements, once("macs_torchinfo", 3008), once("weight_bytes", 1600))
)


@pytest.fixture
def count(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []

    def answer(model: str, input_size: object) -> Record:
        asked.append(input_size)
        found = replace(COUNTED, case=replace(COUNTED.case, model=model))
        return replace(found, status="failed", error="It fails.", measurements=()) if asked == [(5, 6)] else found

    monkeypatch.setattr("cnnbench.cli.describe.count_model", answer)
    monkeypatch.setattr("cnnbench.cli.describe.check_name", lambda name: None)


@pytest.mark.usefixtures("count")
def test_a_model_from_outside_is_described(capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code(["describe", "mine.py:f"]) == 0
    assert capsys.readouterr() == (
        table(
            "mine.py:f: input 3x4x4, batch 1",
            "",
            "layer    kind    output      params  share      MACs  share",
            "-------  ------  --------  --------  -------  ------  -------",
            "0        Conv2d  1x8x4x4        100  25.0 %    2,000  66.7 %",
            "1        Linear  1x10           300  75.0 %    1,000  33.3 %",
            "",
            "total",
            "--------------------  --------",
            "parameters                 400",
            "trainable parameters       400",
            "MACs by torch            3,000",
            "MACs by fvcore               -",
            "MACs by torchinfo        3,008",
            "weights               1.56 KiB",
            "activations                  -",
            "",
            "torchinfo counts 8 more.",
            "",
        ),
        "",
    )


@pytest.mark.usefixtures("count")
def test_a_model_from_outside_is_described_in_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code(["describe", "mine.py:f", "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out) == {
        "name": "mine.py:f",
        "source": "mine.py:f",
        "input_shape": [3, 4, 4],
        "params": 400,
        "trainable_params": 400,
        "macs": 3000,
        "classes": 1000,
        "weight_bytes": 1600,
        "activation_bytes": None,
        "counters": {"torch": 3000, "fvcore": None, "torchinfo": 3008},
        "notes": ["torchinfo counts 8 more."],
        "layers": [
            {"name": "0", "kind": "Conv2d", "output_shape": [1, 8, 4, 4], "params": 100, "macs": 2000},
            {"name": "1", "kind": "Linear", "output_shape": [1, 10], "params": 300, "macs": 1000},
        ],
        "recipe": None,
        "deviations": [],
        "printed": [],
        "errata": [],
    }


@pytest.mark.usefixtures("count")
def test_a_model_that_cannot_be_counted_says_why(capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code(["describe", "mine.py:f", "--input-size", "5x6"]) == 1
    assert capsys.readouterr() == ("", "Error: mine.py:f cannot be counted: It fails.\n")


def test_a_built_in_tells_its_story() -> None:
    text = "\n".join(describe._story(MODELS["lenet"]))
    assert text.splitlines()[:3] == [
        "Source: mslearn 5.3 (mslearn: Microsoft Learn, 'Introduction to computer vision with PyTorch')",
        "Recipe: cifar10, normalise; cross_entropy, sgd 0.001 momentum 0.9, batch 14, 3 epochs, shuffled",
        "Printed: params 59,386",
    ]
    assert text.splitlines()[-1] == (
        "Erratum (mslearn, train_epoch, train_long and validate): the sum of the batches' mean losses is divided by "
        "the number of samples, too small by about the batch; corrected: mean loss over samples"
    )


def scores(*, top5: bool = True) -> Record:
    """Return a test of a network with three outputs on 100 pictures of two classes."""
    found = [
        once("correct", 90.0),
        once("tested", 100.0),
        once("top1", 0.9),
        Measurement(quantity="class_correct", samples=(40.0, 50.0)),
        Measurement(quantity="class_total", samples=(48.0, 52.0)),
        Measurement(quantity="confusion", samples=(40.0, 8.0, 0.0, 1.0, 50.0, 1.0)),
    ]
    found += [once("top5_correct", 100.0)] if top5 else []
    return record(case("a", task="accuracy", dataset="digits"), *found)


REFUSED = record(case("a", AMP, task="accuracy", dataset="digits"), status="unsupported", error="No bf16.")


def test_a_test_in_a_table() -> None:
    assert evaluate._text([scores(), REFUSED], "table") == table(
        "variant    status         tested  top1    top1_low    top1_high    top5     top5_low    top5_high    error",
        "---------  -----------  --------  ------  ----------  -----------  -------  ----------  -----------  --------",
        "eager      ok                100  90.0 %  82.6 %      94.5 %       100.0 %  96.3 %      100.0 %      -",
        "amp        unsupported         -  -       -           -            -        -           -            No bf16.",
        "",
        "By class under eager:",
        "class    correct      as 0    as 1    as 2",
        "-------  ---------  ------  ------  ------",
        "0        40/48          40       8       0",
        "1        50/52           1      50       1",
    )


def test_a_test_in_csv_and_json() -> None:
    low, high = 0.8256343384950865, 0.9447708629393249
    assert evaluate._text([scores(top5=False), REFUSED], "csv") == table(
        "variant,status,tested,top1,top1_low,top1_high,top5,top5_low,top5_high,error",
        f"eager,ok,100,0.9,{low},{high},,,,",
        "amp,unsupported,,,,,,,,No bf16.",
    )
    first, second = json.loads(evaluate._text([scores(top5=False), REFUSED], "json"))
    assert first == {
        "variant": "eager",
        "status": "ok",
        "tested": 100,
        "top1": 0.9,
        "top1_low": low,
        "top1_high": high,
        "top5": None,
        "top5_low": None,
        "top5_high": None,
        "error": None,
        "by_class": [[40.0, 50.0], [48.0, 52.0]],
        "confusion": [[40, 8, 0], [1, 50, 1]],
    }
    assert (second["variant"], second["error"], "confusion" in second) == ("amp", "No bf16.", False)


def trained(seed: int, correct: int) -> Record:
    found = (
        Measurement(quantity="train_loss", samples=(1.5, 0.5)),
        Measurement(quantity="val_top1", samples=(0.5, 0.75)),
        Measurement(quantity="epoch_s", samples=(0.25, 0.5)),
        once("correct", float(correct)),
        once("tested", 100.0),
        once("top1", correct / 100),
    )
    made = case("mine.py:f", task="accuracy", dataset="digits", seed=seed)
    return record(made, *found, notes=("Trained on 10 pictures.",))


BROKEN = record(case("mine.py:f", task="accuracy", seed=2), status="failed", error="Boom.")


def test_trainings_in_a_table() -> None:
    assert train._table([trained(0, 90), trained(1, 80), BROKEN], Path("out"), "table") == table(
        "  seed  status      epochs  train_loss    val_top1    top1    top1_low    top1_high    train_s    checkpoint",
        "------  --------  --------  ------------  ----------  ------  ----------  -----------  ---------"
        "  -------------------------------",
        "     0  ok               2  0.5           75.0 %      90.0 %  82.6 %      94.5 %       750 ms"
        "     out/mine.py-f-seed0.safetensors",
        "     1  ok               2  0.5           75.0 %      80.0 %  71.1 %      86.7 %       750 ms"
        "     out/mine.py-f-seed1.safetensors",
        "     2  failed           -  -             -           -       -           -            -          -",
        "",
        "top-1 over 2 seeds: mean 85.0 %, standard deviation 7.1 %",
        "",
        "seed 2: Boom.",
        "Trained on 10 pictures.",
    )


def test_trainings_in_csv() -> None:
    assert train._table([trained(0, 100), BROKEN], Path("out"), "csv") == table(
        "seed,status,epochs,train_loss,val_top1,top1,top1_low,top1_high,train_s,checkpoint",
        "0,ok,2,0.5,0.75,1.0,0.9630065017930143,1.0,0.75,out/mine.py-f-seed0.safetensors",
        "2,failed,,,,,,,,",
    )


def test_curves_have_a_row_for_each_epoch() -> None:
    assert train._curves([trained(0, 90), BROKEN, trained(3, 80)]) == (
        "seed,epoch,train_loss,val_top1,epoch_s\n0,1,1.5,0.5,0.25\n0,2,0.5,0.75,0.5\n3,1,1.5,0.5,0.25\n3,2,0.5,0.75,0.5\n"
    )


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("lenet", "out/lenet-seed7.safetensors"),
        ("torchvision:resnet18", "out/torchvision-resnet18-seed7.safetensors"),
        ("../nets/mine.py:f", "out/mine.py-f-seed7.safetensors"),
    ],
)
def test_where_weights_go(model: str, expected: str) -> None:
    assert train.checkpoint_path(Path("out"), model, 7) == Path(expected)


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (Largest(batch_size=0, failed_at=1, reason="Full."), "not even batch 1 runs: Full."),
        (Largest(batch_size=64, failed_at=None, reason=None), "batch 64 fits; nothing larger was tried"),
        (Largest(batch_size=64, failed_at=65, reason="Full."), "largest batch that fits: 64 (at 65: Full.)"),
        (Largest(batch_size=64, failed_at=128, reason="Full."), "batch 64 fits, 128 does not: Full."),
    ],
)
def test_the_largest_batch_in_words(found: Largest, expected: str) -> None:
    assert doctor._largest_text(found) == expected


def test_the_doctor_shows_machine_and_variants(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("cnnbench.cli.doctor.environment_of", lambda: replace(MACHINE, cpu_quota=1.5))
    assert exit_code(["doctor"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "machine"
    assert "processor          Example CPU @ 2.0 GHz, instructions AVX2" in lines
    assert "CPU quota          1.5 cores" in lines
    assert "memory             8.00 GiB" in lines
    assert "CUDA device        none that torch sees" in lines
    assert "C++ compiler       g++ 13.2.0" in lines
    assert exit_code(["doctor", "--format", "json"]) == 0
    known = json.loads(capsys.readouterr().out)
    assert tuple(known) == ("environment", "threads", "free_memory_bytes", "variants", "largest_batch")
    assert (known["environment"]["cpu_quota"], known["largest_batch"]) == (1.5, None)
    found = {(row["variant"], row["device"]): row["status"] for row in known["variants"]}
    assert (found["eager", "cpu"], found["amp", "cpu"], found["tf32", "cuda"]) == ("native", "emulated", "unsupported")


def test_the_doctor_searches_the_largest_batch(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[object] = []

    def search(model: str, device: str, *, limit: int, seconds: float, tell: object) -> Largest:
        asked.append((model, device, limit, seconds))
        return Largest(batch_size=64, failed_at=None, reason=None)

    monkeypatch.setattr("cnnbench.cli.doctor.environment_of", lambda: MACHINE)
    monkeypatch.setattr("cnnbench.cli.doctor.largest_batch", search)
    assert exit_code(["doctor", "--model", "lenet", "--largest", "2k", "--within", "5s"]) == 0
    assert asked == [("lenet", "cpu", 2000, 5.0)]
    assert capsys.readouterr().out.endswith("\n\nlenet: batch 64 fits; nothing larger was tried\n")
