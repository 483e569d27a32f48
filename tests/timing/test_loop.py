"""The timed loop under a clock that moves only when told: every number is exact."""

from __future__ import annotations

import gc
import itertools
import random
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import pytest

from cnnbench.clock import Clock, FakeTime
from cnnbench.timing.loop import (
    Sample,
    SampleShape,
    Timed,
    is_unsynchronised,
    pick_evenly,
    reading_cost_s,
    shape_sample,
    take_sample,
)
from cnnbench.timing.warmup import WarmUp, warm_up
from cnnbench.timing.work import InferencePasses

INPUT: Any = [None]
MS = 1e-3
US = 1e-6
near: Any = pytest.approx


def host(fake: FakeTime) -> Clock:
    """Return a clock of a device that finishes an operation before it returns."""
    return replace(fake.clock(), asynchronous=False)


def work(spend: Callable[[float], None], durations: Iterable[float]) -> InferencePasses:
    """Return passes that take `durations` seconds one after the other."""
    left = iter(durations)
    return InferencePasses(lambda _: spend(next(left)), INPUT)


def rounded(found: Sample | WarmUp) -> Sample | WarmUp:
    """Return `found` with its seconds rounded to the picosecond."""
    return replace(found, **{name: clean(getattr(found, name)) for name in found.__slots__})


def clean(value: Any) -> Any:
    if value is None or isinstance(value, bool):
        return value
    return tuple(map(clean, value)) if isinstance(value, tuple) else round(value, 12)


def sample(**seconds: Any) -> Sample:
    start = Sample(latency_s=0.0, sample_s=0.0, rewarm_s=0.0, tail_s=0.0, iterations_s=(), phases_s=())
    return replace(start, **seconds)


# Warming up


@pytest.mark.parametrize(
    ("each_s", "spent_s", "calls"),
    [
        (12 * MS, 0.06, 5),  # a call at a time, until 50 ms have passed
        (5 * MS, 0.05, 10),  # windows of 10 ms
        (410 * US, 0.05904, 144),  # windows of 24 calls
        (40 * US, 0.0596, 1490),  # windows of 250 or 248 calls, in groups of two
        (50 * MS, 0.0, 0),  # the first sample's re-warm is the third call
        (2.0, 0.0, 0),
    ],
)
def test_a_warm_up_takes_50_ms_and_three_calls(each_s: float, spent_s: float, calls: int) -> None:
    fake = FakeTime()
    durations = itertools.repeat(each_s, 20_000)
    found = warm_up(work(fake.advance, durations), host(fake), first_s=each_s)
    assert rounded(found) == WarmUp(iteration_s=clean(each_s), spent_s=spent_s)
    assert len(list(durations)) == 20_000 - calls


@pytest.mark.parametrize(
    ("calls", "spent"),
    [
        ([0.041, 0.042, 0.042], 2),  # 50 ms are over, and the last call is no faster than the first
        ([0.04, 0.039, 0.038, 0.037, 0.0369], 5),  # faster by more than 2 % until the last
        ([0.04, 0.01, 0.04, 0.005, 0.04], 3),
    ],
)
def test_a_warm_up_goes_on_while_calls_become_faster(calls: list[float], spent: int) -> None:
    fake = FakeTime()
    found = warm_up(work(fake.advance, calls), host(fake), first_s=0.049)
    assert found == WarmUp(iteration_s=near(calls[spent - 1]), spent_s=near(sum(calls[:spent])))


def test_ever_faster_warm_up_ends_at_cap() -> None:
    fake = FakeTime()
    durations = [0.048 * 0.97**n for n in range(100)]
    found = warm_up(work(fake.advance, durations), host(fake), first_s=0.049, cap_s=0.3)
    assert found == WarmUp(iteration_s=near(durations[6]), spent_s=near(sum(durations[:7])))
    assert sum(durations[:6]) < 0.3


@pytest.mark.parametrize(
    ("each_s", "spent_s", "calls"),
    [
        (12 * MS, 1.02, 85),  # windows of 5 calls until a second has passed
        (150 * MS, 2.25, 15),  # at least three of them
        (300 * MS, 2.7, 9),  # a call of over 0.2 s makes a window of a second
        (2.0, 6.0, 3),  # one call a window
        (410 * US, 1.04181, 2541),  # windows of 50 ms: 121 calls
        (40 * US, 1.0, 25_000),  # windows of 1250 calls, in 625 groups of two
    ],
)
def test_a_steady_time_settles(each_s: float, spent_s: float, calls: int) -> None:
    fake = FakeTime()
    durations = itertools.repeat(each_s, 40_000)
    found = warm_up(work(fake.enqueue, durations), fake.clock(), first_s=each_s, settle=True)
    assert rounded(found) == WarmUp(iteration_s=clean(each_s), spent_s=spent_s)
    assert len(list(durations)) == 40_000 - calls


@pytest.mark.parametrize(("slow_s", "spent_s"), [(0.7, 1.02), (0.95, 1.068)])
def test_the_first_sample_comes_after_a_slow_start(slow_s: float, spent_s: float) -> None:
    fake = FakeTime()
    passes = InferencePasses(lambda _: fake.advance(0.036 if fake.host_ns < slow_s * 1e9 else 0.012), INPUT)
    found = warm_up(passes, host(fake), first_s=0.036, settle=True)
    assert rounded(found) == WarmUp(iteration_s=0.012, spent_s=spent_s)
    taken = take_sample(passes, SampleShape(rewarm=1, readings=4, group=1), host(fake))
    assert rounded(taken) == sample(
        latency_s=0.012, sample_s=0.048, rewarm_s=0.012, iterations_s=(0.012,) * 4, lower_quartile_s=0.012
    )


@pytest.mark.parametrize("change", [0.99, 1.01])
def test_what_still_falls_or_rises_has_not_settled(change: float) -> None:
    fake = FakeTime()
    windows = [0.1 * change**n for n in range(20)]  # neighbours agree within 2 %
    durations = [seconds for seconds in [*windows, *windows[-1:] * 3] for _ in range(5)]
    found = warm_up(work(fake.advance, durations), host(fake), first_s=0.1, settle=True)
    spent_s = 5 * (sum(windows) + windows[-1])  # the first window that is like the one before is the last
    assert found == WarmUp(iteration_s=near(windows[-1]), spent_s=near(spent_s, rel=1e-6))


@pytest.mark.parametrize(("slow_s", "spent_s"), [(0.00262, 1.0096), (0.00264, 2.0224)])
def test_quartiles_agree_within_five_per_cent(slow_s: float, spent_s: float) -> None:
    fake = FakeTime()
    even, uneven = [0.0025] * 20, [0.0025] * 12 + [slow_s] * 8
    passes = work(fake.advance, itertools.cycle([*even, *uneven]))
    found = warm_up(passes, host(fake), first_s=0.0025, cap_s=2.0, settle=True)
    assert (found.iteration_s, found.spent_s) == (near(0.0025), near(spent_s))


def test_quartiles_of_few_readings_are_not_judged() -> None:
    fake = FakeTime()
    durations = itertools.cycle([0.1] * 5 + [0.1, 0.1, 0.1, 0.2, 0.2])
    found = warm_up(work(fake.advance, durations), host(fake), first_s=0.1, settle=True)
    assert rounded(found) == WarmUp(iteration_s=0.1, spent_s=1.7)


@pytest.mark.parametrize(
    ("second_s", "settled"),
    [(0.1019, True), (0.1021, False)],
)
def test_windows_agree_within_two_per_cent(second_s: float, settled: bool) -> None:  # noqa: FBT001
    fake = FakeTime()
    durations = itertools.cycle([0.1] * 5 + [second_s] * 5)
    found = warm_up(work(fake.advance, durations), host(fake), first_s=0.1, cap_s=4.0, settle=True)
    spent_s = 2 * 0.5 + 5 * second_s if settled else 4 * (0.5 + 5 * second_s)
    assert rounded(found) == WarmUp(iteration_s=0.1 if settled else second_s, spent_s=round(spent_s, 12))


def test_a_time_that_never_settles_is_given_up_at_the_cap() -> None:
    fake = FakeTime()
    durations = itertools.cycle([0.1] * 5 + [0.2] * 5)
    found = warm_up(work(fake.advance, durations), host(fake), first_s=0.1, settle=True)
    assert rounded(found) == WarmUp(iteration_s=0.2, spent_s=30.0)


def test_a_window_beyond_the_cap_is_the_last() -> None:
    fake = FakeTime()
    found = warm_up(work(fake.advance, [2.0]), host(fake), first_s=2.0, cap_s=1.0, settle=True)
    assert found == WarmUp(iteration_s=2.0, spent_s=2.0)


def test_one_slow_call_in_window_costs_only_time() -> None:
    fake = FakeTime()
    durations = itertools.cycle([0.04, 0.04, 0.5, 0.04, 0.04])
    found = warm_up(work(fake.advance, durations), host(fake), first_s=0.04, settle=True)
    assert rounded(found) == WarmUp(iteration_s=0.04, spent_s=1.98)


# The shape of a sample


def test_reading_the_clock_costs_one_tick() -> None:
    assert reading_cost_s(FakeTime(tick_ns=40).clock(), rounds=5) == pytest.approx(40e-9, rel=1e-12)


@pytest.mark.parametrize(
    ("iteration_s", "reading_s", "rewarm", "readings", "group"),
    [
        (2.0, 50e-9, 0, 1, 1),
        (100 * MS, 50e-9, 0, 1, 1),  # a re-warm would double what a sample costs
        (99.9 * MS, 50e-9, 1, 1, 1),
        (10 * MS, 50e-9, 1, 1, 1),
        (9.99 * MS, 50e-9, 1, 2, 1),
        (1 * MS, 50e-9, 5, 10, 1),
        (51 * US, 50e-9, 99, 197, 1),  # reading takes just less than 0.1 %
        (49 * US, 50e-9, 103, 103, 2),
        (0.9 * US, 39.5e-9, 5556, 253, 44),
        (1 * MS, 3 * US, 5, 10, 1),  # a clock that is slow to read does not make slow iterations overlap
    ],
)
def test_shape(iteration_s: float, reading_s: float, rewarm: int, readings: int, group: int) -> None:
    found = shape_sample(iteration_s, reading_s=reading_s, asynchronous=False)
    assert found == SampleShape(rewarm=rewarm, readings=readings, group=group)
    assert found.iterations == readings * group
    assert found.iterations * iteration_s >= 10 * MS
    assert reading_s <= 0.001 * group * iteration_s or iteration_s >= 100 * US


@pytest.mark.parametrize(("iteration_s", "rewarm", "readings"), [(1 * MS, 20, 10), (0.2, 1, 1)])
def test_an_asynchronous_device_is_rewarmed_longer_and_always(iteration_s: float, rewarm: int, readings: int) -> None:
    found = shape_sample(iteration_s, reading_s=50e-9, asynchronous=True)
    assert found == SampleShape(rewarm=rewarm, readings=readings, group=1)


def test_a_time_of_zero_still_has_a_shape() -> None:
    found = shape_sample(0.0, reading_s=0.0, asynchronous=False)
    assert found == shape_sample(1e-9, reading_s=0.0, asynchronous=False)


# Samples


def test_sample_is_median_of_iterations_without_rewarm() -> None:
    fake = FakeTime()
    durations = [9 * MS, 9 * MS, 3 * MS, 1 * MS, 2 * MS, 50 * MS, 4 * MS]
    found = take_sample(work(fake.advance, durations), SampleShape(rewarm=2, readings=5, group=1), host(fake))
    assert rounded(found) == Sample(
        latency_s=0.003,
        sample_s=0.060,
        rewarm_s=0.018,
        tail_s=0.0,
        iterations_s=(0.003, 0.001, 0.002, 0.050, 0.004),
        phases_s=(),
        lower_quartile_s=0.0015,
    )


def test_without_a_rewarm_every_iteration_counts() -> None:
    fake = FakeTime()
    durations = [300 * MS, 200 * MS]
    found = take_sample(work(fake.advance, durations), SampleShape(rewarm=0, readings=2, group=1), host(fake))
    assert rounded(found) == sample(latency_s=0.25, sample_s=0.5, iterations_s=(0.3, 0.2))


def test_grouped_sample_divides_by_group_without_iterations() -> None:
    fake = FakeTime()
    durations = [7 * MS, 1 * MS, 3 * MS, 2 * MS, 4 * MS, 10 * MS, 10 * MS]
    found = take_sample(work(fake.advance, durations), SampleShape(rewarm=1, readings=3, group=2), host(fake))
    assert rounded(found) == sample(latency_s=0.003, sample_s=0.030, rewarm_s=0.007, lower_quartile_s=0.002)


def test_a_reading_holds_one_tick_of_the_clock() -> None:
    fake = FakeTime(tick_ns=100)
    found = take_sample(
        work(fake.advance, itertools.repeat(MS)), SampleShape(rewarm=1, readings=2, group=1), host(fake)
    )
    assert rounded(found) == sample(
        latency_s=0.0010001,
        sample_s=0.0020002,
        rewarm_s=0.0010003,
        tail_s=1e-7,
        iterations_s=(0.0010001, 0.0010001),
    )


def test_of_many_iterations_ten_are_kept_and_all_count() -> None:
    fake = FakeTime()
    durations = [0.0, *(n * MS for n in range(1, 31))]
    found = take_sample(work(fake.advance, durations), SampleShape(rewarm=1, readings=30, group=1), host(fake))
    kept = tuple(round(n * MS, 12) for n in range(1, 31, 3))
    low = {"lower_decile_s": 0.0031, "lower_quartile_s": 0.00775}  # of n iterations the (n + 1) / 10-th and / 4-th
    assert rounded(found) == sample(latency_s=0.0155, sample_s=0.465, iterations_s=kept, **low)


@pytest.mark.parametrize(("readings", "has"), [(1, ()), (2, ()), (3, ("quartile",)), (9, ("quartile", "decile"))])
def test_few_iterations_have_no_lower_quantiles(readings: int, has: tuple[str, ...]) -> None:
    passes = work(FakeTime().advance, itertools.repeat(MS))
    found = take_sample(passes, SampleShape(rewarm=1, readings=readings, group=1), host(FakeTime()))
    assert (found.lower_quartile_s is not None) is ("quartile" in has)
    assert (found.lower_decile_s is not None) is ("decile" in has)


def test_lower_quantiles_do_not_depend_on_iteration_count() -> None:
    draw = random.Random(0)
    means = []
    for readings in (9, 90):
        lows = []
        for _ in range(2000):
            fake = FakeTime()
            each = [MS * (1 + draw.random()) for _ in range(readings + 1)]
            lows.append(
                take_sample(
                    work(fake.advance, each), SampleShape(rewarm=1, readings=readings, group=1), host(fake)
                ).lower_decile_s
            )
        means.append(sum(filter(None, lows)) / len(lows))
    assert means == [pytest.approx(1.1 * MS, rel=0.005)] * 2


class Parts:
    """Work whose readings and phases are given."""

    phases: tuple[str, ...] = ("forward_s", "backward_s")

    def first(self) -> object:
        return None

    def repeat(self, count: int) -> None:
        del count

    def timed(self, readings: int, group: int, clock: Clock) -> Timed:
        lead = (99,) * (readings - 3)
        return Timed(readings_ns=(*lead, 5, 7, 9), phases_ns=((*lead, 1, 2, 30), (*lead, 4, 50, 6)))


def test_phases_are_medians_of_their_own() -> None:
    found = take_sample(Parts(), SampleShape(rewarm=1, readings=3, group=1), FakeTime().clock())
    assert found.phases_s == pytest.approx((2e-9, 6e-9), rel=1e-12)
    assert found.latency_s == pytest.approx(7e-9, rel=1e-12)
    assert found.sample_s == pytest.approx(21e-9, rel=1e-12)
    assert found.rewarm_s == pytest.approx(99e-9, rel=1e-12)  # the first pass through the timed loop


@pytest.mark.parametrize(
    ("count", "kept"),
    [(0, []), (1, [0]), (10, list(range(10))), (11, [0, 2, 4, 6, 8, 10]), (25, [0, 3, 6, 9, 12, 15, 18, 21, 24])],
)
def test_evenly(count: int, kept: list[float]) -> None:
    assert list(pick_evenly(range(count), 10)) == kept


# The garbage collector


@pytest.fixture
def collector() -> Any:
    """Put the collector back as it was."""
    was = gc.isenabled()
    yield
    (gc.enable if was else gc.disable)()


@pytest.mark.usefixtures("collector")
@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize("fails", [True, False])
def test_the_collector_is_off_inside_and_as_before_afterwards(before: bool, fails: bool) -> None:  # noqa: FBT001
    (gc.enable if before else gc.disable)()
    seen: list[bool] = []

    def spend(duration_s: float) -> None:
        seen.append(gc.isenabled())
        if fails and len(seen) == 2:
            raise RuntimeError("no more")

    passes = work(spend, itertools.repeat(MS))
    shape = SampleShape(rewarm=1, readings=2, group=1)
    if fails:
        with pytest.raises(RuntimeError, match=r"^no more$"):
            take_sample(passes, shape, host(FakeTime()))
    else:
        take_sample(passes, shape, host(FakeTime()))
    assert seen == [False] * (2 if fails else 3)
    assert gc.isenabled() is before


# A device that works on its own


class Hasty(InferencePasses):
    """Passes that forget to wait for the device."""

    def timed(self, readings: int, group: int, clock: Clock) -> Timed:
        return super().timed(readings, group, replace(clock, synchronize=lambda: None))


@pytest.mark.parametrize("group", [1, 3])
def test_waiting_gives_the_device_s_time(group: int) -> None:
    fake = FakeTime()
    found = take_sample(
        work(fake.enqueue, itertools.repeat(4 * MS)), SampleShape(rewarm=2, readings=3, group=group), fake.clock()
    )
    kept = (0.004,) * 3 if group == 1 else ()
    expected = sample(latency_s=0.004, sample_s=clean(0.012 * group), rewarm_s=0.008, iterations_s=kept)
    assert rounded(found) == replace(expected, lower_quartile_s=0.004, device_s=0.004)
    assert not is_unsynchronised(found)


@pytest.mark.parametrize("nth", range(20))
def test_unsynchronised_samples_are_found_and_others_are_right(nth: int) -> None:
    fake = FakeTime(tick_ns=40)
    device_s = 1 * MS * 1.2**nth

    def call(_: object) -> None:
        fake.advance(10 * US)
        fake.enqueue(device_s)

    shape = SampleShape(rewarm=2, readings=3, group=1)
    hasty, patient = (take_sample(kind(call, INPUT), shape, fake.clock()) for kind in (Hasty, InferencePasses))
    assert is_unsynchronised(hasty)
    assert not is_unsynchronised(patient)
    assert patient.latency_s == pytest.approx(10 * US + device_s, rel=1e-4)


def test_the_rewarm_s_own_work_is_waited_for_outside_the_sample() -> None:
    fake = FakeTime()
    durations = [100 * MS, 4 * MS, 3 * MS]
    found = take_sample(work(fake.enqueue, durations), SampleShape(rewarm=1, readings=1, group=1), fake.clock())
    assert rounded(found) == sample(
        latency_s=0.004, sample_s=0.004, rewarm_s=0.1, iterations_s=(0.004,), device_s=0.003
    )


@pytest.mark.parametrize(
    ("latency_s", "tail_s", "flagged"),
    [
        (0.0, 100 * US, False),
        (0.0, 101 * US, True),
        (1 * MS, 99 * US, False),  # a tenth, but less than what a reading may wander
        (10 * MS, 500 * US, False),
        (10 * MS, 501 * US, True),
    ],
)
def test_how_long_a_tail_may_be(latency_s: float, tail_s: float, flagged: bool) -> None:  # noqa: FBT001
    assert is_unsynchronised(sample(latency_s=latency_s, tail_s=tail_s)) is flagged
