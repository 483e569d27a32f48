"""Images: files of the right form, the same for the same content, with every text and number in its place."""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from cnnbench.analysis import analyse
from cnnbench.analysis.training_curves import Curve, Moved
from cnnbench.image_types import ImageGrid, kernel_colours
from cnnbench.report import WRITERS
from cnnbench.report.charts import charts
from cnnbench.report.drawing import draw_chart, draw_confusion, draw_curves, draw_sheets, draw_shift, draw_steps
from cnnbench.report.drawing.image_grid import mosaic
from cnnbench.report.drawing.parts import DPI, WIDTH_IN
from cnnbench.stats import wilson_interval
from tests.factories import whole_run
from tests.report.test_charts import EVIL, compared

GREY = ImageGrid(title="grey", images=np.linspace(0, 1, 3 * 16, dtype=np.float32).reshape(3, 4, 4))
COLOURED = ImageGrid(title="colours", images=np.zeros((2, 4, 4, 3), dtype=np.float32))
VALUES = ImageGrid(
    title="values",
    images=np.linspace(-1, 3, 6 * 4, dtype=np.float32).reshape(6, 2, 2),
    kind="values",
    columns=2,
    axes=("input", "output"),
)
NAMED = ImageGrid(title="named", images=GREY.images, names=("a", "b\nis $c$", EVIL), wrong=(False, True, False))


def curve(part: str = "training", *, name: str = "lenet", points: int = 3, seeds: int = 1) -> Curve:
    ys = tuple(0.9 - 0.2 * at for at in range(points))
    xs = tuple(map(float, range(1, points + 1)))
    return Curve(name=name, part=part, seeds=seeds, xs=xs, middle=ys, low=ys, high=ys)  # type: ignore[arg-type]


CURVES = (curve(), curve("validation"))
MOVED = tuple(
    Moved(direction=way, shares=(wilson_interval(90, 100), wilson_interval(50, 100)))
    for way in ("right", "left", "down", "up")
)

DRAW: dict[str, Callable[[str], bytes]] = {
    "sheets": lambda form: draw_sheets("h", [GREY, COLOURED, VALUES, NAMED], form),
    "curves": lambda form: draw_curves("h", CURVES, (curve(seeds=3), curve("validation", seeds=3)), form),
    "curves of several": lambda form: draw_curves(
        "h", (curve(name="a"), curve(name=EVIL)), (curve(name="a"), curve(name=EVIL)), form
    ),
    "steps": lambda form: draw_steps("h", CURVES, form),
    "confusion": lambda form: draw_confusion("h", [[5, 1, 0], [0, 7, 2]], ("cat", "dog"), form),
    "shift": lambda form: draw_shift("h", MOVED, form),
}


@pytest.mark.parametrize("name", DRAW)
def test_a_picture_is_of_its_form_and_the_same_again(name: str) -> None:
    png, svg = DRAW[name]("png"), DRAW[name]("svg")
    with Image.open(io.BytesIO(png)) as opened:
        assert opened.format == "PNG"
        assert opened.width == round(WIDTH_IN * DPI)
    assert svg.startswith(b"<?xml")
    assert png == DRAW[name]("png")
    assert svg == DRAW[name]("svg")


def test_a_mosaic_has_gaps_and_empty_places_of_nothing() -> None:
    whole = mosaic(GREY.images, 2, gap=1)
    assert whole.shape == (9, 9)
    np.testing.assert_array_equal(whole[:4, 5:], GREY.images[1])
    np.testing.assert_array_equal(whole[5:, :4], GREY.images[2])
    assert np.isnan(whole[4]).all()
    assert np.isnan(whole[5:, 4:]).all()
    assert mosaic(COLOURED.images, 2, gap=1)[0, 4].tolist() == [1.0, 1.0, 1.0]


def test_kernels_of_nothing_are_grey() -> None:
    assert set(kernel_colours(np.zeros((1, 3, 2, 2), dtype=np.float32)).flatten().tolist()) == {0.5}


def test_what_is_not_in_the_font_is_no_failure() -> None:
    assert draw_sheets("\N{CJK UNIFIED IDEOGRAPH-4E00}", [GREY], "png")


@pytest.mark.parametrize("names", [("a", "b"), (EVIL, "=cmd()"), tuple(f"net{at}" for at in range(60))])
def test_every_chart_of_a_report_is_a_picture(names: tuple[str, ...]) -> None:
    for chart in charts(analyse(compared(names))):
        png = draw_chart(chart, "png")
        assert png == draw_chart(chart, "png")
        with Image.open(io.BytesIO(png)) as opened:
            assert opened.width == round(WIDTH_IN * DPI)


def test_markdown_in_a_run_folder_has_its_charts_beside_it() -> None:
    report = analyse(whole_run())
    files = WRITERS["markdown"].files(report)
    drawn = charts(report)
    assert list(files) == ["report.md", *(f"report-{chart.name}.png" for chart in drawn)]
    text = files["report.md"].decode()
    for chart in drawn:
        assert f"### {chart.title}\n\n![{chart.title}](report-{chart.name}.png)\n\n" in text
    assert files == WRITERS["markdown"].files(report)
    assert ".png" not in WRITERS["markdown"].write(report)


def test_other_formats_are_one_file() -> None:
    report = analyse(whole_run())
    assert WRITERS["csv"].files(report) == {"report.csv": WRITERS["csv"].write(report).encode()}
