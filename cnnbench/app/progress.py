"""Progress on standard error: a bar with the time left on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import IO, TYPE_CHECKING, Protocol

import click

from cnnbench.orchestrator.events import Progress
from cnnbench.quantities import show
from cnnbench.record import Record
from cnnbench.report.text.table import Table

if TYPE_CHECKING:
    from rich.table import Table as RichTable

# Lines of a terminal that are kept free for the bar and for earlier output.
BESIDE_TABLE = 4

# Seconds between two lines of progress if there is no terminal: often enough for a log to show that the run is alive.
PLAIN_EVERY_S = 10.0

# Seconds between two updates of the clock on a terminal.
TICK_S = 1.0


class Display(Protocol):
    """A display of what is going on; `has_table` says whether it has a place for a table."""

    has_table: bool

    def on_progress(self, progress: Progress) -> None:
        """Show what the run is doing and how long it may still take."""

    def line(self, text: str) -> None:
        """Show a line that stays visible."""

    def table(self, table: Table) -> None:
        """Show a table in place of the previous one, if the display has a place for it."""


class _Plain:
    has_table = False

    def __init__(self) -> None:
        self._last = -PLAIN_EVERY_S

    def on_progress(self, progress: Progress) -> None:
        if progress.elapsed_s - self._last >= PLAIN_EVERY_S:
            self._last = progress.elapsed_s
            left = f"about {clock_text(progress.remaining_s)} left"
            self.line(f"[{clock_text(progress.elapsed_s)}, {left}] {progress.text}")

    def line(self, text: str) -> None:
        click.echo(text, err=True)

    def table(self, table: Table) -> None:
        del table


@contextmanager
def display() -> Iterator[Display]:
    """Yield a display on standard error: a bar if that is a terminal, plain lines otherwise."""
    if sys.stderr is None or not sys.stderr.isatty():  # None: the stream was closed
        yield _Plain()
        return
    with _bar() as shown:
        yield shown


@contextmanager
def _bar() -> Iterator[Display]:
    from rich.console import Console, Group
    from rich.live import Live
    from rich.progress import BarColumn, ProgressColumn, Task, TextColumn
    from rich.progress import Progress as Bar
    from rich.text import Text

    console = Console(stderr=True)
    began = time.monotonic()
    ticker = _Ticker(console.file, began)

    class Clock(ProgressColumn):
        """A column that reads the clock at every drawing, also at the last, so that it never shows an earlier time."""

        def render(self, task: Task) -> Text:
            del task
            return Text(ticker.text())

    columns = (Clock(), BarColumn(bar_width=24), TextColumn("{task.description}", markup=False))
    bar = Bar(*columns, console=console, auto_refresh=False)
    task = bar.add_task("", total=1.0)

    # Rich's own thread would draw the table ten times a second and take that time from the worker that is measured.
    with Live(bar, console=console, transient=True, auto_refresh=False, vertical_overflow="crop") as live, ticker:

        class Shown:
            has_table = True

            def on_progress(self, progress: Progress) -> None:
                # The bar shows a text only until the next one, so a lasting text also gets a line.
                if progress.lasting:
                    self.line(progress.text)

                # Both times can be 0 at the start, when nothing is known yet.
                whole = max(progress.elapsed_s + progress.remaining_s, 1e-9)
                ticker.total_s = time.monotonic() - began + progress.remaining_s
                bar.update(task, completed=progress.elapsed_s / whole, description=progress.text)
                with ticker.still:
                    live.refresh()

            def line(self, text: str) -> None:
                with ticker.still:  # Rich draws the bar again below the line
                    console.print(text, markup=False, highlight=False, soft_wrap=True)

            def table(self, table: Table) -> None:
                with ticker.still:
                    live.update(Group(rich_table(table, console.size.height - BESIDE_TABLE), bar), refresh=True)

        yield Shown()


class _Ticker:
    """A thread that writes the clock every second, over the old one at the start of the last line.

    That takes some microseconds. `still` is held while something else is drawn.
    """

    def __init__(self, out: IO[str], began: float) -> None:
        self.total_s = 0.0
        self.still = threading.Lock()
        self._out = out
        self._began = began
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._tick, name="clock", daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def text(self) -> str:
        """Return what the clock shows now; the text is empty until the length of the run is known."""
        elapsed = time.monotonic() - self._began
        return times_text(elapsed, max(elapsed, self.total_s)) if self.total_s else ""

    def _tick(self) -> None:
        while not self._ended.wait(TICK_S):
            with self.still, suppress(OSError, ValueError):  # the terminal may be gone
                if text := self.text():
                    self._out.write(f"\r{text}")
                    self._out.flush()


def times_text(elapsed_s: float, total_s: float) -> str:
    """Return the clock of a run, such as "0:07 / 1:00"."""
    return f"{clock_text(elapsed_s)} / {clock_text(total_s)}"


def rich_table(table: Table, lines: int) -> RichTable:
    """Return the last rows of `table` for a terminal, at most `lines` lines with the heading."""
    from rich.table import Table as Grid
    from rich.text import Text

    # The newest rows matter most, so the first ones give way. `Text` keeps Rich from reading markup in names.
    grid = Grid(box=None, pad_edge=False, header_style="bold")
    for heading, right in zip(table.headings, table.right, strict=True):
        grid.add_column(heading, justify="right" if right else "left", no_wrap=True)
    for row in table.cells[-max(1, lines - 1) :]:
        grid.add_row(*map(Text, row))
    return grid


def clock_text(seconds: float) -> str:
    """Return seconds as 0:07, 12:34 or 1:02:03."""
    whole = round(seconds)
    hours, rest = divmod(whole, 3600)
    minutes, left = divmod(rest, 60)
    return f"{hours}:{minutes:02}:{left:02}" if hours else f"{minutes}:{left:02}"


def length_text(seconds: float) -> str:
    """Return seconds as 45 s, 12 min 34 s or 1 h 2 min."""
    hours, rest = divmod(round(seconds), 3600)
    minutes, left = divmod(rest, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {left} s" if minutes else f"{left} s"


def record_line(record: Record) -> str:
    """Return the line that reports the result of a case."""
    return f"{record.status:>11}  {record.case.label()}  {_gist(record)}".rstrip()


def _gist(record: Record) -> str:
    if record.error is not None:
        return record.error
    if (latency := record.find("latency_s")) and latency.samples:
        # the median, or the higher of the two middle samples
        middle = sorted(latency.samples)[len(latency.samples) // 2]
        count = len(latency.samples)
        return f"{show(middle, 'seconds')} ({count} sample{'s' if count > 1 else ''})"
    if top1 := record.find("top1"):
        return f"top-1 {show(top1.samples[0], 'share')}"
    if macs := record.find("macs"):
        return f"{show(macs.samples[0], 'count')} MACs"
    return ""
