"""Parts that drawings share: the width, colours, plain texts, and the bytes of a figure's file."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from cnnbench.report.charts.parts import COLOURS, SYMBOLS
from cnnbench.text import one_line

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

# Image formats, named by their file extensions.
FORMATS = ("png", "svg")

# An image is 935 pixels wide, about the width of a page on a code host.
WIDTH_IN = 8.5
DPI = 110

# Most characters of a title that fit into the width.
LONGEST_TITLE = 110

LINE = COLOURS[0]
WRONG = COLOURS[1]
GREY = "#6e6e6e"

# Matplotlib's markers for the symbols of charts.
MARKERS = dict(zip(SYMBOLS, ("o", "s", "D", "^", "P", "*", "X"), strict=True))

# A name that Matplotlib gives to a clip path of an SVG.
_CLIP = re.compile(rb"\bp[0-9a-f]{10}\b")
_STYLE: Any = {
    "font.size": 9,
    "axes.titlesize": 9.5,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e4e4e4",
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "legend.frameon": False,
    "figure.facecolor": "white",
    "text.parse_math": False,  # texts come from records, and a dollar sign in them is no formula
    "svg.hashsalt": "cnnbench",  # gives the same image the same bytes
    "svg.fonttype": "path",
}


def encode_figure(draw: Callable[[Figure], None], height_in: float, form: str) -> bytes:
    """Return the file, in one of `FORMATS`, of a figure of `height_in` inches that `draw` has filled."""
    with _ignore_glyph_warnings():
        import matplotlib as mpl
        from matplotlib.figure import Figure

        with mpl.rc_context(_STYLE):
            figure = Figure(figsize=(WIDTH_IN, height_in), dpi=DPI, layout="constrained")
            draw(figure)
            stream = io.BytesIO()
            # Versions and dates would give the same image other bytes.
            metadata = {"Software": None} if form == "png" else {"Date": None, "Creator": None}
            figure.savefig(stream, format=form, dpi=DPI, metadata=metadata)
    return _numbered_clips(stream.getvalue()) if form == "svg" else stream.getvalue()


def _numbered_clips(svg: bytes) -> bytes:
    """Return the SVG with its clip paths named by the order of their first use.

    Matplotlib names them after objects that it sometimes makes anew, so the same image could get other bytes.
    """
    known: dict[bytes, bytes] = {}

    def number(found: re.Match[bytes]) -> bytes:
        return known.setdefault(found[0], b"clip%d" % len(known))

    return _CLIP.sub(number, svg)


@contextmanager
def _ignore_glyph_warnings() -> Iterator[None]:
    """Suppress Matplotlib's warnings about characters that its font lacks; they show as boxes."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        yield


def title(where: Figure | SubFigure, text: str, **more: Any) -> None:
    """Put a title at the top left of a figure, or of a part of it."""
    where.suptitle(shorten(text, LONGEST_TITLE), x=0.01, ha="left", fontsize=10, **more)


def shorten(text: str, most: int) -> str:
    """Return `text` on one line of at most `most` characters."""
    line = one_line(text)
    return line if len(line) <= most else f"{line[: most - 3]}..."


def hide_frame(axes: Axes) -> None:
    """Remove ticks, grid and frame from axes that hold an image."""
    axes.set_xticks([])
    axes.set_yticks([])
    axes.grid(visible=False)
    for spine in axes.spines.values():
        spine.set_visible(False)


def whole_numbers(axes: Axes) -> None:
    """Place ticks at whole numbers only, on the x axis of epochs, steps or pixels."""
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(integer=True))


def few_marks(axis: Any, *, prefixes: bool = False) -> None:
    """Place ticks at 1, 2 and 5 of each decade of a logarithmic axis.

    Their labels are plain numbers, or numbers with k, M or G if `prefixes` is true.
    """
    from matplotlib.ticker import EngFormatter, LogLocator, NullFormatter, StrMethodFormatter

    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axis.set_major_formatter(EngFormatter(sep="") if prefixes else StrMethodFormatter("{x:g}"))
    axis.set_minor_formatter(NullFormatter())
