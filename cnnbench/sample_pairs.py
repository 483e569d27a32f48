"""Pair the samples of two cells: samples of one round and block were taken within moments of each other."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TypeVar

from cnnbench.quantities import compared_times
from cnnbench.record import Measurement, Record

K = TypeVar("K")

# Seconds that the reference and another cell took in the same block.
Pair = tuple[float, float]


def kept_samples(record: Record, quantity: str) -> Iterator[tuple[int | None, float]]:
    """Yield (block, value) of each sample that was not rejected; the block is None for a quantity seen once.

    A block that is rejected for the latency is rejected for everything that was timed in it.
    """
    found = record.find(quantity)
    if found is None:
        return

    # Positions differ between quantities, because some lack a block, so rejected samples are matched by block.
    latency = record.find("latency_s")
    rejected_blocks = {block for block, _ in _rejected_samples(latency)} if latency else set()
    own = set(found.rejected)
    for at, value in enumerate(found.samples):
        block = found.blocks[at] if at < len(found.blocks) else None
        if at not in own and (block is None or block not in rejected_blocks):
            yield block, value


def _rejected_samples(measurement: Measurement) -> Iterator[tuple[int, float]]:
    for at in measurement.rejected:
        if at < len(measurement.blocks):
            yield measurement.blocks[at], measurement.samples[at]


def pairs_by_round(base: Mapping[K, Record], own: Mapping[K, Record]) -> list[list[Pair]]:
    """Return the paired times of two cells, block by block, for each round in which both were measured.

    `base` and `own` hold the successful records of each cell by round, in time order. `quantity.COMPARED` says which
    time of a sample is compared; it is the same in all rounds.
    """
    one, two = compared_times(lambda q: _samples_by_block(base, q), lambda q: _samples_by_block(own, q))
    return [
        [(one[at, block], two[at, block]) for block in sorted(b for r, b in one if r == at and (r, b) in two)]
        for at in base
        if at in own
    ]


def differences(pairs: Sequence[Sequence[Pair]]) -> list[list[float]]:
    """Return d = ln(reference time / cell time) of each block, by round."""
    return [[math.log(base / own) for base, own in blocks] for blocks in pairs]


def latencies_by_round(records: Mapping[K, Record]) -> list[list[float]]:
    """Return ln of the latencies in seconds, by round."""
    return [[math.log(value) for _, value in kept_samples(record, "latency_s")] for record in records.values()]


def _samples_by_block(records: Mapping[K, Record], quantity: str) -> dict[tuple[K, int], float]:
    """Return the samples of `quantity` by round and block."""
    return {
        (at, block): value
        for at, record in records.items()
        for block, value in kept_samples(record, quantity)
        if block is not None
    }
