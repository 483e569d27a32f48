"""The page in a real browser: it loads alone, sorts, filters, hovers, leads to rows, and can be read by everybody."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright import sync_api

from cnnbench.analysis import analyse
from cnnbench.record import Record
from cnnbench.report.html import to_html
from tests.factories import LAST, case, record, wave
from tests.report.test_charts import EVIL, compared

pytestmark = pytest.mark.browser

INTERACTIVE_S = 3.0
"""Longest time from opening a page of 2,000 rows until it filters."""


class Opened:
    """A page that is open, and what it complained of or asked for."""

    def __init__(self, page: sync_api.Page, path: Path) -> None:
        self.page, self.said, self.asked = page, list[str](), list[str]()
        page.on("console", lambda message: self.said.append(message.text))
        page.on("pageerror", lambda error: self.said.append(str(error)))
        page.on("request", lambda request: self.asked.append(request.url))
        begin = time.monotonic()
        page.goto(path.as_uri())
        page.get_by_label("Search").wait_for()
        self.ready_s = time.monotonic() - begin

    def column(self, at: int) -> list[str]:
        """Return the texts of a column, shown rows only."""
        found: list[str] = self.page.locator(f"#rows tbody tr:visible td:nth-child({at})").all_inner_texts()
        return found


@pytest.fixture(scope="module")
def browser() -> Iterator[sync_api.Browser]:
    path = shutil.which("chromium") or shutil.which("google-chrome")
    assert path is not None, "These tests need Chromium: apt-get install chromium"
    with sync_api.sync_playwright() as running:
        opened = running.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield opened
        opened.close()


def written(folder: Path, items: list[Record]) -> Path:
    path = folder / "report.html"
    path.write_text(to_html(analyse(items)), encoding="utf-8")
    return path


@pytest.fixture
def opened(browser: sync_api.Browser, tmp_path: Path) -> Iterator[Opened]:
    page = browser.new_page(viewport={"width": 1200, "height": 900})
    yield Opened(page, written(tmp_path, compared((EVIL, "b", "c"))))
    page.close()


def draw_all(opened: Opened) -> None:
    for chart in opened.page.locator(".chart").all():
        chart.scroll_into_view_if_needed()
        chart.locator(".main-svg").first.wait_for()


def test_it_loads_alone_and_shows_names_as_text(opened: Opened) -> None:
    draw_all(opened)
    assert opened.said == []
    assert len(opened.asked) == 1
    assert opened.page.locator(".chart .main-svg").count() > 0
    assert opened.column(1)[0] == EVIL
    assert EVIL in opened.page.locator("#speedups").inner_text()


def test_rows_are_sorted_by_value_both_ways(opened: Opened) -> None:
    button = opened.page.get_by_role("button", name="Latency")
    button.click()
    assert opened.page.locator("th[aria-sort=ascending]").inner_text().startswith("Latency")
    names = [EVIL, "b", "c"]
    seconds = {
        (name, variant): (1 + at) * (2 if variant == "eager" else 1)
        for at, name in enumerate(names)
        for variant in ("eager", "channels_last")
    }
    order = [seconds[pair] for pair in zip(opened.column(1), opened.column(2), strict=True)]
    assert order == sorted(order)
    button.press("Enter")
    order = [seconds[pair] for pair in zip(opened.column(1), opened.column(2), strict=True)]
    assert order == sorted(order, reverse=True)


def test_rows_are_filtered_by_words_and_by_values(opened: Opened) -> None:
    opened.page.get_by_label("Search").fill("channels b")
    assert opened.column(1) == ["b"]
    assert opened.page.locator("#count").inner_text() == "1 of 6 rows"
    opened.page.get_by_role("button", name="All rows").click()
    opened.page.get_by_label("Variant").select_option("eager")
    assert opened.column(2) == ["eager"] * 3
    assert opened.page.locator("#count").inner_text() == "3 of 6 rows"


def test_a_point_tells_its_row_and_leads_to_it(opened: Opened) -> None:
    draw_all(opened)
    point = opened.page.locator("#speedups .scatterlayer .points path").first
    point.scroll_into_view_if_needed()
    box = point.bounding_box()
    assert box is not None
    opened.page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    opened.page.locator("#speedups .hoverlayer text").first.wait_for()
    assert "FASTER" in (opened.page.locator("#speedups .hoverlayer").text_content() or "")
    opened.page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    focused = opened.page.evaluate("document.activeElement.id")
    assert focused == "row-1"


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1200])
def test_everybody_can_read_it(
    browser: sync_api.Browser, tmp_path: Path, scheme: Literal["light", "dark"], width: int
) -> None:
    page = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)
    opened = Opened(page, written(tmp_path, compared(("a", "b"))))
    draw_all(opened)
    found = Axe().run(page).response["violations"]
    assert [(one["id"], one["nodes"][0]["html"]) for one in found if one["impact"] in ("serious", "critical")] == []
    wider = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    assert wider <= 0, "the page itself must not scroll sideways"
    page.close()


def test_two_thousand_rows_are_there_in_time(browser: sync_api.Browser, tmp_path: Path) -> None:
    items: list[Record] = []
    for at in range(1000):
        items += [record(case(f"network_{at}"), *wave(0.02)), record(case(f"network_{at}", LAST), *wave(0.01))]
    page = browser.new_page()
    opened = Opened(page, written(tmp_path, items))
    assert opened.ready_s < INTERACTIVE_S
    page.get_by_label("Search").fill("network_999")
    assert page.locator("#count").inner_text() == "2 of 2000 rows"
    assert opened.said == []
    page.close()
