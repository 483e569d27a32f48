"""The quantity table, and how numbers are shown: every kind, at its borders and beyond what is sensible."""

from __future__ import annotations

import math
from typing import get_args

import pytest

from cnnbench.quantities import DASH, QUANTITIES, Shown, compared_times, digits3, show, show_range

KINDS: tuple[Shown, ...] = get_args(Shown)


@pytest.mark.parametrize(
    ("shown", "value", "text"),
    [
        ("seconds", 0.0, "0 us"),
        ("seconds", -0.0, "0 us"),
        ("seconds", 1e-12, "0.00000100 us"),
        ("seconds", 2.5e-7, "0.250 us"),
        ("seconds", 0.00099, "990 us"),
        ("seconds", 0.001, "1.00 ms"),
        ("seconds", 0.0432, "43.2 ms"),
        ("seconds", 0.9994, "999 ms"),
        ("seconds", 1.0, "1.00 s"),
        ("seconds", 9.994, "9.99 s"),
        ("seconds", 9.996, "10.0 s"),
        ("seconds", 99.96, "100 s"),
        ("seconds", 12345.6, "12346 s"),
        ("seconds", -0.0432, "-43.2 ms"),
        ("bytes", 0.0, "0 B"),
        ("bytes", 1023.0, "1023 B"),
        ("bytes", 1024.0, "1.00 KiB"),
        ("bytes", 2.0**20, "1.00 MiB"),
        ("bytes", 1.5 * 2.0**30, "1.50 GiB"),
        ("bytes", -2048.0, "-2.00 KiB"),
        ("count", 0.0, "0"),
        ("count", 7.0, "7"),
        ("count", 9999.0, "9,999"),
        ("count", 10000.0, "10.0 k"),
        ("count", 61706.0, "61.7 k"),
        ("count", 999_950.0, "1000 k"),
        ("count", 11_689_512.0, "11.7 M"),
        ("count", 1_814_073_344.0, "1.81 G"),
        ("count", -11_689_512.0, "-11.7 M"),
        ("rate", 0.0, "0"),
        ("rate", 0.0123, "0.0123"),
        ("rate", 99.9, "99.9"),
        ("rate", 100.0, "100"),
        ("rate", 12345.6, "12,346"),
        ("rate", -5.0, "-5.00"),
        ("share", 0.0, "0.0 %"),
        ("share", 1.0, "100.0 %"),
        ("share", 0.91239, "91.2 %"),
        ("share", 1e-9, "0.0 %"),
        ("share", -0.5, "-50.0 %"),
        ("ratio", 0.0, "0.000x"),
        ("ratio", 1.0, "1.000x"),
        ("ratio", 12.34567, "12.346x"),
        ("ratio", -1.5, "-1.500x"),
        ("number", 0.0, "0"),
        ("number", 2.302585, "2.303"),
        ("number", 1e-9, "1e-09"),
        ("number", -123456.0, "-1.235e+05"),
    ],
)
def test_shown(shown: Shown, value: float, text: str) -> None:
    assert show(value, shown) == text


@pytest.mark.parametrize("shown", KINDS)
@pytest.mark.parametrize("value", [None, math.nan, math.inf, -math.inf])
def test_what_was_not_measured_is_a_dash(shown: Shown, value: float | None) -> None:
    assert show(value, shown) == DASH
    assert show_range(value, 1.0, 2.0, shown) == DASH


@pytest.mark.parametrize("shown", KINDS)
@pytest.mark.parametrize("value", [5e-324, 1e-300, 1.7976931348623157e308])
def test_no_number_is_too_small_or_too_large_to_show(shown: Shown, value: float) -> None:
    assert show(value, shown)


@pytest.mark.parametrize(
    ("shown", "center", "low", "high", "text"),
    [
        ("seconds", 0.0123, 0.01214, 0.01262, "12.3 ms (12.1-12.6)"),
        ("seconds", 0.9994, 0.98, 1.02, "999 ms (980-1020)"),  # one unit for all three
        ("seconds", 1.0, 0.9996, 1.0004, "1.00 s (1.00-1.00)"),
        ("seconds", 9.996, 9.9, 10.1, "10.0 s (9.9-10.1)"),
        ("seconds", 0.0, 0.0, 1e-6, "0 us (0-1)"),
        ("share", 0.9123, 0.9066, 0.9177, "91.2 % (90.7-91.8)"),
        ("ratio", 1.2, 1.19, 1.213, "1.200x (1.190-1.213)"),
        ("count", 11_689_512.0, 9999.0, 2e7, "11.7 M (9,999-20.0 M)"),
        ("bytes", 2048.0, 1024.0, 2.0**20, "2.00 KiB (1.00 KiB-1.00 MiB)"),
        ("rate", 150.0, 99.4, 151.0, "150 (99.4-151)"),
        ("number", 2.5, 2.0, 3.0, "2.5 (2-3)"),
    ],
)
def test_a_range_has_the_unit_and_decimals_of_its_center(
    shown: Shown, center: float, low: float, high: float, text: str
) -> None:
    assert show_range(center, low, high, shown) == text


@pytest.mark.parametrize("shown", KINDS)
@pytest.mark.parametrize(("low", "high"), [(None, 1.0), (1.0, None), (math.nan, 1.0), (1.0, math.inf)])
def test_half_an_interval_is_none(shown: Shown, low: float | None, high: float | None) -> None:
    assert show_range(0.5, low, high, shown) == show(0.5, shown)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0123, "0.0123"),
        (1.23, "1.23"),
        (12.3, "12.3"),
        (123.0, "123"),
        (1234.0, "1234"),
        (0.0, "0"),
        (0.09999, "0.100"),
        (9.999, "10.0"),
        (-9.999, "-10.0"),
        (999.9, "1000"),
    ],
)
def test_three_digits(value: float, text: str) -> None:
    assert digits3(value) == text


def test_table_is_read_only_and_units_fit_shown_values() -> None:
    with pytest.raises(TypeError):
        QUANTITIES["new"] = QUANTITIES["macs"]  # type: ignore[index]
    iterations_per_sample = {
        "seconds": "s",
        "bytes": "B",
        "rate": "1/s",
        "count": "1",
        "share": "1",
        "ratio": "1",
        "number": "1",
    }
    iterations_per_sample |= {"per_second": "1/s", "bytes_per_s": "B/s"}
    assert {name: q.unit for name, q in QUANTITIES.items()} == {
        n: iterations_per_sample[q.shown] for n, q in QUANTITIES.items()
    }


def test_a_name_says_its_unit() -> None:
    endings = {"s": "_s", "B": "_bytes", "1/s": "_per_s"}
    wrong = [name for name, q in QUANTITIES.items() if q.unit in endings and not name.endswith(endings[q.unit])]
    assert wrong == []
    assert all(q.meaning and q.name == name for name, q in QUANTITIES.items())


def test_rates_of_machines_have_decimal_prefixes() -> None:
    assert show(52.34e9, "per_second") == "52.3 G/s"
    assert show(1.5e12, "per_second") == "1.50 T/s"
    assert show(8.126e9, "bytes_per_s") == "8.13 GB/s"
    assert show(12.0, "bytes_per_s") == "12 B/s"


DECILES, QUARTILES, MEDIANS = {1: 0.1, 2: 0.2, 3: 0.3}, {1: 1.0, 2: 2.0, 3: 3.0}, {1: 5.0, 2: 6.0, 3: 7.0}
SHORT = {"lower_decile_s": DECILES, "lower_quartile_s": QUARTILES, "latency_s": MEDIANS}
LONGER = {"lower_quartile_s": QUARTILES, "latency_s": MEDIANS}
LONG = {"latency_s": MEDIANS}


@pytest.mark.parametrize(
    ("base", "own", "expected"),
    [
        (SHORT, SHORT, (DECILES, DECILES)),
        (SHORT, LONGER, (QUARTILES, QUARTILES)),
        (SHORT, LONG, (MEDIANS, MEDIANS)),
        (LONG, LONGER, (MEDIANS, MEDIANS)),
        # one of several launches has none: the other times are there for all blocks
        (SHORT, {**SHORT, "lower_decile_s": {1: 0.1}}, (QUARTILES, QUARTILES)),
        # a block that one of both does not have counts for neither
        (SHORT, {"lower_decile_s": {1: 0.1}, "latency_s": {1: 5.0}}, (DECILES, {1: 0.1})),
        (SHORT, {}, (DECILES, {})),
    ],
)
def test_cells_are_compared_by_least_disturbed_common_time(
    base: dict[str, dict[int, float]],
    own: dict[str, dict[int, float]],
    expected: tuple[dict[int, float], dict[int, float]],
) -> None:
    assert compared_times(lambda name: base.get(name, {}), lambda name: own.get(name, {})) == expected
