"""Simulate the times of a noisy machine, for all experiments in simulation."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

# Standard deviation of the logarithm of a sample's time, from one sample to the next (docs/measurement.md).
JITTER = 0.03

# Share of samples that other work on the machine makes longer, and the smallest and largest factor, between which
# factors are uniform. The share is from docs/measurement.md; the factors follow samples that were seen on a shared
# two-core machine.
SPIKES = 0.05
SPIKE_LOW = 1.2
SPIKE_HIGH = 3.0

# Standard deviation of the logarithm of the machine's slow drift, and its correlation from one sample to the next (a
# half-life of 70 samples). Both follow a plain loop whose time wandered by a quarter within seconds (two cores).
DRIFT = 0.05
DRIFT_MEMORY = 0.99

# Standard deviation of the shift of a comparison by the new processes of a round (docs/measurement.md: about 1 %).
ROUND_SHIFT = 0.01

# Blocks of a simulated round. A run takes 3 to 12.
BLOCKS = 6

# Smallest and largest distance of a bad round from the truth, in ln: as seen where threads shared a core, or memory was
# badly placed.
BAD_LOW = 0.05
BAD_HIGH = 0.6


def correlated_series(rng: np.random.Generator, rows: int, length: int, *, memory: float, deviation: float) -> Array:
    """Return `rows` stationary AR(1) series with correlation `memory` between neighbours, (rows, length)."""
    from scipy.signal import lfilter

    steps = rng.normal(scale=deviation * math.sqrt(1 - memory**2), size=(rows, length))
    # The first value has the full deviation; a series that starts near 0 would first have to spread.
    steps[:, 0] = rng.normal(scale=deviation, size=rows)
    series: Array = lfilter([1.0], [1.0, -memory], steps, axis=1)
    return series


def log_times(rng: np.random.Generator, rows: int, length: int) -> Array:
    """Return the logarithms of the times of equal samples in sequence, (rows, length), around 0."""
    jitter = rng.normal(scale=JITTER, size=(rows, length))
    spikes = np.log(rng.uniform(SPIKE_LOW, SPIKE_HIGH, size=(rows, length)))
    spiked = rng.random((rows, length)) < SPIKES
    drift = correlated_series(rng, rows, length, memory=DRIFT_MEMORY, deviation=DRIFT)
    return drift + jitter + np.where(spiked, spikes, 0.0)


def differences(rng: np.random.Generator, rows: int, blocks: int) -> Array:
    """Return d = ln(base / variant) of two equal cells, (rows, blocks); each block has a new random order."""
    pairs = log_times(rng, rows, 2 * blocks).reshape(rows, blocks, 2)
    # The sign tells which of the two cells came first in a block.
    first = np.where(rng.random((rows, blocks)) < 0.5, 1.0, -1.0)  # noqa: PLR2004  # a coin
    return first * (pairs[:, :, 0] - pairs[:, :, 1])


def rounds(rng: np.random.Generator, rows: int, count: int, *, bad: float = 0.0) -> Array:
    """Return d of two equal cells, (rows, count, BLOCKS).

    Blocks are noisy, each round has a shift of its own, and the share `bad` of the rounds is far off.
    """
    # One value for each round, which all its blocks share: (rows, count, 1).
    shift = rng.normal(scale=ROUND_SHIFT, size=(rows, count, 1))
    off = np.where(rng.random((rows, count, 1)) < 0.5, 1.0, -1.0)  # noqa: PLR2004  # a coin
    off *= rng.uniform(BAD_LOW, BAD_HIGH, size=(rows, count, 1))
    hit = rng.random((rows, count, 1)) < bad

    blocks = differences(rng, rows, count * BLOCKS).reshape(rows, count, BLOCKS)
    found: Array = blocks + shift + np.where(hit, off, 0.0)
    return found
