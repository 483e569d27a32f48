"""Every format's exact text, and what hostile texts in records must not become."""

import csv
import io
import json
from dataclasses import replace
from pathlib import Path

import pytest

from cnnbench.analysis import COLUMNS, analyse
from cnnbench.record import from_json, to_json
from cnnbench.report import WRITERS
from cnnbench.report.markdown import escape
from tests.made import case, record, run, timed, whole_run

GOLDEN = Path(__file__).parents[1] / "golden"


def test_formats_and_their_files() -> None:
    assert {name: writer.file_name for name, writer in WRITERS.items()} == {
        "table": "report.txt",
        "markdown": "report.md",
        "csv": "report.csv",
        "json": "report.json",
    }


@pytest.mark.parametrize("name", ["table", "markdown", "csv"])
def test_the_text_is_the_expected_one(name: str) -> None:
    writer = WRITERS[name]
    assert writer.write(analyse(whole_run())) == (GOLDEN / writer.file_name).read_text(encoding="utf-8")


@pytest.mark.parametrize("name", list(WRITERS))
def test_a_rebuild_from_stored_records_gives_the_same_bytes(name: str) -> None:
    write = WRITERS[name].write
    stored = [from_json(to_json(item)) for item in whole_run()]
    assert write(analyse(stored)).encode() == write(analyse(whole_run())).encode()


def test_json_holds_the_whole_report_with_the_columns_of_the_csv() -> None:
    report = analyse(whole_run())
    parsed = json.loads(WRITERS["json"].write(report))
    assert tuple(parsed["rows"][0]) == COLUMNS
    assert [row["latency_s"] for row in parsed["rows"]] == [row.latency_s for row in report.rows]
    assert parsed["summary"] == list(report.summary)


def test_csv_neutralises_formulas_in_text_and_leaves_numbers() -> None:
    cells = [
        record(case(name), status="failed", error=error)
        for name, error in (("=1+1", "@SUM(A1)"), ("-x", "+1"), ('a,"b"', "fine"))
    ]
    parsed = list(csv.DictReader(io.StringIO(WRITERS["csv"].write(analyse(cells)))))
    assert [row["model"] for row in parsed] == ["'=1+1", "'-x", 'a,"b"']
    assert [row["error"] for row in parsed] == ["'@SUM(A1)", "'+1", "fine"]


def test_csv_keeps_every_digit() -> None:
    report = analyse([record(case("a"), *timed([0.1 + 0.2]))])
    (row,) = csv.DictReader(io.StringIO(WRITERS["csv"].write(report)))
    assert (row["latency_s"], row["latency_low_s"], row["verdict"]) == ("0.30000000000000004", "", "")


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        ("<script>alert(1)</script>", "&lt;script&gt;alert(1)&lt;/script&gt;"),
        ("a|b", "a\\|b"),
        ("`rm`\n# not a heading", "\\`rm\\` # not a heading"),
        ("[x](javascript:1) ![y](z)", "\\[x\\](javascript:1) !\\[y\\](z)"),
        ("channels_last _em_ **b** ~~s~~", "channels_last \\_em\\_ \\*\\*b\\*\\* \\~\\~s\\~\\~"),
        ("&lt; \\", "&amp;lt; \\\\"),
        ("\x1b[31m\x00", "\\\\x1b\\[31m\\\\x00"),
    ],
)
def test_markdown_shows_texts_as_they_are(text: str, escaped: str) -> None:
    assert escape(text) == escaped


def test_markdown_of_hostile_options_stays_in_its_place() -> None:
    report = analyse([run(title="# <b>", command="a ``` b\n```\nc"), record(case("1. x\n- y"), *timed([1.0]))])
    text = WRITERS["markdown"].write(report)
    assert text.startswith(
        "# # &lt;b&gt;\n\n1 model and 1 variant, measured from 2026-01-02 03:04:00 UTC on Example CPU"
    )
    assert "\n````\na ``` b ``` c\n````\n" in text
    assert "\n| 1. x - y | eager | cpu | 1 | infer |" in text


def test_lists_and_headings_do_not_start_within_an_entry() -> None:
    report = replace(analyse([record(case("a"), *timed([1.0]))]), notes=("1. one", "# two", "- three", "1.5 s", "-x"))
    assert "## Notes\n\n- 1\\. one\n- \\# two\n- \\- three\n- 1.5 s\n- -x\n" in WRITERS["markdown"].write(report)


def test_what_all_rows_share_is_said_once() -> None:
    report = analyse([record(case(name), *timed([0.5])) for name in ("a", "b")])
    assert str(report).splitlines() == [
        "Model    Variant      Latency    Images/s    Speed-up    Samples",
        "-------  ---------  ---------  ----------  ----------  ---------",
        "a        eager         500 ms        1.60   reference          1",
        "b        eager         500 ms        1.60   reference          1",
        "",
        "In every row: device cpu, precision fp32, batch 1, task infer, input 3x224x224, launches 1, status ok.",
        "",
        "Shortest median latency: a eager, 500 ms.",
        "",
        "Note: A p95 needs 130 timed passes and a p99 662; with fewer none is shown.",
    ]


@pytest.mark.parametrize("name", list(WRITERS))
def test_a_report_without_rows_can_be_written(name: str) -> None:
    report = analyse([run(latency_max_s=0.1), record(case("a"), *timed([0.5]))])
    assert report.rows == ()
    assert WRITERS[name].write(report).endswith("\n")
