"""Every format's exact text, and what hostile texts in records must not become."""

import csv
import io
import json
import math
from collections.abc import Callable
from dataclasses import replace

import pytest

from cnnbench.analysis import COLUMNS, analyse
from cnnbench.record import Record, Run, from_json, to_json
from cnnbench.report import WRITERS
from cnnbench.report.markdown import escape
from cnnbench.report.terminal import to_table
from cnnbench.spec import Task, Variant
from tests.analysis.test_layers import layered
from tests.factories import (
    COMPILE,
    LAST,
    STEADY,
    beside,
    case,
    in_rounds,
    judged,
    leaking,
    once,
    record,
    run,
    timed,
    wave,
    whole_run,
)

BAR = "\N{FULL BLOCK}"


def test_formats_and_their_files() -> None:
    assert {name: writer.file_name for name, writer in WRITERS.items()} == {
        "table": "report.txt",
        "markdown": "report.md",
        "html": "report.html",
        "csv": "report.csv",
        "json": "report.json",
    }


@pytest.mark.parametrize("name", ["table", "markdown", "csv"])
def test_the_text_is_the_expected_one(name: str, is_golden: Callable[[str, str], bool]) -> None:
    writer = WRITERS[name]
    assert is_golden(writer.file_name, writer.write(analyse(whole_run())))


@pytest.mark.parametrize("name", list(WRITERS))
def test_a_rebuild_from_stored_records_gives_the_same_bytes(name: str) -> None:
    write = WRITERS[name].write
    stored = [from_json(to_json(item)) for item in whole_run()]
    assert write(analyse(stored)).encode() == write(analyse(whole_run())).encode()


def test_json_holds_the_whole_report_with_the_columns_of_the_csv() -> None:
    report = analyse(whole_run())
    parsed = json.loads(WRITERS["json"].write(report))
    assert tuple(parsed["rows"][0]) == (*COLUMNS, "detail")
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


def section(text: str, heading: str) -> str:
    """Return what stands under `heading` in a Markdown text."""
    return text.partition(f"\n## {heading}\n\n")[2].partition("\n\n## ")[0]


def warned(*mebibytes: float) -> list[Record]:
    """Return a record of another model for each, with a warning of as much memory."""
    return [record(case(f"m{at}"), *timed([1.0]), warnings=(leaking(one),)) for at, one in enumerate(mebibytes)]


HELD = "the process held more memory after the last pass than after the first"


def test_up_to_three_rows_of_a_warning_are_listed_openly() -> None:
    report = analyse(warned(1.5, 2.5, 1.5))
    assert section(WRITERS["markdown"].write(report), "Warnings") == (
        "- **leaking**, 3 rows. Look for what keeps the batches.\n"
        f"  - m0 eager cpu infer batch 1; m2 eager cpu infer batch 1: {HELD} (1.5 MiB)\n"
        f"  - m1 eager cpu infer batch 1: {HELD} (2.5 MiB)"
    )
    told = "\n\n(!) leaking: 3 rows; look for what keeps the batches\n\n"
    assert to_table(report).endswith(f"{told}{report.summary[0]}\n")


def test_more_rows_of_a_warning_are_folded() -> None:
    report = analyse(warned(1.5, 2.5, 1.5, 3.5))
    assert section(WRITERS["markdown"].write(report), "Warnings") == (
        "- **leaking**, 4 rows. Look for what keeps the batches.\n"
        "\n"
        "  <details>\n"
        f"  <summary>{HELD} ...</summary>\n"
        "\n"
        "  - m0 eager cpu infer batch 1; m2 eager cpu infer batch 1: ... (1.5 MiB)\n"
        "  - m1 eager cpu infer batch 1: ... (2.5 MiB)\n"
        "  - m3 eager cpu infer batch 1: ... (3.5 MiB)\n"
        "\n"
        "  </details>"
    )


def test_a_fact_that_all_rows_of_a_warning_share_is_said_once() -> None:
    assert section(WRITERS["markdown"].write(analyse(warned(1.5, 1.5, 1.5, 1.5))), "Warnings") == (
        f"- **leaking**, 4 rows: {HELD} (1.5 MiB). Look for what keeps the batches.\n"
        "\n"
        "  <details>\n"
        "  <summary>The 4 rows</summary>\n"
        "\n"
        "  - m0 eager cpu infer batch 1\n"
        "  - m1 eager cpu infer batch 1\n"
        "  - m2 eager cpu infer batch 1\n"
        "  - m3 eager cpu infer batch 1\n"
        "\n"
        "  </details>"
    )


def test_hostile_texts_stay_harmless_in_every_block() -> None:
    names = ("<script>alert(1)</script>", "=cmd()", "a|b", "1. x\n\n</details><b>", "# c")
    start = "</summary></details> <b> *c* | `d`"
    warning = replace(leaking(1.0), code="=x<b>", advice="<i>\n\n# no")
    items = [
        record(case(name), *timed([1.0]), warnings=(replace(warning, fact=f"{start} e {at}"),), notes=("# <u>",))
        for at, name in enumerate(names)
    ]
    items += [replace(judged(name, 1, 2), notes=("</details>\n\n# <u>",)) for name in names]
    report = analyse(items)
    text = WRITERS["markdown"].write(report)
    assert section(text, "Warnings") == (
        "- **=x&lt;b&gt;**, 5 rows. &lt;i&gt; # no\n"
        "\n"
        "  <details>\n"
        "  <summary>&lt;/summary&gt;&lt;/details&gt; &lt;b&gt; *c* | `d` e ...</summary>\n"
        "\n"
        "  - &lt;script&gt;alert(1)&lt;/script&gt; eager cpu infer batch 1: ... 0\n"
        "  - =cmd() eager cpu infer batch 1: ... 1\n"
        "  - a\\|b eager cpu infer batch 1: ... 2\n"
        "  - 1\\. x &lt;/details&gt;&lt;b&gt; eager cpu infer batch 1: ... 3\n"
        "  - \\# c eager cpu infer batch 1: ... 4\n"
        "\n"
        "  </details>"
    )
    assert (
        "<summary>Notes on training before top-1 was tested</summary>\n"
        "\n"
        "- &lt;script&gt;alert(1)&lt;/script&gt;, =cmd(), a\\|b, 1. x &lt;/details&gt;&lt;b&gt; and # c: "
        "&lt;/details&gt; # &lt;u&gt;\n"
        "\n"
        "</details>\n"
    ) in text
    tags = {line.strip() for line in text.splitlines() if "<" in line and "<summary>" not in line}
    assert tags == {"<details>", "</details>"}
    assert [row["model"] for row in csv.DictReader(io.StringIO(WRITERS["csv"].write(report)))][1] == "'=cmd()"


@pytest.mark.parametrize(("models", "reference"), [(7, None), (8, None), (8, "m0/eager")])
def test_many_sentences_on_single_models_stand_below_the_table(models: int, reference: str | None) -> None:
    factors = (1.0, 1.0, 1.0)
    items = [
        one
        for at in range(models)
        for v in (case("a").variant, LAST)
        for one in in_rounds(case(f"m{at}", v), 0.1 + at, factors)
    ]
    report = analyse([run(reference=reference), *items])
    text = WRITERS["markdown"].write(report)
    top = f"- {report.summary[-1]}"
    assert top.startswith("- Shortest latency: m0 eager, 10")
    said = "\n".join(f"- {sentence}" for sentence in report.differences)
    assert len(report.differences) == models
    if models == 7:
        assert f"on cpu.\n\n{said}\n{top}\n\n## Noise\n" in text
        assert "What differs" not in text
    else:
        assert f"\n\n{top}\n\n## Noise\n" in text
        assert section(text, f"What differs from {reference or 'eager'}") == said


def test_terminal_shortens_notes_and_omits_training_notes() -> None:
    report = analyse([record(case("a"), *timed([1.0])), judged("a", 1, 2)])
    assert "Trained on" not in to_table(report)
    ten = replace(report, notes=tuple(f"fact {at}" for at in range(10)))
    assert "\n\n" + "\n".join(f"Note: fact {at}" for at in range(10)) + "\n\n" in to_table(ten)
    eleven = replace(report, notes=(*ten.notes, "last"))
    assert "\nNote: fact 8\n2 more notes are in the Markdown report.\n\n" in to_table(eleven)
    long = replace(report, notes=("x" * 300,))
    assert f"\nNote: {'x' * 231}...\n" in to_table(long)


def test_what_all_rows_share_is_said_once() -> None:
    report = analyse([record(case(name), *timed([0.5])) for name in ("a", "b")])
    assert to_table(report).splitlines() == [
        "Model    Variant      Latency    Images/s    Speed-up    Samples",
        "-------  ---------  ---------  ----------  ----------  ---------",
        "a        eager         500 ms        1.60   reference          1",
        "b        eager         500 ms        1.60   reference          1",
        "",
        "In every row: device cpu, precision fp32, batch 1, task infer, input 3x224x224, rounds 1, status ok.",
        "",
        "Note: A p95 is shown from 130 timed passes on, and a p99 from 662 on.",
        "",
        "No A/A control and no control workload in these records.",
        "2 samples, 1 thread on cpu.",
        "",
        "Shortest latency: a eager, 500 ms.",
    ]


def test_calls_that_never_pay_are_a_word_in_files() -> None:
    report = analyse(
        [
            *in_rounds(case("a"), 1.0),
            *in_rounds(case("a", COMPILE), 1.1, STEADY, once("compile_s", 20.0)),
        ]
    )
    assert [row.break_even_calls for row in report.rows] == [None, math.inf]
    assert [row["break_even_calls"] for row in csv.DictReader(io.StringIO(WRITERS["csv"].write(report)))] == [
        "",
        "never",
    ]
    eager, compiled = json.loads(WRITERS["json"].write(report))["rows"]
    assert (eager["break_even_calls"], compiled["break_even_calls"]) == (None, "never")
    assert (eager["detail"]["break_even_high"], compiled["detail"]["break_even_high"]) == (None, "never")
    assert "| never |" in WRITERS["markdown"].write(report)
    assert list(report.to_dataframe().columns) == list(COLUMNS)


def test_json_holds_the_noise_card() -> None:
    noise = json.loads(WRITERS["json"].write(analyse(whole_run())))["noise"]
    assert [aa_control["reference"] for aa_control in noise["aa_controls"]] == [
        "resnet18 eager cpu infer batch 1",
        "lenet eager cpu infer batch 1",
    ]
    assert (noise["samples"], noise["rejected"], noise["threads"]) == (300, 4, [["cpu", 1]])


def widths(*items: Record | Run) -> list[int]:
    """Return the widths of the lines of the terminal's table."""
    lines = to_table(analyse(items)).splitlines()
    ruler = next(at for at, line in enumerate(lines) if line.startswith("---"))
    return [len(line) for line in lines[ruler - 1 : lines.index("", ruler)]]


def test_terminal_table_fits_120_columns_and_keeps_verdict() -> None:
    assert max(widths(*whole_run())) <= 120
    text = to_table(analyse(whole_run()))
    assert "NOT DISTINGUISHABLE" in text.partition("In every row")[0].partition("Left out")[0]


def test_names_are_cut_before_intervals_are_left_out() -> None:
    name = "examples/models/residual.py:ResidualNetwork"
    sped = Variant(name="compile+channels_last", channels_last=True, compile_mode="default")
    tasks: tuple[Task, ...] = ("infer", "train")
    items = [
        one
        for variant in (case("a").variant, sped)
        for task in tasks
        for one in in_rounds(case(name, variant, task=task), 0.0123)
    ]
    text = to_table(analyse(items))
    assert max(widths(*items)) <= 120
    assert "\n...al.py:ResidualNetwork  compile+channels_last" in text
    assert "12.4 ms (12.3-12.4)" in text
    assert "Samples, starts of names." in text


def test_the_terminal_has_the_answers_last_and_alarms_first() -> None:
    report = replace(analyse(whole_run()), partial="interrupted after 30 of 240 s")
    lines = to_table(report).splitlines()
    assert lines[0] == (
        "PARTIAL RESULT: interrupted after 30 of 240 s. Intervals are wider than those of the whole run."
    )
    starts = (
        "PARTIAL",
        "Model ",
        "In every row",
        "resnet18 amp",
        "Note:",
        "A/A in",
        "(!)",
        "resnet18 (",
        "Fastest first",
    )
    found = [next(at for at, line in enumerate(lines) if line.startswith(start)) for start in starts]
    assert found == sorted(found)
    assert lines[-1].startswith("lenet is 188 times (")


def test_rows_with_warnings_are_marked() -> None:
    report = analyse(whole_run())
    lines = to_table(report).splitlines()
    marked = [line.endswith("ok (!)") for line in lines[2 : 2 + len(report.rows)]]
    assert marked == [row.status == "ok" and row.warnings is not None for row in report.rows]
    assert "| oom (!) |" in WRITERS["markdown"].write(report)


@pytest.mark.parametrize("name", ["table", "markdown", "html"])
def test_headlines_stand_before_all_numbers(name: str) -> None:
    busy = record(beside(case("a"), "control_workload"), *timed([0.01]), once("pressure_share", 0.75))
    text = WRITERS[name].write(analyse([run(partial=True), record(case("a"), *wave(0.01)), busy]))
    place = [text.index(word) for word in ("BUSY MACHINE: ", "PARTIAL RESULT: ", "10.0 ms")]
    assert place == sorted(place)


@pytest.mark.parametrize("name", ["table", "markdown", "html"])
def test_the_line_up_is_in_every_text(name: str) -> None:
    text = WRITERS[name].write(analyse(whole_run()))
    for words in ("Fastest first (eager, cpu, batch 1)", "lenet is 188 times (", "as fast as resnet18."):
        assert words in text


@pytest.mark.parametrize("name", list(WRITERS))
def test_a_report_without_rows_can_be_written(name: str) -> None:
    report = analyse([run(latency_max_s=0.1), record(case("a"), *timed([0.5]))])
    assert report.rows == ()
    assert WRITERS[name].write(report).endswith("\n")


def test_where_the_time_goes_is_folded_with_bars() -> None:
    text = WRITERS["markdown"].write(analyse([run(), record(case("net"), *wave(0.1)), layered(0.05, 0.02)]))
    assert (
        "<details>\n<summary>net (cpu, batch 1). A pass takes 100 ms with the clock in every layer; most of it: "
        "l0 (Conv2d, 50.0 %) and l1 (Conv2d, 20.0 %). 30.0 % is outside the layers.</summary>\n\n"
        "| Layer | Type | Output | Time | MACs | Params |\n"
        "| --- | --- | --- | :--- | :--- | :--- |\n"
        f"| l0 | Conv2d | 2x3x3 | {10 * BAR} 50.0 ms (50.0 %) | 0 | 0 |\n"
        f"| l1 | Conv2d | 2x3x3 | {4 * BAR} 20.0 ms (20.0 %) | {20 * BAR} 100 (100.0 %) | {20 * BAR} 10 (100.0 %) |\n\n"
        "</details>"
    ) in text
