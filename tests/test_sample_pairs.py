"""Which samples of two cells are pairs: those of one round and block that nothing has disturbed in either."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import pytest

from cnnbench.record import Measurement, Record
from cnnbench.sample_pairs import differences, kept_samples, latencies_by_round, pairs_by_round
from tests.factories import case, once, record

BASE = case("net")


def taken(
    latencies: Sequence[float], *, blocks: Sequence[int] = (), rejected: Sequence[int] = (), **more: float
) -> Record:
    """Return a record of `latencies`; `more` are other quantities, as multiples of each of them."""
    where = tuple(blocks or range(len(latencies)))
    latency = Measurement(quantity="latency_s", samples=tuple(latencies), blocks=where, rejected=tuple(rejected))
    others = [
        replace(latency, quantity=name, samples=tuple(factor * one for one in latencies), rejected=())
        for name, factor in more.items()
    ]
    return record(BASE, latency, *others)


def test_blocks_that_both_have_are_pairs() -> None:
    base, own = taken([1.0, 2.0, 3.0]), taken([10.0, 30.0, 40.0], blocks=[0, 2, 3])
    assert pairs_by_round({0: base}, {0: own}) == [[(1.0, 10.0), (3.0, 30.0)]]


def test_rounds_that_both_have_count_in_the_order_of_the_base() -> None:
    base = {at: taken([1.0 + at]) for at in (0, 1, 3)}
    own = {at: taken([10.0 + at]) for at in (3, 2, 0)}
    assert pairs_by_round(base, own) == [[(1.0, 10.0)], [(4.0, 13.0)]]
    assert pairs_by_round(base, {}) == pairs_by_round({}, own) == []


@pytest.mark.parametrize(("base", "own"), [((1,), ()), ((), (1,)), ((1,), (1,))])
def test_a_block_that_is_voided_in_either_is_left_out(base: tuple[int, ...], own: tuple[int, ...]) -> None:
    found = pairs_by_round({0: taken([1.0, 2.0, 3.0], rejected=base)}, {0: taken([4.0, 5.0, 6.0], rejected=own)})
    assert found == [[(1.0, 4.0), (3.0, 6.0)]]


def test_a_round_of_voided_blocks_holds_nothing() -> None:
    base, own = taken([1.0, 2.0]), taken([1.0, 2.0], rejected=(0, 1))
    assert pairs_by_round({0: base, 1: base}, {0: own, 1: base}) == [[], [(1.0, 1.0), (2.0, 2.0)]]


def test_what_is_voided_for_the_latency_is_voided_for_all() -> None:
    one = taken([1.0, 2.0, 3.0], blocks=[4, 5, 6], rejected=(1,), lower_quartile_s=0.5)
    assert list(kept_samples(one, "lower_quartile_s")) == [(4, 0.5), (6, 1.5)]
    assert list(kept_samples(one, "latency_s")) == [(4, 1.0), (6, 3.0)]


def test_what_is_voided_alone_leaves_the_latency() -> None:
    one = taken([1.0, 2.0], lower_quartile_s=0.5)
    latency, quartile = one.measurements
    one = replace(one, measurements=(latency, replace(quartile, rejected=(0,))))
    assert list(kept_samples(one, "lower_quartile_s")) == [(1, 1.0)]
    assert list(kept_samples(one, "latency_s")) == [(0, 1.0), (1, 2.0)]


def test_a_quantity_that_was_seen_once_has_no_block() -> None:
    one = record(BASE, once("load", 1.5))
    assert list(kept_samples(one, "load")) == [(None, 1.5)]
    assert list(kept_samples(one, "latency_s")) == []
    assert pairs_by_round({0: record(BASE, once("latency_s", 1.0))}, {0: taken([1.0])}) == [[]]


def test_the_least_disturbed_time_that_both_have_is_compared() -> None:
    base = taken([8.0], lower_decile_s=0.25, lower_quartile_s=0.5)
    assert pairs_by_round({0: base}, {0: taken([16.0], lower_decile_s=0.25, lower_quartile_s=0.5)}) == [[(2.0, 4.0)]]
    assert pairs_by_round({0: base}, {0: taken([16.0], lower_quartile_s=0.5)}) == [[(4.0, 8.0)]]
    assert pairs_by_round({0: base}, {0: taken([16.0])}) == [[(8.0, 16.0)]]


def test_a_difference_is_the_logarithm_of_how_much_faster() -> None:
    assert differences([[(2.0, 1.0), (1.0, 1.0)], [], [(1.0, 4.0)]]) == [[math.log(2), 0.0], [], [-math.log(4)]]


def test_a_cell_alone_gives_its_latencies() -> None:
    found = latencies_by_round({0: taken([1.0, 2.0, 4.0], rejected=(1,)), 2: taken([8.0], lower_decile_s=0.5)})
    assert found == [[0.0, math.log(4)], [math.log(8)]]
