"""The proof that cnnbench measures rightly: its experiments by name, and the figures that they give."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

Form = Literal["short", "full"]
Load = Literal["idle", "burst"]


class NotRunHere(Exception):  # noqa: N818  # no error: a machine may lack what an experiment needs
    """An experiment cannot be done on this machine; the message says what it needs."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Setting:
    """Under what an experiment is done; `tell` hears what it does and the share that is done (0 to 1)."""

    form: Form = "short"
    load: Load = "idle"
    seed: int = 0
    tell: Callable[[str, float], None] = lambda _text, _share: None

    @property
    def full(self) -> bool:
        """Whether the experiment has its full length."""
        return self.form == "full"


@dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    """What an experiment found: `measured` in words, its values in SI units, as shown, the bound and whether it held.

    `holds` None: not done here, with the `reason`.
    """

    measured: str
    values: tuple[float, ...] = ()
    shown: str = ""
    bound: str = ""
    holds: bool | None
    reason: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Figure:
    """One figure of the proof: which experiment and part, in which form, under which load, what it found, how long."""

    id: str
    part: str
    form: Form
    load: Load
    found: Found
    seconds: float

    @property
    def holds(self) -> bool | None:
        """Whether the bound held; None where it was not measured."""
        return self.found.holds


Experimenting = Callable[[str, Setting], Found]


@dataclass(frozen=True, kw_only=True, slots=True)
class Experiment:
    """One experiment: what is shown, when it holds, and the function (part, setting) -> `Found` that does it.

    Each of `parts` gives a figure of its own; `short_parts`, where the short form has others. `cheap`: it is a test of
    the package as well. `loads`: done under a load burst too where that is asked for. `short_s` and `full_s` are the
    expected seconds of all parts, for the time that is left only.
    """

    id: str
    title: str
    holds_if: str
    module: str
    function: str
    parts: tuple[str, ...] = ("",)
    short_parts: tuple[str, ...] = ()
    cheap: bool = False
    loads: bool = False
    short_s: float
    full_s: float

    def load(self) -> Experimenting:
        """Import the experiment and return its function."""
        found: Experimenting = getattr(importlib.import_module(f"cnnbench.selftest.{self.module}"), self.function)
        return found

    def parts_of(self, form: Form) -> tuple[str, ...]:
        """Return the parts that the experiment has in `form`."""
        return self.short_parts if form == "short" and self.short_parts else self.parts

    def expected_s(self, form: Form) -> float:
        """Return the expected seconds of one part in `form`."""
        return (self.full_s if form == "full" else self.short_s) / len(self.parts_of(form))


_ALL = (
    Experiment(
        id="V1",
        title="A/A in simulation: two equal cells, slow drift, spikes",
        holds_if="at most 18 false alarms of 1000 at 1 % (and at least 3), at most 18 of 200 at 5 %",
        module="simulation",
        function="false_alarms",
        parts=("1 %", "5 %"),
        cheap=True,
        short_s=4.0,
        full_s=4.0,
    ),
    Experiment(
        id="V2",
        title="A/A on this machine: two workers of lenet, new ones for each comparison of 12 blocks",
        holds_if="of 100 intervals at most 11 exclude 1, at most 3 verdicts other than SAME or NOT DISTINGUISHABLE",
        module="real",
        function="same_twice",
        loads=True,
        short_s=60.0,
        full_s=280.0,
    ),
    Experiment(
        id="V3",
        title="the same workers measured as AAA..BBB and judged by Welch's t-test",
        holds_if="clearly more false alarms than V2 may have, and than the interleaved blocks of the same workers gave",
        module="real",
        function="one_after_the_other",
        loads=True,
        short_s=60.0,
        full_s=280.0,
    ),
    Experiment(
        id="V4",
        title="coverage of the interval in simulation, under the stop rule",
        holds_if="at least 933 of 1000 intervals cover the truth; correlated noise is caught in at least 95 %",
        module="simulation",
        function="coverage",
        parts=("one set of workers", "several sets of workers", "correlated noise"),
        cheap=True,
        short_s=10.0,
        full_s=10.0,
    ),
    Experiment(
        id="V5",
        title="injected slowdown of 0, 5, 10 and 15 %, in runs of 15 s",
        holds_if="the interval covers it in at least 17 of 20 runs",
        module="slowdown",
        function="injected",
        parts=("0 %", "5 %", "10 %", "15 %"),
        short_parts=("0 to 15 %",),
        loads=True,
        short_s=110.0,
        full_s=2200.0,
    ),
    Experiment(
        id="V6",
        title="a module that spins until T",
        holds_if="the median is within max(0.5 %, 20 us) of T",
        module="clocking",
        function="spinning",
        parts=("1 ms", "5 ms", "20 ms", "100 ms"),
        cheap=True,
        short_s=9.0,
        full_s=30.0,
    ),
    Experiment(
        id="V7",
        title="a module that sleeps T",
        holds_if="0 to 0.5 ms above T, and flagged by CPU time over wall time",
        module="clocking",
        function="sleeping",
        parts=("1 ms", "5 ms", "20 ms", "100 ms"),
        cheap=True,
        short_s=9.0,
        full_s=30.0,
    ),
    Experiment(
        id="V8",
        title="a fake asynchronous device",
        holds_if="within 1 % when it is waited for; seen as invalid 20 of 20 times when it is not",
        module="clocking",
        function="asynchronous",
        parts=("waited for", "not waited for"),
        cheap=True,
        short_s=0.5,
        full_s=0.5,
    ),
    Experiment(
        id="V9",
        title="samples of 1, 2, 4 and 8 iterations: the line through them",
        holds_if="the intercept is at most 2 % of one iteration",
        module="clocking",
        function="intercept",
        cheap=True,
        short_s=8.0,
        full_s=30.0,
    ),
    Experiment(
        id="V10",
        title="warm-up of a network that starts slowly, and of one that never settles",
        holds_if="the first sample lies behind the slow start; the other gets the warning not_steady",
        module="clocking",
        function="warming",
        parts=("slow start", "never settles"),
        short_s=0.5,
        full_s=0.5,
    ),
    Experiment(
        id="V11",
        title="percentiles of exponential and bimodal sources",
        holds_if="the bound lies above the true percentile in 982 of 1000",
        module="simulation",
        function="percentiles",
        parts=("p95 exponential", "p95 bimodal", "p99 exponential", "p99 bimodal"),
        cheap=True,
        short_s=4.0,
        full_s=4.0,
    ),
    Experiment(
        id="V12",
        title="memory that is taken for a moment: 64, 256 and 1024 MB, also under a large parent",
        holds_if="the peak is within 2 % + 2 MB",
        module="memory",
        function="transient",
        parts=("64 MB", "256 MB", "1024 MB", "256 MB under a large parent"),
        cheap=True,
        short_s=6.0,
        full_s=6.0,
    ),
    Experiment(
        id="V13",
        title="multiply-adds of grouped, depthwise and strided convolutions, and of torchvision's classifiers",
        holds_if="within 1 % of the closed form, and of the operations that torchvision publishes",
        module="counting",
        function="macs",
        parts=("closed form", "torchvision"),
        short_s=10.0,
        full_s=200.0,
    ),
    Experiment(
        id="V14",
        title="numerics: one weight off by 1 %, wrong strides, plain bf16",
        holds_if="rejected, rejected, accepted",
        module="numerics",
        function="judged",
        parts=("one weight off by 1 %", "wrong strides", "plain bf16"),
        short_s=10.0,
        full_s=10.0,
    ),
    Experiment(
        id="V15",
        title="roofline: a matrix product of 2048 x 2048, and a copy, as shares of the machine's ceilings",
        holds_if="0.9 to 1.0 and 0.85 to 1.0",
        module="roofline",
        function="shares",
        parts=("CPU", "CUDA"),
        short_s=20.0,
        full_s=20.0,
    ),
    Experiment(
        id="V16",
        title="the order of the cells in a block, and a 20 % linear drift",
        holds_if="positions uniform over 10,000 shuffles; the estimate moves by less than 0.2 %",
        module="shuffling",
        function="shuffled",
        parts=("positions", "drift"),
        cheap=True,
        short_s=1.0,
        full_s=1.0,
    ),
    Experiment(
        id="V17",
        title="the same callable in torch.utils.benchmark and in pyperf",
        holds_if="medians within 5 % on a shared machine, 2 % on a quiet one",
        module="others",
        function="against",
        parts=("torch.utils.benchmark", "pyperf"),
        short_s=20.0,
        full_s=60.0,
    ),
    Experiment(
        id="V18",
        title="reports rebuilt from the records, after CSV and Markdown were deleted",
        holds_if="byte-identical",
        module="rebuild",
        function="rebuilt",
        cheap=True,
        short_s=20.0,
        full_s=20.0,
    ),
)

EXPERIMENTS: Mapping[str, Experiment] = MappingProxyType({e.id: e for e in _ALL})
"""Every experiment by its name, read-only, in the order of the proof."""
