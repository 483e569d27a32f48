"""The times of a noisy machine, made up: the noise that the simulated experiments have in common."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

# Standard deviation of the logarithm of a sample's time, from one sample to the next (docs/measurement.md).
JITTER = 0.03

# Share of samples that something else on the machine stretches, and by how much: uniformly between the two. The share
# is from docs/measurement.md; how much is our choice, after samples seen on a shared two-core machine.
SPIKES = 0.05
SPIKE_LOW = 1.2
SPIKE_HIGH = 3.0

# Standard deviation of the logarithm of the machine's slow drift, and its correlation from one sample to the next: a
# half-life of 70 samples. Our choice, after a plain loop that wandered by a quarter within seconds (two cores).
DRIFT = 0.05
DRIFT_MEMORY = 0.99

# Standard deviation of what the new processes of a round shift a comparison by (docs/measurement.md: 1 % or so).
ROUND_SHIFT = 0.01

# Blocks of a simulated round: a run takes 3 to 12.
BLOCKS = 6

# By how much a bad round is off, to either side: as threads that share a core, or memory that lies badly, were seen to
# make one.
BAD_LOW = 0.05
BAD_HIGH = 0.6


def correlated(rng: np.random.Generator, rows: int, length: int, *, memory: float, deviation: float) -> Array:
    """Return `rows` stationary AR(1) series with correlation `memory` between neighbours, (rows, length)."""
    from scipy.signal import lfilter

    steps = rng.normal(scale=deviation * math.sqrt(1 - memory**2), size=(rows, length))
    steps[:, 0] = rng.normal(scale=deviation, size=rows)
    series: Array = lfilter([1.0], [1.0, -memory], steps, axis=1)
    return series


def log_times(rng: np.random.Generator, rows: int, length: int) -> Array:
    """Return the logarithms of the times of equal samples one after the other, (rows, length), around 0."""
    jitter = rng.normal(scale=JITTER, size=(rows, length))
    spikes = np.log(rng.uniform(SPIKE_LOW, SPIKE_HIGH, size=(rows, length)))
    spiked = rng.random((rows, length)) < SPIKES
    drift = correlated(rng, rows, length, memory=DRIFT_MEMORY, deviation=DRIFT)
    return drift + jitter + np.where(spiked, spikes, 0.0)


def differences(rng: np.random.Generator, rows: int, blocks: int) -> Array:
    """Return d = ln(base / variant) of two equal cells, (rows, blocks): in each block both in an order drawn anew."""
    pairs = log_times(rng, rows, 2 * blocks).reshape(rows, blocks, 2)
    first = np.where(rng.random((rows, blocks)) < 0.5, 1.0, -1.0)  # noqa: PLR2004  # a coin
    return first * (pairs[:, :, 0] - pairs[:, :, 1])


def rounds(rng: np.random.Generator, rows: int, count: int, *, bad: float = 0.0) -> Array:
    """Return d of two equal cells, (rows, count, BLOCKS): blocks are noisy, each round is shifted, a share is `bad`."""
    shift = rng.normal(scale=ROUND_SHIFT, size=(rows, count, 1))
    off = np.where(rng.random((rows, count, 1)) < 0.5, 1.0, -1.0)  # noqa: PLR2004  # a coin
    off *= rng.uniform(BAD_LOW, BAD_HIGH, size=(rows, count, 1))
    hit = rng.random((rows, count, 1)) < bad
    blocks = differences(rng, rows, count * BLOCKS).reshape(rows, count, BLOCKS)
    found: Array = blocks + shift + np.where(hit, off, 0.0)
    return found
