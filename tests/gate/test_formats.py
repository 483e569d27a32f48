"""A gate's verdict as text, whole."""

import csv
import io
import json

import pytest

from cnnbench.gate.formats import GATE_WRITERS, PAST, to_csv, to_json, to_markdown, to_table
from cnnbench.gate.history import HISTORY_COLUMNS, Past
from cnnbench.gate.verdict import GateReport, Question, gate_cells, gate_report, lacking
from tests.factories import MACHINE
from tests.gate.records import compared, two


def past(**changed: object) -> Past:
    given = {"started": "2026-01-01T00:00:00+00:00", "model": "net", "variant": "eager", "batch_size": 1}
    more = {"verdict": "pass", "slowdown": 0.021, "base": "main|a", "head": "b", "cpu": "Other CPU"}
    return Past(**{**given, **more, **changed})  # type: ignore[arg-type]


def report(*earlier: Past) -> GateReport:
    records = [*two(1.1), *two(1.09, time=1), *two(1.02, name="pipe|net")]
    cells = gate_cells([compared(), compared("pipe|net")], records, 0.05)
    new = lacking("new.py:make", in_base="There is no file.", in_head=None, absent=True)
    return gate_report(
        Question(base="main (1a2b3c4d)", head="the working tree", threshold=0.05),
        [*cells, new],
        notes=["requirements.lock differs"],
        environment=MACHINE,
        started="2026-01-02T03:04:05+00:00",
        wall_s=61.0,
        past=earlier,
    )


SLOW, FINE, _ = (cell.sentence for cell in report().cells)
NEW = "new.py:make: new in HEAD, so there is nothing to compare with: PASS"
WHOLE = "FAIL: net eager batch 1 is worse in the working tree than in main (1a2b3c4d)."


def test_the_table_ends_in_the_verdict() -> None:
    assert SLOW.startswith("net eager batch 1: 10.0 % slower (at least ")
    assert FINE.startswith("pipe|net eager batch 1: 2.0 % slower (at most ")
    lines = to_table(report()).splitlines()
    assert " ".join(lines[0].split()) == "Model Variant Batch BASE HEAD HEAD is Measured again Verdict"
    assert [line.split()[-1] for line in lines[2:5]] == ["FAIL", "PASS", "PASS"]
    assert lines[5:] == ["", SLOW, FINE, NEW, "Note: requirements.lock differs", "", WHOLE]


def test_markdown_is_whole() -> None:
    text = to_markdown(report())
    head, _, details = text.partition("<details>")
    assert head == (
        "## cnnbench gate: FAIL\n\n"
        f"**{WHOLE}**\n\n"
        "| Model | Variant | Batch | BASE | HEAD | HEAD is | Measured again | Verdict |\n"
        "| --- | --- | --- | --- | --- | --- | --- | --- |\n"
        "| net | eager | 1 | 10.1 ms | 11.0 ms | 10.0 % slower | 9.0 % slower | FAIL |\n"
        "| pipe\\|net | eager | 1 | 10.1 ms | 10.2 ms | 2.0 % slower | - | PASS |\n"
        "| new.py:make | - | - | - | - | - | - | PASS |\n\n"
        f"- {SLOW}\n"
        f"- {FINE.replace('|', chr(92) + '|')}\n"
        f"- {NEW}\n"
        "- requirements.lock differs\n\n"
        "Measured in 1 min 1 s from 2026-01-02T03:04:05+00:00 on Example CPU @ 2.0 GHz (2 cores) with PyTorch 2.11.0 "
        "and cnnbench 0.1.0; BASE is main (1a2b3c4d), HEAD is the working tree, the threshold 5 %.\n\n"
    )
    assert details.count("\n- ") == 3


def test_csv_has_a_row_a_cell() -> None:
    rows = list(csv.DictReader(io.StringIO(to_csv(report()))))
    assert tuple(rows[0]) == HISTORY_COLUMNS
    assert [(row["started"], row["cpu"], row["torch"]) for row in rows] == [
        ("2026-01-02T03:04:05+00:00", "Example CPU @ 2.0 GHz", "2.11.0")
    ] * 3
    assert [row["verdict"] for row in rows] == ["fail", "pass", "pass"]
    assert [float(rows[0][name]) for name in ("slowdown", "again", "threshold")] == pytest.approx([0.1, 0.09, 0.05])
    assert 0.05 < float(rows[0]["slowdown_low"]) < 0.1
    assert (rows[1]["again"], rows[2]["slowdown"], rows[2]["variant"]) == ("", "", "")
    assert rows[0]["sentence"] == SLOW


def test_json_is_all_of_it() -> None:
    found = json.loads(to_json(report()))
    assert (found["verdict"], found["failed"], found["sentence"]) == ("fail", True, WHOLE)
    assert found["question"] == {
        "base": "main (1a2b3c4d)",
        "head": "the working tree",
        "threshold": 0.05,
        "inconclusive_fails": False,
    }
    assert [cell["sentence"] for cell in found["cells"]] == [SLOW, FINE, NEW]
    assert found["cells"][2]["first"] is None


def test_earlier_gates_of_the_same_cells_stand_below() -> None:
    others = past(model="gone"), past(variant="compile"), past(batch_size=8)
    new = past(model="new.py:make", variant=None, batch_size=None, slowdown=None, verdict="inconclusive")
    lines = to_table(report(new, *others, past())).splitlines()
    at = lines.index(PAST)
    assert [" ".join(line.split()) for line in lines[at - 1 :]] == [
        "",
        PAST,
        "",
        "Model Variant Batch When BASE HEAD HEAD was Verdict",
        " ".join(lines[at + 3].split()),
        "net eager 1 2026-01-01T00:00:00+00:00 main|a b 2.1 % slower PASS",
        "new.py:make - - 2026-01-01T00:00:00+00:00 main|a b - INCONCLUSIVE",
        "",
        WHOLE,
    ]
    assert (
        f"\n\n{PAST}\n\n| Model | Variant | Batch | When | BASE | HEAD | HEAD was | Verdict |\n"
        "| --- | --- | --- | --- | --- | --- | --- | --- |\n"
        "| net | eager | 1 | 2026-01-01T00:00:00+00:00 | main\\|a | b | 2.1 % slower | PASS |\n\n<details>"
    ) in to_markdown(report(*others, past()))


def test_only_the_last_five_of_a_cell_are_shown() -> None:
    shown = report(*(past(started=f"day {day}") for day in range(7))).past
    assert [one.started for one in shown] == [f"day {day}" for day in range(2, 7)]


def test_the_command_line_offers_these() -> None:
    from cnnbench.cli.commands.gate import FORMATS

    assert tuple(GATE_WRITERS) == FORMATS
