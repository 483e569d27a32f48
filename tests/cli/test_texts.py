"""What commands print, from hand-made records: progress, listings, tests of checkpoints, trainings."""

import io
import json
import re
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from cnnbench.app.progress import _Ticker, clock_text, display, length_text, record_line, times_text
from cnnbench.cli import training_results as shown
from cnnbench.cli.commands import evaluate
from cnnbench.orchestrator.events import Progress
from cnnbench.record import Measurement, Record
from cnnbench.report.text.listing import render
from cnnbench.report.text.table import Table
from tests.factories import AMP, LAST, case, counted, judged, once, record, timed


def table(*lines: str) -> str:
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(0.0, "0:00"), (6.6, "0:07"), (59.6, "1:00"), (754.0, "12:34"), (3600.0, "1:00:00"), (36_123.0, "10:02:03")],
)
def test_a_time_is_written_as_on_a_clock(seconds: float, expected: str) -> None:
    assert clock_text(seconds) == expected


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(0.0, "0 s"), (59.6, "1 min 0 s"), (75.0, "1 min 15 s"), (3600.0, "1 h 0 min"), (36_123.0, "10 h 2 min")],
)
def test_a_length_of_time_is_written_in_words(seconds: float, expected: str) -> None:
    assert length_text(seconds) == expected


def test_a_clock_shows_what_has_passed_and_the_whole() -> None:
    assert times_text(6.6, 59.6) == "0:07 / 1:00"


class Paper(io.StringIO):
    """What is written on; `enough` is set when that was done three times."""

    def __init__(self) -> None:
        super().__init__()
        self.enough = threading.Event()
        self.times = 0

    def write(self, text: str) -> int:
        self.times += 1
        if self.times >= 3:
            self.enough.set()
        return super().write(text)


@pytest.mark.parametrize(("now", "shown"), [(107.0, "0:07 / 1:00"), (165.0, "1:05 / 1:05")], ids=["within", "past"])
def test_the_clock_ticks_over_the_start_of_the_last_line(
    now: float, shown: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cnnbench.app.progress.TICK_S", 0.001)
    monkeypatch.setattr("cnnbench.app.progress.time.monotonic", lambda: now)
    paper = Paper()
    ticker = _Ticker(paper, 100.0)
    ticker.total_s = 60.0
    with ticker:
        assert paper.enough.wait(10.0)
    assert paper.getvalue() == f"\r{shown}" * paper.times


def test_the_clock_stands_while_something_is_drawn_and_before(monkeypatch: pytest.MonkeyPatch) -> None:
    looked = threading.Event()

    def monotonic() -> float:
        looked.set()
        return 107.0

    monkeypatch.setattr("cnnbench.app.progress.TICK_S", 0.001)
    monkeypatch.setattr("cnnbench.app.progress.time.monotonic", monotonic)
    paper = Paper()
    ticker = _Ticker(paper, 100.0)
    with ticker:
        assert looked.wait(10.0)
        with ticker.still:
            ticker.total_s = 60.0
            looked.clear()
            assert not looked.wait(0.02)  # some twenty ticks
            assert paper.times == 0
        assert paper.enough.wait(10.0)


class Screen(io.StringIO):
    """What is written to a terminal."""

    def isatty(self) -> bool:
        return True


def test_the_last_clock_that_is_drawn_is_not_an_earlier_one(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Screen()
    times = {"now": 100.0}
    monkeypatch.setattr("sys.stderr", screen)
    monkeypatch.setattr("cnnbench.app.progress.TICK_S", 60.0)
    monkeypatch.setattr("cnnbench.app.progress.time.monotonic", lambda: times["now"])
    with display() as shown:
        times["now"] = 107.0
        shown.on_progress(Progress(text="round 2", elapsed_s=7.0, remaining_s=1.0))
        times["now"] = 108.0
    assert re.findall(r"0:\d\d / 0:\d\d", screen.getvalue()) == ["0:07 / 0:08", "0:08 / 0:08"]


def test_a_terminal_that_has_gone_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cnnbench.app.progress.TICK_S", 0.001)
    paper = Paper()
    ticker = _Ticker(paper, time.monotonic())
    ticker.total_s = 60.0
    with ticker:
        assert paper.enough.wait(10.0)
        paper.close()


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
        shown.on_progress(Progress(text="[bold]a[/]", elapsed_s=1.0, remaining_s=2.0))
        shown.line("[red]it stays[/red]")
    out, err = capsys.readouterr()
    assert out == ""
    assert "[red]it stays[/red]\n" in err


def test_live_table_shows_last_rows_and_replaces_previous(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    monkeypatch.setenv("LINES", "8")
    monkeypatch.setenv("COLUMNS", "60")

    def grown(rows: int) -> Table:
        cells = tuple((f"[b]net{at}[/b]", f"{at} ms") for at in range(rows))
        return Table(headings=("Model", "Latency"), right=(False, True), cells=cells, common=())

    with display() as shown:
        assert shown.has_table
        shown.table(grown(1))
        shown.table(grown(9))
    err = capsys.readouterr().err
    assert err.index("[b]net0[/b]") < err.index("[b]net6[/b]") < err.index("[b]net8[/b]")
    assert "[b]net5[/b]" not in err


def test_without_a_terminal_there_is_no_table(capsys: pytest.CaptureFixture[str]) -> None:
    with display() as shown:
        assert not shown.has_table
        shown.table(Table(headings=("Model",), right=(False,), cells=(("a",),), common=()))
    assert capsys.readouterr().err == ""


def test_a_line_worth_keeping_stays_on_a_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    with display() as shown:
        shown.on_progress(Progress(text="epoch 1/2", elapsed_s=1.0, remaining_s=2.0, lasting=True))
    assert "epoch 1/2\n" in capsys.readouterr().err


def test_the_clock_does_not_go_back_when_a_line_is_shown(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = 100.0
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setattr("cnnbench.app.progress.time.monotonic", lambda: now)
    table_of_one = Table(headings=("Model",), right=(False,), cells=(("a",),), common=())
    with display() as shown:
        shown.on_progress(Progress(text="a", elapsed_s=0.0, remaining_s=60.0))
        now = 107.0
        shown.line("it stays")
        now = 109.0
        shown.table(table_of_one)
    assert re.findall(r"\d:\d\d / \d:\d\d", capsys.readouterr().err)[:3] == [
        "0:00 / 1:00",
        "0:07 / 1:00",
        "0:09 / 1:00",
    ]


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


def scores(*, top5: bool = True, predicted: tuple[float, ...] = (0, 1, 1, 0), shift: tuple[float, ...] = ()) -> Record:
    """Return a test of a model with three outputs on 100 images of two classes."""
    found = [
        once("correct", 90.0),
        once("tested", 100.0),
        once("top1", 0.9),
        Measurement(quantity="class_correct", samples=(40.0, 50.0)),
        Measurement(quantity="class_total", samples=(48.0, 52.0)),
        Measurement(quantity="confusion", samples=(40.0, 8.0, 0.0, 1.0, 50.0, 1.0)),
    ]
    found += [once("top5_correct", 100.0)] if top5 else []
    found += [once("calibration_error", 0.04), Measurement(quantity="predicted", samples=predicted)]
    found += [Measurement(quantity="shift_correct", samples=shift)] if shift else []
    return record(case("a", task="accuracy", dataset="digits"), *found)


REFUSED = record(case("a", AMP, task="accuracy", dataset="digits"), status="unsupported", error="No bf16.")


def test_a_test_in_a_table() -> None:
    lines = evaluate._text([scores(), REFUSED], "table").splitlines()
    assert lines[0].split() == list(evaluate._HEADERS)
    assert " ".join(lines[2].split()) == "eager ok 100 90.0 % 82.6 % 94.5 % 100.0 % 96.3 % 100.0 % 4.0 % - -"
    assert " ".join(lines[3].split()) == "amp unsupported - - - - - - - - - No bf16."
    assert "\n".join(lines[4:]) == table(
        "",
        "By class under eager:",
        "class    correct      as 0    as 1    as 2",
        "-------  ---------  ------  ------  ------",
        "0        40/48          40       8       0",
        "1        50/52           1      50       1",
    )


def test_variants_are_compared_picture_by_picture() -> None:
    amp = replace(scores(predicted=(0, 1, 1, 1)), case=REFUSED.case)
    _, second = json.loads(evaluate._text([scores(), amp], "json"))
    assert second["agreement"] == 0.75
    assert evaluate.agreement(REFUSED, scores()) is None


def test_moved_pictures_are_a_table_of_their_own() -> None:
    moved = scores(shift=(90.0, 80.0, 70.0, 60.0, 50.0, 40.0, 30.0, 20.0))
    assert evaluate._text([moved], "table").endswith(
        table(
            "Accuracy with all images moved by this many pixels:",
            "  pixels  right    left    down    up",
            "--------  -------  ------  ------  ------",
            "       1  90.0 %   70.0 %  50.0 %  30.0 %",
            "       2  80.0 %   60.0 %  40.0 %  20.0 %",
        )
    )
    (found,) = json.loads(evaluate._text([moved], "json"))
    assert found["moved"]["2"] == {"right": 0.8, "left": 0.6, "down": 0.4, "up": 0.2}


def test_a_test_in_csv_and_json() -> None:
    low, high = 0.8256343384950865, 0.9447708629393249
    assert evaluate._text([scores(top5=False), REFUSED], "csv") == table(
        "variant,status,tested,top1,top1_low,top1_high,top5,top5_low,top5_high,calibration_error,agreement,error",
        f"eager,ok,100,0.9,{low},{high},,,,0.04,,",
        "amp,unsupported,,,,,,,,,,No bf16.",
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
        "calibration_error": 0.04,
        "agreement": None,
        "error": None,
        "by_class": [[40.0, 50.0], [48.0, 52.0]],
        "confusion": [[40, 8, 0], [1, 50, 1]],
        "moved": {},
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
    return record(made, *found, notes=("Trained on 10 images.",))


BROKEN = record(case("mine.py:f", task="accuracy", seed=2), status="failed", error="Boom.")


def test_trainings_in_a_table() -> None:
    assert shown.table_text([trained(0, 90), trained(1, 80), BROKEN], Path("out"), "table") == table(
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
        "Trained on 10 images.",
    )


def test_three_seeds_give_the_mean_an_interval() -> None:
    text = shown.table_text([trained(0, 90), trained(1, 80), trained(2, 85)], Path("out"), "table")
    # +- t(0.975, 2) x 5 / sqrt(3)
    assert "top-1 over 3 seeds: mean 85.0 % (72.6-97.4), standard deviation 5.0 %" in text


def test_trainings_in_csv() -> None:
    assert shown.table_text([trained(0, 100), BROKEN], Path("out"), "csv") == table(
        "seed,status,epochs,train_loss,val_top1,top1,top1_low,top1_high,train_s,checkpoint",
        "0,ok,2,0.5,0.75,1.0,0.9630065017930143,1.0,0.75,out/mine.py-f-seed0.safetensors",
        "2,failed,,,,,,,,",
    )


def test_curves_have_row_per_epoch_and_blanks_for_missing() -> None:
    assert shown.curves_text([trained(0, 90), BROKEN, trained(3, 80)]) == table(
        "seed,epoch,train_loss,train_top1,val_loss,val_top1,epoch_s,train_img_per_s,data_share,learning_rate",
        "0,1,1.5,,,0.5,0.25,,,",
        "0,2,0.5,,,0.75,0.5,,,",
        "3,1,1.5,,,0.5,0.25,,,",
        "3,2,0.5,,,0.75,0.5,,,",
        "",
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
    assert shown.checkpoint_path(Path("out"), model, 7) == Path(expected)
