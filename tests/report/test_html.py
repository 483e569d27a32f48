"""The page: complete, harmless whatever records hold, the same bytes again, and small enough."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest

from cnnbench.analysis import analyse
from cnnbench.record import Record, Run
from cnnbench.report.html import to_html
from tests.analysis.test_layers import layered
from tests.factories import LAST, case, record, run, wave, whole_run
from tests.report.test_charts import EVIL, compared

FORMULA = '=cmd|"/c calc"!A1'


class Page(HTMLParser):
    """Collects what a browser would see: elements by name, and the text outside of scripts and styles."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.inside: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag in ("script", "style"):
            self.inside.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if self.inside and self.inside[-1] == tag:
            self.inside.pop()

    def handle_data(self, data: str) -> None:
        if not self.inside:
            self.text.append(data)

    def of(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def page(text: str) -> Page:
    found = Page()
    found.feed(text)
    found.close()
    return found


def test_the_page_holds_the_whole_report() -> None:
    report = analyse(whole_run())
    found = page(to_html(report))
    text = " ".join(" ".join(found.text).split())
    for part in (report.title, *report.summary, *report.notes, report.command, report.environment.cpu):
        assert " ".join(part.split()) in text
    ids = [attributes["id"] for _, attributes in found.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert [name for name in ids if (name or "").startswith("row-")] == [f"row-{at}" for at in range(len(report.rows))]
    headings = [tag for tag, _ in found.elements if re.fullmatch(r"h\d", tag)]
    assert headings[0] == "h1"
    assert set(headings[1:]) == {"h2"}


def test_nothing_is_asked_of_the_network() -> None:
    text = to_html(analyse(compared()))
    found = page(text)
    assert [e for e in found.elements if e[0] in ("link", "img", "iframe", "object", "embed")] == []
    assert all("src" not in attributes for attributes in found.of("script"))
    assert all((attributes.get("href") or "").startswith("#") for attributes in found.of("a"))
    (policy,) = [a["content"] for a in found.of("meta") if a.get("http-equiv") == "Content-Security-Policy"]
    assert (policy or "").startswith("default-src 'none'; script-src 'unsafe-inline';")


@pytest.mark.parametrize("name", [EVIL, FORMULA, '"><img src=x onerror=alert(1)>', "{{ 7 * 7 }}", "</script><b>"])
def test_texts_from_records_show_as_they_are(name: str) -> None:
    cells = compared((name, "b"))
    cells.append(record(case(f"{name} failed"), status="failed", error=f"no {name}"))
    plain = page(to_html(analyse(compared(("a", "b")))))
    found = page(to_html(analyse([*cells, run(title=name, command=f"cnnbench compare {name}")])))
    text = "".join(found.text)
    assert text.count(name) > 5
    for tag in ("script", "img", "b", "style"):
        assert len(found.of(tag)) == len(plain.of(tag))


def test_the_same_records_give_the_same_bytes() -> None:
    assert to_html(analyse(compared())) == to_html(analyse(compared()))


def test_a_hundred_cells_stay_below_six_megabytes() -> None:
    cells: list[Record] = []
    for at in range(50):
        values = wave(0.02 * (1 + at), passes=100)
        cells += [record(case(f"network_{at}"), *values), record(case(f"network_{at}", LAST), *values)]
    assert len(to_html(analyse(cells)).encode()) < 6_000_000


def test_numbers_sort_by_value_and_filters_offer_differences() -> None:
    report = analyse(compared())
    found = page(to_html(report))
    keys = [float(a["data-key"] or "") for a in found.of("td") if "data-key" in a]
    assert report.rows[0].latency_s in keys
    assert [a["data-tag"] for a in found.of("select")] == ["variant"]
    rows = [a for a in found.of("tr") if "id" in a]
    assert [a["data-variant"] for a in rows] == ["eager", "channels_last"] * 2


def test_without_rows_it_says_so() -> None:
    empty = to_html(analyse([record(case("a"), status="failed", error="gone"), run(params_max=1)]))
    assert "gone" in empty


def test_where_time_goes_has_table_with_bars_if_layered() -> None:
    items: list[Record | Run] = [run(), record(case("net"), *wave(0.1)), layered(0.05, 0.02)]
    found = page(to_html(analyse(items)))
    text = " ".join(" ".join(found.text).split())
    assert "Where the time goes" in text
    assert "50.0 ms (50.0 %)" in text
    bars = [attributes["style"] for attributes in found.of("td") if attributes.get("class") == "right bar"]
    assert bars == [
        "--share: 50.0%",
        "--share: 0.0%",
        "--share: 0.0%",
        "--share: 20.0%",
        "--share: 100.0%",
        "--share: 100.0%",
    ]
    assert "Where the time goes" not in to_html(analyse(items[:2]))
